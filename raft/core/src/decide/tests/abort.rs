//! After an abort.

use super::*;

/// What `a` and `b` report and what the old primary `p` says, then the abort.
fn aborted(mut world: World, fence: &str) -> String {
    for letter in ["a", "b"] {
        world.freeze(report(letter, "p:1-15", ""));
    }
    match fence {
        "" => {}
        "exited" => world.exit(),
        final_set => world.confirm(final_set),
    }
    world.must(Command::Abort {
        cluster: crate::testing::cluster_id(),
        epoch: Epoch(1),
        who: "ann".into(),
        why: "a planned stop".into(),
    });
    told(&world)
}

#[test]
fn after_an_abort_the_old_primary_alone_is_chosen() {
    let alone = "ann aborted the failover: p alone may open again, once its agent confirms its \
                 fence";
    let undo = "until then nobody takes writes. If it cannot come back, lift the abort: \
                `primacy approve` for the same epoch";
    let table = [
        ("", format!("{alone}; {undo}")),
        (
            "exited",
            format!(
                "{alone} (its mysqld has exited; its agent starts it again after restart_hold_ms); {undo}"
            ),
        ),
        ("p:1-16", "p for p:1-15".to_owned()),
        (
            "p:1-9",
            "the failover is aborted, and p, who alone may open again, lacks p:10-15, which is \
             needed; lift the abort: `primacy approve` for the same epoch"
                .to_owned(),
        ),
    ];
    for (fence, expected) in table {
        assert_eq!(aborted(deposed("pab", 1), fence), expected, "{fence}");
    }
}

/// Without the abort another is promoted; with it an operator has said that it is well again.
#[test]
fn a_wedged_primary_returns_only_by_an_abort() {
    let alone = "ann aborted the failover: p alone may open again, once its agent confirms its \
                 fence; until then nobody takes writes. If it cannot come back, lift the abort: \
                 `primacy approve` for the same epoch";
    assert_eq!(aborted(wedged("pab", 1), "p:1-15"), "p for p:1-15");
    assert_eq!(aborted(wedged("pab", 1), ""), alone);
}
