//! What the agent's own writes prove: only one that was sent to the ackers and not acknowledged
//! speaks against an open primary.

use super::*;
use crate::act::{NotSent, ProbeAt};

/// What becomes of every write probe, and of other people's commits.
#[derive(Clone)]
enum Fate {
    /// It is at this for as long as it takes; so many sessions wait for acknowledgements.
    Hangs(ProbeAt, u64),
    /// It ends at once; so many sessions wait, the oldest of them since it was seen first.
    Refused(NotSent, u64),
    /// The same, and none of them waits for as long as a second.
    RefusedWhileOthersPass(NotSent),
    /// Nobody knows its end; so many sessions wait.
    GivenUp(u64),
}

impl Desk {
    /// Ticks for so long; what it did, and when the first of it came.
    fn probes(&mut self, ms: u64, fate: &Fate) -> Vec<(u64, String)> {
        let begun = self.now;
        let mut lines = Vec::new();
        for _ in 0..ms / 10 {
            self.now += 10;
            let mut said = vec![self.tell(AgentInput::Tick)];
            if self.survey.is_some() {
                let survey = self.seen(begun, fate);
                said.push(self.surveyed(survey));
            }
            let ends = match fate {
                Fate::Hangs(..) => None,
                Fate::Refused(why, _) | Fate::RefusedWhileOthersPass(why) => {
                    Some(Ok(OpDone::NotSent(why.clone())))
                }
                Fate::GivenUp(_) => Some(Err(OpError::Unknown("no answer in time".into()))),
            };
            if let Some(end) = ends {
                for id in std::mem::take(&mut self.markers) {
                    said.push(self.ended(id, end.clone()));
                }
            }
            let said = said.iter().flat_map(|line| line.split(", "));
            let said = said.filter(|line| !line.is_empty() && *line != "run marker 1");
            lines.extend(said.map(|line| (self.now - begun, line.to_owned())));
        }
        lines
    }

    fn seen(&self, begun: u64, fate: &Fate) -> Survey {
        let (at, ack_waits, ack_wait_ms) = match fate {
            Fate::Hangs(at, waits) => (Some(at.clone()), *waits, None),
            Fate::Refused(_, waits) | Fate::GivenUp(waits) => {
                (None, *waits, Some((self.now - begun) / 1_000 * 1_000))
            }
            Fate::RefusedWhileOthersPass(_) => (None, 3, Some(0)),
        };
        let probes = self.markers.iter().map(|id| Some((*id, at.clone()?)));
        Survey {
            ack_waits,
            ack_wait_ms,
            probes: probes.flatten().collect(),
            ..open()
        }
    }
}

fn login() -> NotSent {
    NotSent::Login("error 1045: access denied".into())
}

#[test]
fn only_a_write_that_was_sent_and_not_acknowledged_shuts_it() {
    use Fate::*;
    let lock = || ProbeAt::Lock("the global read lock of session 7".into());
    let table = || NotSent::Table("error 1146: no such table".into());
    let cases = [
        ("waits", Hangs(ProbeAt::Acknowledgement, 1), true),
        (
            "in its commit behind one that waits",
            Hangs(ProbeAt::Commit, 1),
            true,
        ),
        (
            "in its commit, and nobody waits: a disk",
            Hangs(ProbeAt::Commit, 0),
            false,
        ),
        ("at work: a disk", Hangs(ProbeAt::Work, 0), false),
        ("behind a lock", Hangs(lock(), 0), false),
        ("refused its login", Refused(login(), 0), false),
        ("its table is gone", Refused(table(), 0), false),
        ("refused, and others wait", Refused(login(), 3), true),
        (
            "refused, and others pass",
            RefusedWhileOthersPass(login()),
            false,
        ),
        ("its end is unknown, and others wait", GivenUp(3), true),
        ("its end is unknown, and nobody waits", GivenUp(0), false),
        ("behind a lock, and others wait", Hangs(lock(), 2), true),
    ];
    for (what, fate, shuts) in cases {
        let mut desk = Desk::serving();
        let did = desk.probes(60_000, &fate);
        if shuts {
            let (at, line) = did.first().unwrap_or_else(|| panic!("{what}: stays open"));
            assert_eq!(line, "persist()", "{what}: what it will say of it first");
            assert_eq!(did[1].1, "run fence", "{what}");
            assert!((30_000..33_000).contains(at), "{what}: after {at} ms");
        } else {
            assert_eq!(did, [], "{what}");
            assert_eq!(desk.agent.serving(), Some(Epoch(1)), "{what}");
        }
    }
}

