//! Fact beside order, what people should see to, and whether a failover would succeed now.

use std::fmt::Write as _;

use primacy_core::alarm::{AGENT_UNHEARD_MS, Severity, Shown};
use primacy_core::decide::Readiness;
use primacy_core::ids::{ClusterId, InstanceId};
use primacy_core::node::{InFact, WatchView};
use primacy_core::observe::{ChannelSeen, IoThread, MysqldWord, Role};
use primacy_core::record::Cluster;

use super::show::{drawn, duration, table};
use super::wrap::{columns, wrapped};
use crate::api::StatusDocument;

/// One word for the line of a cluster.
pub(super) fn ready_word(readiness: Option<&Readiness>) -> String {
    match readiness {
        None => "readiness not known".into(),
        Some(Readiness { ready: false, .. }) => "NOT READY".into(),
        Some(Readiness {
            next: Some(next), ..
        }) => format!("ready, {next} would be next"),
        Some(_) => "ready".into(),
    }
}

/// Why a failover would halt, and what one would wait for.
pub(super) fn ready_lines(readiness: &Readiness, text: &mut String) {
    for why in &readiness.why {
        line(text, &format!("  a failover would halt now: {why}"));
    }
    for wait in &readiness.waits {
        line(text, &format!("  a failover would wait for {wait}"));
    }
}

/// All alarms in a line: who, and the code.
pub(super) fn alarm_words(id: &ClusterId, alarms: &[Shown], text: &mut String) {
    if alarms.is_empty() {
        return;
    }
    let words: Vec<String> = alarms
        .iter()
        .map(|alarm| match &alarm.instance {
            Some(instance) => format!("{instance} {}", alarm.alarm.code()),
            None => alarm.alarm.code().to_owned(),
        })
        .collect();
    let words = words.join(", ");
    line(text, &format!("  alarms: {words}; `primacy explain {id}`"));
}

/// Each alarm in full: of one instance, or all.
pub(super) fn alarm_lines(alarms: &[Shown], text: &mut String) {
    for alarm in alarms {
        let kind = match alarm.severity {
            Severity::Halts => "alarm, would halt a failover",
            Severity::Warns => "alarm",
        };
        let (code, lasts) = (alarm.alarm.code(), duration(alarm.for_ms));
        line(text, &format!("{kind} ({code}, for {lasts}): {alarm}"));
    }
}

fn line(text: &mut String, line: &str) {
    let _ = writeln!(text, "{}", wrapped(line, columns()));
}

/// What the log orders each instance to be, and what it is.
pub(super) fn in_fact(document: &StatusDocument, cluster: &Cluster) -> String {
    let mut rows = table(&[
        "INSTANCE",
        "BY ORDER",
        "IN FACT",
        "RECEIVER",
        "APPLIER",
        "LEFT TO APPLY",
        "ACKNOWLEDGES",
    ]);
    for id in cluster.instances.keys() {
        let view = document.best_sight(id);
        let fact = view.and_then(|view| view.in_fact.as_ref());
        // What an agent said before it fell silent is no fact any more.
        let told = fact.filter(|_| view.is_some_and(is_heard));
        let channel = told.and_then(|fact| fact.channel.as_ref());
        let left = told.map(|fact| fact.left).filter(|_| channel.is_some());
        rows.add_row([
            id.to_string(),
            by_order(cluster, id),
            view.map_or_else(|| "not known".into(), role_in_fact),
            channel.map_or_else(|| "–".into(), receiver),
            channel.map_or_else(|| "–".into(), applier),
            left.map_or_else(|| "–".into(), |left| left.to_string()),
            acknowledges(cluster, id, fact),
        ]);
    }
    drawn(rows)
}

fn by_order(cluster: &Cluster, id: &InstanceId) -> String {
    if cluster.left_behind.contains(id) {
        return "nothing: left behind".into();
    }
    if *id == cluster.primary {
        return match cluster.promotion() {
            Some(_) => format!("primary, epoch {}", cluster.epoch),
            None => "to be fenced".into(),
        };
    }
    let role = match cluster.promotion() {
        Some(_) => "follows",
        None => "frozen",
    };
    let member = if cluster.ackers.members.contains(id) {
        ", in V"
    } else {
        ""
    };
    format!("{role}, epoch {}{member}", cluster.epoch)
}

fn is_heard(view: &WatchView) -> bool {
    view.agent_heard_ms.is_some_and(|ms| ms <= AGENT_UNHEARD_MS)
}

