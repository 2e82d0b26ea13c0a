//! What a failover has to carry over, or to look out for, beside rows: scheduled events, and branches
//! of distributed transactions that are prepared.

use super::accounts::lacks_globally;
use super::facts::{Facts, ScheduledEvent};
use super::{Pad, Rule, Subject};
use crate::ids::InstanceId;

/// What the agent's account needs to enable an event under the definer that it has.
const EVENTS: &[&str] = &["EVENT", "SET_ANY_DEFINER"];
const BRANCHES: &[&str] = &["XA_RECOVER_ADMIN"];
const OWN_WRITES: &[&str] = &["REPLICATION SLAVE"];
/// Names that a finding lists at most.
const NAMES: usize = 8;

pub(super) fn judge(
    subject: &Subject<'_>,
    instance: &InstanceId,
    facts: &Facts,
    pad: &mut Pad<'_>,
) {
    grants(instance, facts, pad);
    boots_quiet(instance, facts, pad);
    // Replicas hold the same.
    if instance == subject.primary {
        events(instance, facts, pad);
    }
}

fn grants(instance: &InstanceId, facts: &Facts, pad: &mut Pad<'_>) {
    let account = &facts.agent_account;
    for (rule, wanted, without) in [
        (
            Rule::ScheduledEvents,
            EVENTS,
            "it would leave scheduled events disabled after a promotion",
        ),
        (
            Rule::PreparedBranches,
            BRANCHES,
            "it does not see prepared branches (XA)",
        ),
        (
            Rule::OwnWrites,
            OWN_WRITES,
            "it cannot tell which transactions that a replica wrote itself (FLUSH, ANALYZE) are \
             harmless, and they bar it from a promotion",
        ),
    ] {
        let lacks = lacks_globally(facts, wanted);
        if !lacks.is_empty() {
            let lacks = lacks.join(", ");
            pad.add(
                rule,
                Some(instance),
                format!("the agent's account {account} lacks {lacks}: {without}"),
                format!("GRANT {lacks} ON *.* TO {account}"),
            );
        }
    }
}

/// A server that boots closed runs its own events into error 1290, for as long as it is closed.
fn boots_quiet(instance: &InstanceId, facts: &Facts, pad: &mut Pad<'_>) {
    let Some(Ok(boot)) = &facts.boot else {
        return; // said elsewhere
    };
    let written = boot.options.get("event_scheduler").map(String::as_str);
    let quiet = matches!(
        written.map(str::to_ascii_uppercase).as_deref(),
        Some("OFF" | "0" | "DISABLED")
    );
    if !quiet {
        let found = written.unwrap_or("ON, as where nothing is written");
        pad.add(
            Rule::ScheduledEvents,
            Some(instance),
            format!("it boots with event_scheduler={found}, and closed: its events would fail"),
            format!("event_scheduler=OFF in {}, under [mysqld]", boot.file),
        );
    }
}

fn events(instance: &InstanceId, facts: &Facts, pad: &mut Pad<'_>) {
    let list = |which: &dyn Fn(&ScheduledEvent) -> bool| {
        let found: Vec<&ScheduledEvent> = facts.events.iter().filter(|e| which(e)).collect();
        let mut names: Vec<String> = found.iter().take(NAMES).map(|e| e.name.clone()).collect();
        if found.len() > NAMES {
            names.push(format!("{} more", found.len() - NAMES));
        }
        (!names.is_empty()).then(|| names.join(", "))
    };
    if let Some(names) = list(&|event| event.once) {
        pad.add(
            Rule::ScheduledEvents,
            Some(instance),
            format!(
                "a failover cannot carry over what runs at one moment (ON SCHEDULE AT): it never runs \
                 if nobody is primary then; such are {names}"
            ),
            "use ON SCHEDULE EVERY … ENDS …, and let the event look whether its work is done",
        );
    }
    if let Some(names) = list(&|event| !event.definer_exists) {
        pad.add(
            Rule::ScheduledEvents,
            Some(instance),
            format!(
                "a failover cannot carry over what has a definer that does not exist; such are {names}"
            ),
            "create the account, or ALTER DEFINER=… EVENT …",
        );
    }
}
