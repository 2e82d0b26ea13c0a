//! Passwords that are changed while a process runs: its file, and those beside it, are read again
//! when they change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ConfigError;

/// Between two looks at the files; a change is taken over at the second look that finds it the same.
const EVERY: Duration = Duration::from_millis(500);

/// What the files of one configuration hold; `None` for one that cannot be read now.
type Contents = BTreeMap<PathBuf, Option<Vec<u8>>>;

async fn read(files: &[PathBuf]) -> Contents {
    let mut contents = Contents::new();
    for file in files {
        contents.insert(file.clone(), tokio::fs::read(file).await.ok());
    }
    contents
}

/// The files of one configuration, as they were looked at.
#[derive(Default)]
struct Watch {
    files: Vec<PathBuf>,
    /// At the last look.
    seen: Contents,
    /// What was last loaded, good or bad.
    loaded: Contents,
}

impl Watch {
    /// Whether there is something to load: a change, and nobody has written to it since the last look.
    async fn look(&mut self) -> bool {
        let now = read(&self.files).await;
        let at_rest = now == self.seen;
        self.seen = now;
        at_rest && self.seen != self.loaded
    }

    /// What the files hold as they were seen; `None` if one was written to meanwhile: what was read
    /// then may be half of it.
    async fn load<C>(&mut self, load: impl FnOnce() -> C) -> Option<C> {
        let result = load();
        if read(&self.files).await != self.seen {
            return None;
        }
        self.loaded.clone_from(&self.seen);
        Some(result)
    }
}

/// Calls `take` with the configuration whenever one of its files has changed and is good; a bad one
/// is told once, and the last good one stays. A file that is still being written is neither.
///
/// No change is missed, whenever it comes: the first load takes it as it is then, which may be another
/// than the caller has read; and what a look compares with was read before it was loaded.
pub async fn follow<C>(
    path: PathBuf,
    load: fn(&Path) -> Result<C, ConfigError>,
    password_files: fn(&C) -> Vec<PathBuf>,
    mut take: impl FnMut(&C),
) {
    let mut watch = Watch {
        files: vec![path.clone()],
        ..Watch::default()
    };
    loop {
        tokio::time::sleep(EVERY).await;
        if !watch.look().await {
            continue;
        }
        match watch.load(|| load(&path)).await {
            Some(Ok(config)) => {
                take(&config);
                // One that was not watched before differs at the next look from what was loaded.
                watch.files = password_files(&config);
                watch.files.push(path.clone());
            }
            Some(Err(error)) => {
                let error = anyhow::Error::new(error);
                tracing::error!("changed, and not used: {error:#}");
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in the file when it is loaded, look by look; `meanwhile` is written by another while
    /// it is loaded.
    async fn loaded(watch: &mut Watch, meanwhile: Option<&str>) -> Option<String> {
        if !watch.look().await {
            return None;
        }
        let path = watch.files[0].clone();
        let load = || {
            let text = std::fs::read_to_string(&path).expect("it is there");
            if let Some(more) = meanwhile {
                std::fs::write(&path, more).expect("a file");
            }
            text
        };
        watch.load(load).await
    }

    /// An editor, a shell's `>` or a copy empties the file first and fills it in pieces.
    #[tokio::test]
    async fn what_is_half_written_is_not_loaded() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("agent.toml");
        let mut watch = Watch {
            files: vec![path.clone()],
            ..Watch::default()
        };
        for piece in ["", "pass", "password"] {
            std::fs::write(&path, piece).expect("a file");
            assert_eq!(loaded(&mut watch, None).await, None, "{piece:?} is new");
        }
        let while_it_loads = loaded(&mut watch, Some("password = 1")).await;
        assert_eq!(while_it_loads, None, "half of it was read");
        assert_eq!(loaded(&mut watch, None).await, None, "again it is new");
        let whole = Some("password = 1".to_owned());
        assert_eq!(loaded(&mut watch, None).await, whole);
        assert_eq!(loaded(&mut watch, None).await, None, "it is known");
    }
}
