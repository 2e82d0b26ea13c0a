//! Passwords that are changed while a process runs: its file, and those beside it, are read again
//! when they change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ConfigError;

/// Between two looks at the files.
const EVERY: Duration = Duration::from_secs(1);

/// What the files of one configuration hold; `None` for one that cannot be read now.
type Contents = Vec<Option<Vec<u8>>>;

async fn read(files: &[PathBuf]) -> Contents {
    let mut contents = Vec::new();
    for file in files {
        contents.push(tokio::fs::read(file).await.ok());
    }
    contents
}

/// Calls `take` with the configuration whenever one of its files has changed and is good; a bad one
/// is told once, and the last good one stays. What counts as changed is what differs from now on,
/// not from when the future is first polled.
pub fn follow<C>(
    path: PathBuf,
    others: Vec<PathBuf>,
    load: fn(&Path) -> Result<C, ConfigError>,
    files: fn(&C) -> Vec<PathBuf>,
    mut take: impl FnMut(&C) + Send,
) -> impl Future<Output = ()> + Send
where
    C: Send + 'static,
{
    let with_path = {
        let path = path.clone();
        move |mut others: Vec<PathBuf>| {
            others.insert(0, path.clone());
            others
        }
    };
    let mut watched = with_path(others);
    let mut known: Contents = watched
        .iter()
        .map(|file| std::fs::read(file).ok())
        .collect();
    async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let now = read(&watched).await;
            if now == known {
                continue;
            }
            known = now;
            match load(&path) {
                Ok(config) => {
                    take(&config);
                    watched = with_path(files(&config));
                    known = read(&watched).await;
                }
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    tracing::error!("changed, and not used: {error:#}");
                }
            }
        }
    }
}