#[test]
fn what_it_slept_counts_for_nothing() {
    let waits = Fate::Hangs(ProbeAt::Acknowledgement, 1);
    let mut desk = Desk::serving();
    assert_eq!(desk.probes(5_000, &waits), []);
    desk.now += 31_000;
    assert_eq!(desk.tell(AgentInput::Tick), "", "its first tick");
    // Nor what was asked before it slept and answered after.
    assert_eq!(desk.probes(24_000, &waits), [], "29 s, without its sleep");
    let did = desk.probes(5_000, &waits);
    assert!(did.iter().any(|(_, line)| line == "run fence"), "{did:?}");
}

/// A survey counts by when it was asked for: before the sleep it shows nothing, after it all.
#[test]
fn what_was_asked_before_it_slept_shows_nothing() {
    let waits = Fate::Hangs(ProbeAt::Acknowledgement, 1);
    let mut desk = Desk::serving();
    assert_eq!(desk.probes(5_000, &waits), []);
    while desk.survey.is_none() {
        desk.now += 10;
        desk.tell(AgentInput::Tick);
    }
    let old = desk.seen(desk.now, &waits);
    desk.now += 31_000;
    desk.tell(AgentInput::Tick);
    desk.surveyed(old);
    let mut said = Vec::new();
    for _ in 0..3_000 {
        desk.now += 10;
        said.push(desk.tell(AgentInput::Tick));
    }
    assert!(!said.iter().any(|line| line.contains("run fence")));
    let did = desk.probes(3_000, &Fate::Hangs(ProbeAt::Work, 0));
    assert_eq!(did, [], "nobody waits any more");
    let did = desk.probes(3_000, &waits);
    assert!(did.iter().any(|(_, line)| line == "run fence"), "{did:?}");
}

#[test]
fn an_acknowledgement_ends_the_waiting() {
    let mut desk = Desk::serving();
    assert_eq!(desk.probes(25_000, &Fate::GivenUp(3)), []);
    desk.waits(1_000, &open());
    desk.marked();
    assert_eq!(desk.probes(25_000, &Fate::GivenUp(3)), []);
}

#[test]
fn what_is_in_the_way_of_its_writes_is_told() {
    let mut desk = Desk::serving();
    assert_eq!(desk.agent.hindered(), None);
    desk.probes(3_000, &Fate::Refused(login(), 0));
    assert_eq!(desk.agent.hindered(), Some(login()));
    desk.waits(1_000, &open());
    desk.marked();
    assert_eq!(desk.agent.hindered(), None, "it is healed");
    let held = "the backup lock of session 9";
    desk.probes(3_000, &Fate::Hangs(ProbeAt::Lock(held.into()), 0));
    assert_eq!(desk.agent.hindered(), Some(NotSent::Locked(held.into())));
}

#[test]
fn a_disk_is_told_where_neither_a_lock_nor_an_acknowledgement_explains_it() {
    let stuck = |fate| {
        let mut desk = Desk::serving();
        desk.probes(3_000, &fate);
        desk.beats().write_stuck_ms
    };
    for at in [ProbeAt::Commit, ProbeAt::Work] {
        let for_ms = stuck(Fate::Hangs(at.clone(), 0));
        assert!(for_ms.is_some_and(|ms| ms > 1_000), "{at:?}: {for_ms:?}");
        assert_eq!(stuck(Fate::Hangs(at, 1)), None, "somebody waits");
    }
    let lock = ProbeAt::Lock("a table lock of session 7".into());
    assert_eq!(stuck(Fate::Hangs(lock, 0)), None);
    assert_eq!(stuck(Fate::Refused(login(), 0)), None);
}
