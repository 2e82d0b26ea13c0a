//! `mutants`: changes the core in small ways, and asks whether a test notices.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match primacy_tests::mutants::run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("tests/mutants: {why}");
            ExitCode::from(2)
        }
    }
}
