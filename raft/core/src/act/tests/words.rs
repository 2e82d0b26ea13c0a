//! What an agent does, as its transcripts have it.

use super::*;
use crate::testing::short;

pub(super) fn op_name(op: &Op) -> String {
    match op {
        Op::Survey
        | Op::Freeze
        | Op::Fence
        | Op::LookAtApplier { .. }
        | Op::StartApplier
        | Op::CleanUp => op.name().into(),
        Op::Fetch { host, .. } => format!("fetch {host}"),
        Op::WaitApplied { set } => format!("apply {}", short(set)),
        Op::Follow {
            host,
            acking,
            online,
            compared,
            ..
        } => {
            let how = if *acking { "acking" } else { "silently" };
            let kept = if *online { "" } else { ", offline" };
            let compared = compared
                .as_ref()
                .map_or(String::new(), |set| format!(" with {} at most", short(set)));
            format!("follow {host} {how}{kept}{compared}")
        }
        Op::LookInto { set } => format!("look into {}", short(set)),
        Op::WriteEmpty { set } => format!("write empty {}", short(set)),
        Op::PrepareOpen { members } => {
            assert_eq!(
                *members,
                [uuid("b")].into(),
                "whoever else is attached is cut"
            );
            "prepare".into()
        }
        Op::Open { k } => format!("open k={k}"),
        Op::Adopt { k } => format!("adopt k={k}"),
        Op::Marker { create: true, .. } => "first marker".into(),
        Op::Marker { epoch, .. } => format!("marker {epoch}"),
        Op::EndChannel { name } => format!("end channel {name}"),
        Op::Cut { sessions } => format!("cut {sessions:?}"),
        Op::Repair { k } => format!("repair {k}"),
        Op::TakeOverScheduled { take_over } => format!("take over {take_over:?}"),
        Op::LookAtScheduled => "look at events".into(),
        Op::LogIn { host, .. } => format!("log in at {host}"),
    }
}

pub(super) fn said(said: &Said) -> String {
    match said {
        Said::Reported { fenced, .. } => format!("say reported, fenced {fenced}"),
        Said::Frozen { report } => {
            let held = short(&report.holds());
            format!("say frozen {held}{}", durability(report.undurable))
        }
        Said::Fenced {
            report, undurable, ..
        } => match report {
            FenceReport::Confirmed {
                final_set,
                broken,
                unacknowledged,
                ..
            } => {
                let faults = broken.iter().map(|fault| format!(", {fault}"));
                let mut more: String = faults.collect();
                if *unacknowledged {
                    more += ", unacknowledged";
                }
                format!("say confirmed {}{more}", short(final_set))
            }
            FenceReport::Exited => format!("say exited{}", durability(*undurable)),
        },
        Said::Following => "say following".into(),
        Said::WillNotFollow { extra } => {
            format!("say will not follow: {}", short(extra))
        }
        Said::Applied => "say applied".into(),
        Said::Opened { .. } => "say opened".into(),
        Said::Acknowledged { floor } => {
            format!("say acknowledged {}", short(floor))
        }
        Said::Refused { why } => format!("refused: {why}"),
    }
}

fn durability(undurable: bool) -> &'static str {
    if undurable { ", undurable" } else { "" }
}

pub(super) fn changes(old: &Seal, new: &Seal) -> String {
    let mut found = Vec::new();
    let mut changed = |differs: bool, what: String| {
        if differs {
            found.push(what);
        }
    };
    let epoch = |epoch: Option<Epoch>| epoch.map_or("none".into(), |epoch| epoch.to_string());
    let uuid_known = new.server_uuid.is_some();
    changed(
        old.server_uuid != new.server_uuid,
        format!("uuid {uuid_known}"),
    );
    changed(old.mysqld != new.mysqld, format!("mysqld {}", new.mysqld));
    let at = new
        .token
        .as_ref()
        .map(|token| token.at.index.0)
        .unwrap_or(0);
    changed(old.token != new.token, format!("token {at}"));
    changed(
        old.frozen != new.frozen,
        format!("frozen {}", epoch(new.frozen)),
    );
    changed(old.shut != new.shut, format!("shut {}", epoch(new.shut)));
    changed(
        old.opened != new.opened,
        format!("opened {}", epoch(new.opened)),
    );
    if let Some((source, of)) = &new.source {
        changed(old.source != new.source, format!("source {source} {of}"));
    }
    found.join("; ")
}
