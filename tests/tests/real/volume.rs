//! A small disk of its own for one folder, that can be filled.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use primacy::mysqld::session::within;

use crate::world::{LIMIT, World, until};

/// Ends an instance and its agent, so that their folders can be moved.
pub async fn ends(world: &World, id: &str) {
    world.kill(world.instance(id).agent_pid).await;
    let killed = world.mysqld(id);
    world.kill(killed).await;
    // Until it is reaped, its lock of the socket counts as held.
    until(LIMIT, "it to be reaped", async || {
        let process = format!("/proc/{killed}");
        (!Path::new(&process).exists()).then_some(())
    })
    .await;
}

/// Where an instance's server has its data.
pub fn folder(world: &World, id: &str) -> PathBuf {
    let socket = &world.instance(id).socket;
    socket.parent().expect("its folder").to_owned()
}

/// Moves the folder of an instance's agent, which must not run, to where its server's data is.
pub fn agent_beside(world: &World, id: &str) {
    let agent = world.dir().join(id.replace("mysql", "agent"));
    let beside = folder(world, id).join("agent");
    // Perhaps onto another disk, where a rename does not reach.
    run("mv", &[text(&agent), text(&beside)]).expect("it is moved");
    symlink(beside, agent).expect("a link");
}

/// Waits until an instance that was moved replicates again.
pub async fn follows(world: &World, id: &str) {
    until(LIMIT, "it to follow again", async || {
        let follows = "SELECT CAST(COUNT(*) AS CHAR) FROM \
                       performance_schema.replication_connection_status WHERE SERVICE_STATE='ON'";
        let mut session = world.try_root(id).await?;
        let sets = session.ask(follows, within(LIMIT)).await.ok()?;
        (sets[0][0].get::<String, _>(0)? == "1").then_some(())
    })
    .await;
    world.heard(id).await;
}

/// Unmounted when dropped; what runs on it keeps its files until then.
pub struct Volume {
    folder: PathBuf,
    frozen: bool,
}

impl Volume {
    /// Moves a folder onto a disk with so many megabytes to spare. Nothing may be at work in it.
    /// `None`, said aloud, where disks cannot be mounted.
    pub fn under(folder: &Path, spare_mib: u64) -> Option<Volume> {
        Volume::mounted(folder, spare_mib, |size_mib| {
            let size = format!("size={size_mib}m");
            run(
                "mount",
                &["-t", "tmpfs", "-o", &size, "tmpfs", text(folder)],
            )
        })
    }

    /// The same, on a file system that can be frozen.
    pub fn disk_under(folder: &Path, spare_mib: u64) -> Option<Volume> {
        let image = folder.with_extension("image");
        Volume::mounted(folder, spare_mib, |size_mib| {
            // Its journal, and what it keeps of each file.
            let bytes = (size_mib + size_mib / 8 + 64) << 20;
            let file = File::create(&image).map_err(|error| error.to_string())?;
            file.set_len(bytes).map_err(|error| error.to_string())?;
            run("mkfs.ext4", &["-q", text(&image)])?;
            run("mount", &["-o", "loop", text(&image), text(folder)])
        })
    }

    fn mounted(
        folder: &Path,
        spare_mib: u64,
        mount: impl FnOnce(u64) -> Result<(), String>,
    ) -> Option<Volume> {
        let aside = folder.with_extension("aside");
        fs::rename(folder, &aside).expect("the folder is moved aside");
        fs::create_dir(folder).expect("a folder to mount on");
        if let Err(why) = mount((bytes(&aside) >> 20) + spare_mib) {
            println!("skipped: a small disk cannot be mounted ({})", why.trim());
            return None;
        }
        let volume = Volume {
            folder: folder.to_owned(),
            frozen: false,
        };
        let copied = run("cp", &["-a", text(&aside.join(".")), text(folder)]);
        copied.expect("the folder is copied");
        fs::remove_dir_all(&aside).expect("the original goes");
        Some(volume)
    }

    /// From here on whatever writes hangs.
    pub fn freeze(&mut self) {
        run("fsfreeze", &["-f", text(&self.folder)]).expect("it freezes");
        self.frozen = true;
    }

    pub fn thaw(&mut self) {
        if std::mem::take(&mut self.frozen) {
            run("fsfreeze", &["-u", text(&self.folder)]).expect("it thaws");
        }
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
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
                Err(error) => panic!("{}: {error}", self.folder.display()),
            }
        }
    }

    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("the ballast goes");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of our own")
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
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
        self.thaw();
        // Lazily: its processes end after this.
        let _ = run("umount", &["-l", text(&self.folder)]);
    }
}
