//! `apt-get` and `dpkg-deb`, used to download and unpack without touching the system.
//!
//! Nothing is installed, no file outside the work folder is written, and none of the system's own
//! package state is read.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::fetch::{FetchError, FetchProgress, Stage, entries, io_error, last_lines, make_folder};

pub(super) const MIRROR: &str = "http://deb.debian.org/debian";
/// The suite that carries MySQL. Not a release: what it holds moves, the signature does not.
const SUITE: &str = "sid";
/// Debian's archive signs the package lists, and these name every package's digest.
pub(super) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
pub(super) const MYSQL: [&str; 2] = ["mysql-server-core", "mysql-client-core"];
/// How often the growing download is measured.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// `apt-get` with everything of its own: sources, lists, cache, and an empty set of installed
/// packages, so that it resolves every dependency down to the C library.
pub(super) struct Apt {
    pub(super) work: PathBuf,
}

impl Apt {
    pub(super) fn prepare(work: &Path) -> Result<Apt, FetchError> {
        for folder in ["lists/partial", "cache/archives/partial", "empty", "root"] {
            make_folder(&work.join(folder))?;
        }
        write(
            &work.join("sources.list"),
            &format!("deb [signed-by={KEYRING}] {MIRROR} {SUITE} main\n"),
        )?;
        // The system's own apt settings may run hooks that clean *its* cache, so none of them is
        // read; only what says how to reach the network is carried over, and whether the machine's
        // owner accepts a mirror that lags (its signature is checked in any case).
        let dump = run(
            Command::new("apt-config").arg("dump"),
            "reading its settings",
        )?;
        let carried = dump.lines().filter(|line| {
            [
                "Acquire::http",
                "Acquire::Retries",
                "Acquire::ForceIPv",
                "Acquire::Check-Valid-Until",
            ]
            .iter()
            .any(|prefix| line.starts_with(prefix))
        });
        let base = work.display();
        let own = format!(
            "Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"{base}/empty\";\n\
             Dir::Etc::SourceList \"{base}/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n\
             Dir::Etc::Preferences \"/dev/null\";\nDir::Etc::PreferencesParts \"{base}/empty\";\n\
             Dir::State \"{base}\";\nDir::State::Lists \"{base}/lists\";\n\
             Dir::State::status \"/dev/null\";\nDir::Cache \"{base}/cache\";\n\
             APT::Sandbox::User \"root\";\nAPT::Install-Recommends \"false\";\n\
             Acquire::Languages \"none\";\nDpkg::Use-Pty \"0\";\n"
        );
        let settings: String = carried
            .map(|line| format!("{line}\n"))
            .chain([own])
            .collect();
        write(&work.join("apt.conf"), &settings)?;
        Ok(Apt {
            work: work.to_path_buf(),
        })
    }

    fn get(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("apt-get");
        command
            .env("APT_CONFIG", self.work.join("apt.conf"))
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    pub(super) fn update(&self, progress: &dyn Fn(FetchProgress)) -> Result<(), FetchError> {
        let mut command = self.get(&["update", "-qq", "-o", "APT::Update::Error-Mode=any"]);
        self.watch(&mut command, Stage::Listing, "lists", 0, progress)
    }

    pub(super) fn download(
        &self,
        packages: &[&str],
        progress: &dyn Fn(FetchProgress),
    ) -> Result<(), FetchError> {
        let mut arguments = vec!["install", "-y", "-qq", "--print-uris"];
        arguments.extend(packages);
        let uris = run(&mut self.get(&arguments), "resolving packages")?;
        // 'uri' name size digest
        let total = uris
            .lines()
            .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok())
            .sum();
        arguments[3] = "-d";
        let mut command = self.get(&arguments);
        self.watch(
            &mut command,
            Stage::Downloading,
            "cache/archives",
            total,
            progress,
        )
    }

    /// Runs `apt-get` and reports the size of the folder it fills.
    fn watch(
        &self,
        command: &mut Command,
        stage: Stage,
        folder: &str,
        total: u64,
        progress: &dyn Fn(FetchProgress),
    ) -> Result<(), FetchError> {
        let step = match stage {
            Stage::Listing => "reading package lists",
            _ => "downloading packages",
        };
        // To a file: a pipe that nobody reads while we poll could fill up and stop apt.
        let said_path = self.work.join("apt.log");
        let said = fs::File::create(&said_path).map_err(io_error("cannot create", &said_path))?;
        let errors = said
            .try_clone()
            .map_err(io_error("cannot open", &said_path))?;
        let mut child = command
            .stdout(said)
            .stderr(errors)
            .spawn()
            .map_err(io_error("cannot start", Path::new("apt-get")))?;
        let folder = self.work.join(folder);
        let status = loop {
            let exited = child
                .try_wait()
                .map_err(io_error("cannot wait for", &folder))?;
            let done = files_bytes(&folder) + files_bytes(&folder.join("partial"));
            let done = if total == 0 { done } else { done.min(total) };
            progress(FetchProgress { stage, done, total });
            match exited {
                Some(status) => break status,
                None => std::thread::sleep(PROGRESS_EVERY),
            }
        };
        if status.success() {
            return Ok(());
        }
        let said = fs::read_to_string(&said_path).unwrap_or_default();
        Err(FetchError::Apt {
            step,
            said: last_lines(&said, 4),
        })
    }

    pub(super) fn unpack(&self, progress: &dyn Fn(FetchProgress)) -> Result<(), FetchError> {
        let archives: Vec<_> = entries(&self.work.join("cache/archives"))
            .into_iter()
            .filter(|path| path.extension().is_some_and(|kind| kind == "deb"))
            .collect();
        let total = archives.len() as u64;
        for (done, archive) in archives.iter().enumerate() {
            progress(FetchProgress {
                stage: Stage::Unpacking,
                done: done as u64,
                total,
            });
            let output = Command::new("dpkg-deb")
                .arg("-x")
                .args([archive, &self.work.join("root")])
                .output()
                .map_err(io_error("cannot start dpkg-deb on", archive))?;
            if !output.status.success() {
                return Err(FetchError::Unpack {
                    package: archive.display().to_string(),
                    said: last_lines(&String::from_utf8_lossy(&output.stderr), 4),
                });
            }
        }
        progress(FetchProgress {
            stage: Stage::Unpacking,
            done: total,
            total,
        });
        Ok(())
    }
}

fn run(command: &mut Command, step: &'static str) -> Result<String, FetchError> {
    let output = command
        .output()
        .map_err(io_error("cannot start", Path::new("apt-get")))?;
    if !output.status.success() {
        let said = last_lines(&String::from_utf8_lossy(&output.stderr), 4);
        return Err(FetchError::Apt { step, said });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn files_bytes(folder: &Path) -> u64 {
    let sizes = entries(folder)
        .into_iter()
        .filter_map(|path| path.metadata().ok());
    sizes
        .filter(fs::Metadata::is_file)
        .map(|file| file.len())
        .sum()
}

fn write(path: &Path, text: &str) -> Result<(), FetchError> {
    fs::write(path, text).map_err(io_error("cannot write", path))
}
