//! A file system of its own for one folder, on a loop device, that can be frozen: whatever writes
//! then hangs in the kernel, and not even SIGKILL ends it.

use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Disk {
    folder: PathBuf,
    frozen: bool,
}

impl Disk {
    /// `None`, said aloud, where none can be mounted.
    pub fn under(folder: &Path, mib: u32) -> Option<Disk> {
        let image = folder.with_extension("image");
        let made =
            std::fs::File::create(&image).and_then(|file| file.set_len(u64::from(mib) << 20));
        let tried = made.map_err(|error| error.to_string()).and_then(|()| {
            run("mkfs.ext4", &["-q", &text(&image)])?;
            run("mount", &["-o", "loop", &text(&image), &text(folder)])
        });
        match tried {
            Ok(()) => Some(Disk {
                folder: folder.to_owned(),
                frozen: false,
            }),
            Err(why) => {
                println!(
                    "skipped: a disk of its own cannot be mounted ({})",
                    why.trim()
                );
                None
            }
        }
    }

    pub fn freeze(&mut self) {
        run("fsfreeze", &["-f", &text(&self.folder)]).unwrap();
        self.frozen = true;
    }

    pub fn thaw(&mut self) {
        if std::mem::take(&mut self.frozen) {
            run("fsfreeze", &["-u", &text(&self.folder)]).unwrap();
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.thaw();
        // Lazily: a failed test's server ends after this.
        let _ = run("umount", &["-l", &text(&self.folder)]);
    }
}
