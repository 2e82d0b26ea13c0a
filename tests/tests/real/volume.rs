//! A small disk of its own for one folder, that can be filled.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Unmounted when dropped; what runs on it keeps its files until then.
pub struct Volume(PathBuf);

impl Volume {
    /// Moves a folder onto a disk with so many megabytes to spare. Nothing may be at work in it.
    /// `None`, said aloud, where disks cannot be mounted.
    pub fn under(folder: &Path, spare_mib: u64) -> Option<Volume> {
        let aside = folder.with_extension("aside");
        fs::rename(folder, &aside).expect("the folder is moved aside");
        fs::create_dir(folder).expect("a folder to mount on");
        let size = (bytes(&aside) >> 20) + spare_mib;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}m"), "tmpfs"])
            .arg(folder)
            .output();
        let why = match mounted {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = why {
            println!("skipped: a small disk cannot be mounted ({})", why.trim());
            return None;
        }
        let volume = Volume(folder.to_owned());
        let copied = Command::new("cp")
            .arg("-a")
            .arg(aside.join("."))
            .arg(folder)
            .status();
        assert!(copied.expect("cp starts").success(), "the folder is copied");
        fs::remove_dir_all(&aside).expect("the original goes");
        Some(volume)
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Until not a byte is left.
    pub fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("a file");
        let mut piece = vec![0; 1 << 20];
        loop {
            match ballast.write_all(&piece) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull && piece.len() > 1 => {
                    piece.truncate(piece.len() / 2);
                }
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("{}: {error}", self.0.display()),
            }
        }
    }

    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("the ballast goes");
    }
}

fn bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(of) if of.is_dir() => bytes(&entry.path()),
        Ok(of) => of.len().next_multiple_of(4096),
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Lazily: its processes end after this.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
