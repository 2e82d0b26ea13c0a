//! The service that can stop `mysqld` while its agent is dead, by the process's control group.

use std::process::Stdio;
use std::time::Duration;

use primacy_core::lint::Manager;
use tokio::process::Command;
use tokio::time::timeout;

const ASK_LIMIT: Duration = Duration::from_secs(1);

/// The systemd service that this process belongs to; `None` where there is none: in a container, or
/// in a session of a person, which stops nothing gently.
pub async fn of(pid: u32) -> Option<Manager> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let (unit, of_user) = unit(&groups)?;
    let shown = show(&unit, of_user).await;
    let mysqld_is_main = shown
        .as_ref()
        .is_ok_and(|text| value(text, "MainPID") == Some(&pid.to_string()));
    let kill = shown.and_then(|text| {
        let mode = value(&text, "KillMode").unwrap_or_default();
        let signal = value(&text, "KillSignal").unwrap_or_default();
        if mode.is_empty() || signal.is_empty() {
            return Err(format!("systemctl knows no {unit}"));
        }
        Ok((mode.to_owned(), signal_name(signal)))
    });
    Some(Manager {
        unit,
        kill,
        mysqld_is_main,
    })
}

/// The innermost service of a process, and whether a user's own manager runs it.
fn unit(groups: &str) -> Option<(String, bool)> {
    let path = groups.lines().find_map(|line| {
        line.strip_prefix("0::")
            .filter(|path| *path != "/")
            .or_else(|| line.split_once(":name=systemd:").map(|(_, path)| path))
    })?;
    let last = path.rsplit('/').next()?;
    last.ends_with(".service").then(|| {
        (
            last.to_owned(),
            path.contains("/user@") && !last.starts_with("user@"),
        )
    })
}

async fn show(unit: &str, of_user: bool) -> Result<String, String> {
    let mut command = Command::new("systemctl");
    if of_user {
        command.arg("--user");
    }
    command
        .args(["show", "-p", "KillMode,KillSignal,MainPID", "--", unit])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(ASK_LIMIT, command.output())
        .await
        .map_err(|_| "systemctl does not answer".to_owned())?
        .map_err(|error| format!("systemctl: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

fn signal_name(signal: &str) -> String {
    match signal {
        "9" | "SIGKILL" => "SIGKILL".into(),
        "15" | "SIGTERM" => "SIGTERM".into(),
        other => format!("signal {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_belongs_to_its_innermost_service() {
        let of = |groups: &str| unit(groups);
        let service = |name: &str, of_user| Some((name.to_owned(), of_user));
        assert_eq!(
            of("0::/system.slice/primacy-agent.service\n"),
            service("primacy-agent.service", false)
        );
        assert_eq!(
            of("9:name=systemd:/system.slice/mysql.service\n8:pids:/\n0::/\n"),
            service("mysql.service", false)
        );
        assert_eq!(
            of("0::/user.slice/user-1000.slice/user@1000.service/app.slice/db.service\n"),
            service("db.service", true)
        );
        // A person's session, and a container.
        assert_eq!(of("0::/user.slice/user-1000.slice/session-3.scope\n"), None);
        assert_eq!(of("9:name=systemd:/\n0::/\n"), None);
        assert_eq!(of("0::/system.slice/docker.service/4be1\n"), None);
    }

    #[test]
    fn what_systemctl_shows() {
        let text = "KillMode=control-group\nKillSignal=15\nMainPID=712\n";
        assert_eq!(value(text, "KillMode"), Some("control-group"));
        assert_eq!(value(text, "Kill"), None);
        assert_eq!(signal_name("15"), "SIGTERM");
        assert_eq!(signal_name("9"), "SIGKILL");
        assert_eq!(signal_name("3"), "signal 3");
    }
}
