//! What a replica wrote itself is looked into once, and told; what the log names common of that, the
//! primary writes.

use super::*;

fn replica() -> Desk {
    let (mut desk, _) = Desk::with(enrolled_seal(), fenced());
    desk.order(follow(1, "p:1-10"), 2);
    desk.ends(OpDone::Frozen(Box::new(fenced())));
    desk.ends(OpDone::Followed);
    desk.waits(200, &following());
    desk
}

fn told(own: &str, common: &str) -> NamedPrimary {
    NamedPrimary {
        own_writes: set(own),
        common: set(common),
        ..named(1, "b")
    }
}

fn looked_into(known: &str, harmless: &str) -> OpDone {
    OpDone::LookedInto {
        known: set(known),
        harmless: set(harmless),
        first: (known != harmless).then(|| "DROP TABLE t".into()),
    }
}

fn why(desk: &Desk) -> Option<&str> {
    desk.beats().besides.as_ref()?.own_writes.as_deref()
}

#[test]
fn a_replica_looks_into_its_own_writes_once_and_tells_which_change_nothing() {
    let mut desk = replica();
    assert_eq!(desk.acknowledged(1, told("", "")), "");
    let said = desk.acknowledged(2, told("a:1-3", ""));
    assert_eq!(said, "run look into a:1-3");
    desk.ends(looked_into("a:1-3", "a:1-2"));
    let said = desk.acknowledged(2, told("a:1-3,a:5", ""));
    assert_eq!(said, "run look into a:5", "at once");
    desk.ends(looked_into("a:5", "a:5"));
    desk.acknowledged(2, told("a:1-3", ""));
    let said = desk.waits(11_000, &following());
    assert!(!said.contains("look into"), "known: {said}");
    assert_eq!(desk.beats().harmless, set("a:1-2"));
    assert_eq!(why(&desk), Some("DROP TABLE t"));
    // The log has it: nothing is left to be told, and what comes next is looked into.
    let said = desk.acknowledged(3, told("a:3-4", ""));
    assert_eq!(said, "run look into a:4");
    // What changes something stands in the way still, though this one does not.
    desk.ends(looked_into("a:4", "a:4"));
    desk.waits(110, &following());
    assert_eq!(desk.beats().harmless, set("a:4"));
    assert_eq!(why(&desk), Some("DROP TABLE t"));
}

/// What a server was asked that is gone is asked of the next one.
#[test]
fn a_restart_of_the_server_leaves_no_question_open() {
    let mut desk = replica();
    assert_eq!(desk.acknowledged(1, told("a:1", "")), "run look into a:1");
    desk.tell(AgentInput::ServerExited);
    desk.comes_up(fenced());
    desk.order(follow(1, "p:1-10"), 3);
    desk.ends(OpDone::Followed);
    let said = desk.waits(11_000, &following());
    assert!(said.contains("run look into a:1"), "{said}");
}

#[test]
fn what_could_not_be_read_is_looked_into_again_after_a_while() {
    let mut desk = replica();
    assert_eq!(desk.acknowledged(1, told("a:1", "")), "run look into a:1");
    desk.fails();
    let said = desk.waits(9_000, &following());
    assert!(!said.contains("look into"), "{said}");
    let said = desk.waits(1_100, &following());
    assert!(said.contains("run look into a:1"), "{said}");
    assert!(desk.beats().harmless.is_empty());
    let told = why(&desk).expect("it is said");
    assert!(
        told.starts_with("its binary log cannot be read: "),
        "{told}"
    );
    desk.ends(looked_into("a:1", "a:1"));
    desk.waits(110, &following());
    assert_eq!(
        (why(&desk), desk.beats().harmless.clone()),
        (None, set("a:1"))
    );
}

#[test]
fn the_open_primary_writes_what_it_lacks_until_it_has_it() {
    let holding = |executed: &str| Survey {
        executed: set(executed),
        ..open()
    };
    let lacking = holding("p:1-10,c:1");
    let mine = |deposed| NamedPrimary {
        deposed,
        common: set("b:1,c:1"),
        ..named(1, "a")
    };
    let mut desk = Desk::serving();
    desk.waits(100, &lacking);
    assert_eq!(desk.acknowledged(2, mine(false)), "run write empty b:1");
    // One that hangs is not overtaken.
    assert!(!desk.waits(1_500, &lacking).contains("write empty"));
    assert_eq!(desk.fails(), "run write empty b:1");
    desk.ends(OpDone::WroteEmpty);
    let has = holding("p:1-10,b:1,c:1");
    assert!(!desk.waits(1_500, &has).contains("write empty"));
    // A replica, and one whose epoch is over, write nothing.
    let mut desk = replica();
    desk.acknowledged(1, told("", "z:1"));
    assert!(!desk.waits(1_500, &following()).contains("write empty"));
    let mut desk = Desk::serving();
    desk.waits(100, &lacking);
    let said = desk.acknowledged(2, mine(true)) + &desk.waits(50, &lacking);
    assert!(!said.contains("write empty"), "{said}");
}

/// What another primary lacks, or one of another epoch, is not this one's to write.
#[test]
fn only_the_named_primary_writes() {
    let lacking = Survey {
        executed: set("p:1-10"),
        ..open()
    };
    for other in [named(1, "b"), named(0, "a")] {
        let other = NamedPrimary {
            common: set("b:1"),
            ..other
        };
        let mut desk = Desk::serving();
        desk.waits(100, &lacking);
        let said = desk.acknowledged(2, other) + &desk.waits(200, &lacking);
        assert!(!said.contains("write empty"), "{said}");
    }
}

#[test]
fn a_primary_that_cannot_write_says_nothing_of_its_binary_log() {
    let lacking = Survey {
        executed: set("p:1-10"),
        ..open()
    };
    let mine = NamedPrimary {
        own_writes: set("a:9"),
        common: set("b:1"),
        ..named(1, "a")
    };
    let mut desk = Desk::serving();
    desk.waits(100, &lacking);
    assert_eq!(desk.acknowledged(2, mine), "run write empty b:1");
    desk.fails();
    desk.waits(200, &lacking);
    assert_eq!(why(&desk), None);
}
