//! The number by which the log and the agent of a primary speak of its ground.

use super::*;
use crate::act::SemiSyncDump;
use crate::gtid::Uuid;
use crate::observe::{Fault, GroundWord};

fn with_strangers(letters: &str) -> Survey {
    let dump = |(session, letter): (u64, char)| SemiSyncDump {
        uuid: Some(uuid(&letter.to_string())),
        session,
    };
    Survey {
        semi_sync_dumps: (7..).zip(letters.chars()).map(dump).collect(),
        ..open()
    }
}

/// The number of the first beat that tells this, and what it names.
fn first(desk: &mut Desk, survey: &Survey, tells: impl Fn(&GroundWord) -> bool) -> (u64, u64) {
    for _ in 0..30 {
        desk.waits(10, survey);
        let beat = desk.beats();
        if tells(&beat.ground) {
            return (beat.word.beat, beat.ground.since);
        }
    }
    panic!("it is never told: {:?}", desk.beats().ground);
}

/// The log settles what was told up to a number: what is new has that of the first beat that tells
/// of it, whichever way the agent learnt it.
#[test]
fn what_is_new_has_the_number_of_the_first_beat_that_tells_it() {
    let mut desk = Desk::serving();
    desk.acknowledged(1, named(1, "a"));
    desk.waits(200, &open());
    let strangers = |of: Uuid| move |word: &GroundWord| word.strangers.contains(&of);
    let (beat, since) = first(&mut desk, &with_strangers("z"), strangers(uuid("z")));
    assert_eq!(since, beat, "seen acknowledging");
    desk.waits(300, &with_strangers("z"));
    assert_eq!(desk.beats().ground.since, since, "it is not new any more");
    let (beat, since) = first(&mut desk, &with_strangers("zy"), strangers(uuid("y")));
    assert_eq!(since, beat, "another");
    let mut off = open();
    (off.ground.source.enabled, off.ground.source.status) = (false, false);
    let broken = |fault: Fault| move |word: &GroundWord| word.broken.contains(&fault);
    let (beat, since) = first(&mut desk, &off, broken(Fault::Disabled));
    assert_eq!(since, beat, "a setting");
    let log = NamedPrimary {
        at: at(99),
        ground: crate::record::Ground {
            strangers: [uuid("x")].into(),
            ..Default::default()
        },
        ..named(1, "a")
    };
    desk.acknowledged(2, log);
    let (beat, since) = first(&mut desk, &open(), strangers(uuid("x")));
    assert_eq!(since, beat, "by a node's word");
    let less = Survey {
        executed: set("p:1-2"),
        ..open()
    };
    let (beat, since) = first(&mut desk, &less, broken(Fault::Reset));
    assert_eq!(since, beat, "its GTIDs were reset");
}
