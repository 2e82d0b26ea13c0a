//! Space for the log. A node that cannot write stops: it says so long before, and keeps ballast
//! that may be thrown away when it comes to that.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::posix_fallocate;
use nix::sys::statvfs::statvfs;
use tokio::time::{Instant, sleep};

use crate::config::DiskConfig;

const BALLAST: &str = "ballast";
const MB: u64 = 1 << 20;
const LOOK_EVERY: Duration = Duration::from_secs(10);
const REMIND_EVERY: Duration = Duration::from_secs(3_600);

/// The disk that a node's folder is on.
#[derive(Clone, Debug)]
pub struct Space {
    dir: PathBuf,
    alarm_bytes: u64,
}

impl Space {
    /// Lays in ballast, if it is not there and there is room for it beyond the alarm's bound.
    pub fn begin(dir: &Path, config: &DiskConfig) -> io::Result<Self> {
        let space = Self {
            dir: dir.to_owned(),
            alarm_bytes: config.alarm_free_mb.saturating_mul(MB),
        };
        let wanted = config.ballast_mb.saturating_mul(MB);
        let missing = wanted.saturating_sub(space.ballast());
        if missing > 0 && space.free()? >= missing.saturating_add(space.alarm_bytes) {
            let path = dir.join(BALLAST);
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            let bytes = i64::try_from(wanted).unwrap_or(i64::MAX);
            if let Err(error) = posix_fallocate(&file, 0, bytes) {
                fs::remove_file(&path)?;
                tracing::info!("{}: no ballast: {error}", path.display());
            }
        }
        Ok(space)
    }

    /// The same as [`Self::low`], aside: a disk may take its time.
    pub async fn look(&self) -> Option<String> {
        let space = self.clone();
        let looked = tokio::task::spawn_blocking(move || space.low()).await;
        looked.ok().flatten() // none only if the process ends
    }

    /// What is wrong, if the disk is nearly full, and what to do.
    fn low(&self) -> Option<String> {
        match self.free() {
            Ok(free) if free >= self.alarm_bytes => None,
            Ok(free) => Some(alarm(&self.dir, free, self.alarm_bytes, self.ballast())),
            Err(error) => Some(format!(
                "the disk under {} cannot be asked for its space: {error}",
                self.dir.display()
            )),
        }
    }

    /// Looks for as long as the process runs, and warns, once an hour while nothing changes.
    pub async fn watch(self) {
        let mut warned: Option<Instant> = None;
        loop {
            match self.look().await {
                Some(why) if warned.is_none_or(|at| at.elapsed() >= REMIND_EVERY) => {
                    tracing::warn!("{why}");
                    warned = Some(Instant::now());
                }
                Some(_) => {}
                None => warned = None,
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Bytes that a process without privileges may still write.
    fn free(&self) -> io::Result<u64> {
        let found = statvfs(&self.dir)?;
        Ok(found
            .blocks_available()
            .saturating_mul(found.fragment_size()))
    }

    /// Bytes of it that are laid in.
    fn ballast(&self) -> u64 {
        fs::metadata(self.dir.join(BALLAST)).map_or(0, |file| file.len())
    }
}

fn alarm(dir: &Path, free: u64, bound: u64, ballast: u64) -> String {
    let mut text = format!(
        "the disk under {} has {} MB free, and disk.alarm_free_mb = {}: free space on it; when it \
         is full, this node stops",
        dir.display(),
        free / MB,
        bound / MB
    );
    if ballast > 0 {
        let file = dir.join(BALLAST);
        text += &format!(
            "; in need delete {}, {} MB, which is laid in again at a start with room",
            file.display(),
            ballast / MB
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than any disk has.
    const ALL_MB: u64 = u64::MAX / MB;

    #[test]
    fn ballast_is_laid_in_where_there_is_room_and_kept_out_where_there_is_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let ballast = dir.path().join(BALLAST);
        let begin = |alarm_free_mb, ballast_mb| {
            let config = DiskConfig {
                alarm_free_mb,
                ballast_mb,
            };
            Space::begin(dir.path(), &config).expect("a folder that can be written")
        };
        let laid = || fs::metadata(&ballast).map(|file| file.len()).ok();

        let low = begin(ALL_MB, 1).low().expect("no disk has so much");
        assert_eq!(laid(), None, "it would be in the way of the log");
        assert!(low.contains("disk.alarm_free_mb = "), "{low}");
        assert!(!low.contains("delete"), "{low}");

        assert_eq!(begin(0, 0).low(), None);
        assert_eq!(laid(), None, "none is wanted");
        assert_eq!(begin(0, 2).low(), None);
        assert_eq!(laid(), Some(2 * MB));
        let low = begin(ALL_MB, 2).low().expect("no disk has so much");
        let remedy = format!("delete {}, 2 MB", ballast.display());
        assert!(low.contains(&remedy), "{low}");

        fs::remove_file(&ballast).expect("it is there");
        begin(0, 1);
        assert_eq!(laid(), Some(MB), "a start with room lays it in again");
        begin(0, ALL_MB);
        assert_eq!(laid(), Some(MB), "no room for more: what is there stays");
    }

    #[test]
    fn a_folder_that_is_gone_is_said() {
        let dir = tempfile::tempdir().expect("a folder");
        let space = Space::begin(dir.path(), &DiskConfig::none()).expect("a folder");
        dir.close().expect("empty");
        assert!(space.low().expect("gone").contains("cannot be asked"));
    }
}
