use std::process::ExitCode;

fn main() -> ExitCode {
    primacy::cli::main()
}