fn role_in_fact(view: &WatchView) -> String {
    match view.agent_heard_ms {
        None => return "agent never heard".into(),
        Some(ms) if !is_heard(view) => {
            return format!("agent unheard for {}", duration(ms));
        }
        Some(_) => {}
    }
    let says = view.in_fact.as_ref().map(|fact| fact.mysqld);
    match (says, view.role) {
        (Some(MysqldWord::Exited), _) => "mysqld exited".into(),
        (Some(MysqldWord::Starting), _) => "mysqld starts".into(),
        (_, Some(Role::Open(epoch))) => {
            let shut = view.in_fact.as_ref().is_some_and(|fact| fact.fenced);
            let word = if shut { "refuses writes" } else { "open" };
            format!("{word}, epoch {epoch}")
        }
        (_, Some(Role::Frozen(epoch))) => format!("frozen, epoch {epoch}"),
        (_, Some(Role::Following(epoch))) => format!("follows, epoch {epoch}"),
        (_, Some(Role::Closed) | None) => "closed".into(),
    }
}

fn receiver(channel: &ChannelSeen) -> String {
    let state = match (&channel.receiver_error, channel.io) {
        (Some(error), _) => format!("error {}", error.number),
        (None, IoThread::On) => "receives".into(),
        (None, IoThread::Connecting) => "connects".into(),
        (None, IoThread::Off) => "stopped".into(),
    };
    format!("{state}, {}", channel.address())
}

fn applier(channel: &ChannelSeen) -> String {
    match (&channel.applier_error, channel.applier_runs) {
        (Some(error), _) => format!("error {}", error.number),
        (None, false) => "stopped".into(),
        (None, true) if channel.delay_s > 0 => format!("runs, {} s late", channel.delay_s),
        (None, true) => "runs".into(),
    }
}

fn acknowledges(cluster: &Cluster, id: &InstanceId, fact: Option<&InFact>) -> String {
    if !cluster.ackers.members.contains(id) {
        return "–".into();
    }
    match fact.and_then(|fact| fact.acknowledges) {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "not known",
    }
    .into()
}

#[cfg(test)]
mod tests {
    use primacy_core::alarm::Alarm;
    use primacy_core::observe::ServerError;

    use super::*;

    fn not_ready() -> Readiness {
        Readiness {
            ready: false,
            next: None,
            why: vec!["mysql-2 holds errant transactions 7a7a:1".into()],
            waits: vec!["an operator's approval".into()],
        }
    }

    #[test]
    fn readiness_is_one_word_and_its_reasons() {
        assert_eq!(ready_word(None), "readiness not known");
        assert_eq!(ready_word(Some(&not_ready())), "NOT READY");
        let ready = Readiness {
            ready: true,
            next: Some("mysql-2".into()),
            why: Vec::new(),
            waits: Vec::new(),
        };
        assert_eq!(ready_word(Some(&ready)), "ready, mysql-2 would be next");
        let mut text = String::new();
        ready_lines(&not_ready(), &mut text);
        assert_eq!(
            text,
            "  a failover would halt now: mysql-2 holds errant transactions 7a7a:1\n  \
             a failover would wait for an operator's approval\n"
        );
    }

    fn shown() -> Vec<Shown> {
        let text = "Duplicate entry '1'".to_owned();
        let error = Alarm::ApplierError {
            error: ServerError { number: 1062, text },
        };
        let alarms = [(None, Alarm::FloorMissing), (Some("mysql-2".into()), error)];
        alarms
            .into_iter()
            .map(|(instance, alarm)| Shown {
                instance,
                severity: alarm.severity(),
                for_ms: 12_000,
                text: alarm.to_string(),
                alarm,
            })
            .collect()
    }

    #[test]
    fn alarms_name_the_instance_the_value_and_the_remedy() {
        let mut text = String::new();
        alarm_words(&"orders".into(), &shown(), &mut text);
        assert_eq!(
            text,
            "  alarms: floor_missing, mysql-2 applier_error; `primacy explain orders`\n"
        );
        text.clear();
        alarm_lines(&shown(), &mut text);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with(
            "alarm, would halt a failover (floor_missing, for 12 s): no marker of this cluster"
        ));
        assert!(lines[1].starts_with(
            "alarm (applier_error, for 12 s): mysql-2: its applier has stopped with error 1062: \
             Duplicate entry '1'"
        ));
        assert!(lines[1].ends_with("then START REPLICA SQL_THREAD"));
    }

    #[test]
    fn a_channel_in_few_words() {
        let mut channel = ChannelSeen {
            host: "10.0.0.1".into(),
            port: 3306,
            io: IoThread::On,
            applier_runs: true,
            ..ChannelSeen::default()
        };
        let told = |channel: &ChannelSeen| format!("{}; {}", receiver(channel), applier(channel));
        assert_eq!(told(&channel), "receives, 10.0.0.1:3306; runs");
        channel.delay_s = 60;
        assert_eq!(told(&channel), "receives, 10.0.0.1:3306; runs, 60 s late");
        let error = |number| {
            let text = String::new();
            Some(ServerError { number, text })
        };
        channel.receiver_error = error(13_114);
        channel.applier_error = error(1062);
        assert_eq!(told(&channel), "error 13114, 10.0.0.1:3306; error 1062");
    }
}
