//! What it finds its server to be; strangers.

use super::starved::{connected, replica};
use super::*;
use crate::act::SemiSyncDump;
use crate::gtid::Uuid;
use crate::observe::Fault;

#[test]
fn a_server_that_came_up_open_is_fenced() {
    let mut seal = Seal::blank(cluster_id(), instance("a"));
    seal.server_uuid = Some(uuid("a"));
    let enrolled = |change: fn(&mut Seal)| {
        let mut seal = Seal {
            plane: Some(PlaneId::from("plane")),
            token: Some(token(1, 1)),
            ..seal.clone()
        };
        change(&mut seal);
        let (desk, said) = Desk::with(seal, open());
        (said, desk.agent.role())
    };
    let shut = ("run fence".to_owned(), Role::Closed);
    assert_eq!(enrolled(|_| {}), shut, "it never opened it");
    assert_eq!(
        enrolled(|s| s.opened = Some(Epoch(1))),
        ("run marker 1".to_owned(), Role::Open(Epoch(1)))
    );
    assert_eq!(
        enrolled(|s| (s.opened, s.shut) = (Some(Epoch(1)), Some(Epoch(1)))),
        shut
    );
    assert_eq!(
        enrolled(|s| (s.opened, s.source) = (Some(Epoch(1)), Some((instance("b"), Epoch(2))))),
        shut,
        "it followed another since"
    );
    assert_eq!(
        Desk::with(seal.clone(), open()).1,
        "",
        "not enrolled: somebody else's"
    );
}

/// One that was started since its account's password was changed answers no survey.
#[test]
fn an_account_that_cannot_log_in_is_told_without_a_survey() {
    let mut desk = Desk::serving();
    let why = || "primary_agent cannot log in: error 1045: denied".to_owned();
    let told = |desk: &mut Desk, result| {
        desk.begins_a_look();
        let id = desk.survey.take().expect("a survey runs");
        desk.ended(id, result);
        let beat = desk.beats().word.beat;
        while desk.beats().word.beat == beat {
            desk.now += 10;
            desk.tell(AgentInput::Tick);
        }
        desk.beats().login_error.clone()
    };
    let surveyed = |login_error| {
        Ok(OpDone::Surveyed(Box::new(Survey {
            login_error,
            ..open()
        })))
    };
    assert_eq!(told(&mut desk, surveyed(None)), None);
    assert_eq!(
        told(&mut desk, surveyed(Some(why()))),
        Some(why()),
        "a session of before looks"
    );
    assert_eq!(told(&mut desk, surveyed(None)), None);
    assert_eq!(told(&mut desk, Err(OpError::Denied(why()))), Some(why()));
    let lost = || Err(OpError::Unknown("lost".into()));
    assert_eq!(
        told(&mut desk, lost()),
        Some(why()),
        "nothing says otherwise"
    );
    assert_eq!(told(&mut desk, surveyed(None)), None);
    assert_eq!(told(&mut desk, lost()), None);
}

#[test]
fn an_agents_restart_takes_no_database_offline() {
    let (mut desk, said) = Desk::serving().restarts(open());
    assert_eq!(said, "run marker 1", "it proves at once that it is primary");
    assert_eq!(desk.agent.role(), Role::Open(Epoch(1)));
    assert_eq!(desk.agent.serving(), None, "503 until somebody confirms it");
    desk.now += 10;
    desk.marked();
    assert_eq!(
        desk.agent.serving(),
        None,
        "begun in the very moment of the doubt"
    );
    desk.waits(1_000, &open());
    desk.marked();
    assert_eq!(desk.agent.serving(), Some(Epoch(1)));
}

#[test]
fn a_server_that_was_started_anew_is_not_open_whatever_it_boots_as() {
    let mut desk = Desk::serving();
    desk.tell(AgentInput::ServerExited);
    desk.waits(10_010, &fenced());
    assert_eq!(desk.comes_up(open()), "persist(), run fence");
    assert_eq!(desk.agent.serving(), None);
}

#[test]
fn one_that_somebody_fenced_serves_no_more() {
    let mut desk = Desk::serving();
    desk.waits(100, &open());
    assert_eq!(desk.agent.serving(), Some(Epoch(1)));
    desk.waits(200, &fenced());
    assert_eq!(desk.agent.serving(), None);
    assert!(desk.beats().fenced);
}

/// `SET GLOBAL read_only=ON` keeps applications out, and nobody else: the agent's own writes go on.
#[test]
fn one_that_is_read_only_serves_no_more() {
    let mut desk = Desk::serving();
    desk.waits(100, &open());
    let read_only = Survey {
        read_only: true,
        ..open()
    };
    assert_eq!(desk.waits(200, &read_only), "run fence");
    assert_eq!(desk.agent.serving(), None);
}

#[test]
fn one_that_is_closed_and_takes_writes_is_not_said_to_be_fenced() {
    let mut desk = Desk::serving();
    desk.tell(AgentInput::ServerExited);
    desk.waits(200, &fenced());
    assert!(desk.beats().fenced, "it is down");
    desk.waits(10_010, &fenced());
    desk.comes_up(open());
    desk.waits(200, &open());
    assert_eq!(desk.beats().role, Role::Closed);
    assert!(!desk.beats().fenced);
    for (super_read_only, offline_mode) in [(true, false), (false, true)] {
        let half = Survey {
            super_read_only,
            offline_mode,
            ..open()
        };
        desk.waits(200, &half);
        assert!(!desk.beats().fenced, "XA COMMIT passes one of the two");
    }
    desk.waits(200, &fenced());
    assert!(desk.beats().fenced);
}

#[test]
fn strangers_are_cut() {
    let mut desk = Desk::serving();
    let with = |letters: &[(&str, u64)]| Survey {
        semi_sync_dumps: letters
            .iter()
            .map(|(letter, session)| SemiSyncDump {
                uuid: Some(uuid(letter)).filter(|_| *letter != "?"),
                session: *session,
            })
            .collect(),
        ..open()
    };
    let connected = with(&[("b", 7), ("c", 8), ("z", 9)]);
    let said = desk.waits(100, &connected);
    assert_eq!(said, "run marker 1", "V is not known yet");
    desk.acknowledged(1, named(1, "a"));
    assert_eq!(desk.waits(100, &connected), "run cut [9]");
    assert_eq!(desk.beats().ground.strangers, [uuid("z")].into());
    assert_eq!(desk.waits(100, &with(&[("b", 7)])), "");
    // Cut, and still counted: V has not caught up with what it acknowledged.
    desk.marked();
    desk.waits(1_200, &with(&[("b", 7)]));
    desk.marked();
    desk.waits(200, &with(&[("b", 7)]));
    let word = desk.beats().ground.clone();
    assert_eq!(word.strangers, [uuid("z")].into());
    assert_eq!(word.caught_up, Some(set("p:1-11")));
    // Until the log says that k of V hold that.
    let over = NamedPrimary {
        ground: crate::record::Ground {
            told: (Incarnation(1), word.since + 1),
            ..Default::default()
        },
        ..named(1, "a")
    };
    desk.acknowledged(2, over);
    desk.waits(100, &with(&[("b", 7)]));
    assert!(desk.beats().ground.strangers.is_empty());
    // One that names no server is cut like any other, and goes by its connection.
    let unnamed = with(&[("b", 7), ("?", 31)]);
    assert_eq!(desk.waits(100, &unnamed), "run cut [31]");
    let strangers = desk.beats().ground.strangers.clone();
    assert_eq!(strangers, [Uuid::of_connection(31)].into());
    // V of an epoch that is over is empty: what is open for it is shut at once.
    for over in [
        named(2, "b"),
        NamedPrimary {
            deposed: true,
            ..named(1, "a")
        },
    ] {
        let mut desk = Desk::serving();
        desk.acknowledged(2, over);
        let said = desk.waits(100, &connected);
        assert!(said.ends_with("run fence"), "{said:?}");
        assert_eq!(desk.agent.serving(), None);
    }
}

/// What is switched off between the last look and the fence is in the fence's answer: no beat tells
/// it in time.
#[test]
fn a_fence_tells_what_was_broken_to_the_last() {
    let bent = |bend: fn(&mut SourceGround)| {
        let mut seen = open().ground.source;
        bend(&mut seen);
        seen
    };
    let off = bent(|of| (of.enabled, of.status) = (false, false));
    let moved = bent(|of| of.no_times += 1);
    let fewer = bent(|of| of.clients = 0);
    let closes = |desk: &mut Desk, ground: &SourceGround| {
        desk.order(fence(1), 9);
        let OpDone::Fenced {
            final_set,
            server_uuid,
            ..
        } = confirmed()
        else {
            panic!("it confirms")
        };
        desk.ends(OpDone::Fenced {
            final_set,
            server_uuid,
            ground: Some(ground.clone()),
        })
    };
    let looked = || {
        let mut desk = Desk::serving();
        desk.acknowledged(1, named(1, "a"));
        desk.waits(200, &open());
        desk
    };
    for (ground, says) in [
        (&off, format!(", {}", Fault::Disabled)),
        (&moved, format!(", {}", Fault::WasOff)),
        (&fewer, String::new()),
    ] {
        let said = closes(&mut looked(), ground);
        assert_eq!(said, format!("persist(shut 1), say confirmed p:1-12{says}"));
    }
    // Seen while it was shut for an epoch that is over.
    let mut desk = looked();
    let over = NamedPrimary {
        deposed: true,
        ..named(1, "a")
    };
    desk.acknowledged(2, over);
    let mut survey = open();
    survey.ground.source = off.clone();
    desk.waits(100, &survey);
    let said = closes(&mut desk, &open().ground.source);
    assert!(said.ends_with(&Fault::Disabled.to_string()), "{said}");
    // One that restarted boots without semi-sync, closed: it has answered nothing.
    let mut desk = looked();
    desk.tell(AgentInput::ServerExited);
    desk.comes_up(fenced());
    let said = closes(&mut desk, &off);
    assert!(said.ends_with("say confirmed p:1-12"), "{said}");
}

/// Whatever a write is answered by is put back at once, and counts until k of V hold what was
/// answered meanwhile.
#[test]
fn broken_ground_is_put_back_and_told() {
    let bent = |bend: fn(&mut SourceGround)| {
        let mut survey = open();
        bend(&mut survey.ground.source);
        survey
    };
    let off = bent(|of| (of.enabled, of.status) = (false, false));
    let mut desk = Desk::serving();
    desk.waits(100, &open());
    desk.acknowledged(1, named(1, "a"));
    assert_eq!(desk.waits(100, &off), "run repair 1");
    assert_eq!(desk.beats().ground.broken, [Fault::Disabled].into());
    assert_eq!(desk.waits(100, &off), "", "one at a time");
    assert_eq!(desk.beats().ground.caught_up, None);
    // A moment's absence leaves only a counter moved: nothing is to be put back.
    let mut desk = Desk::serving();
    desk.acknowledged(1, named(1, "a"));
    desk.waits(100, &open());
    assert_eq!(desk.waits(100, &bent(|of| of.no_tx = 4)), "");
    assert_eq!(desk.beats().ground.broken, [Fault::WasOff].into());
    // Where people have taken the plane's hands off, it is only said; likewise by policy.
    for hands_off in [true, false] {
        let mut desk = Desk::serving();
        desk.waits(100, &open());
        let named = NamedPrimary {
            hands_off,
            repairs: hands_off,
            ..named(1, "a")
        };
        desk.acknowledged(1, named);
        assert_eq!(desk.waits(100, &off), "");
        assert_eq!(desk.beats().ground.broken, [Fault::Disabled].into());
    }
}

/// A look that was under way while it opened saw the replica that it was, without semi-sync: nothing of
/// the new primary's ground is broken, and nothing is to be put back.
#[test]
fn a_look_from_before_the_opening_says_nothing_of_the_ground() {
    let mut desk = Desk::up();
    desk.acknowledged(1, named(1, "a"));
    desk.order(open_for(1, "p:1-10"), 2);
    desk.begins_a_look();
    desk.opens("p:1-10");
    let mut replica = fenced();
    let source = &mut replica.ground.source;
    (source.enabled, source.status) = (false, false);
    assert_eq!(desk.surveyed(replica), "");
    desk.now += 100;
    desk.tell(AgentInput::Tick);
    assert_eq!(desk.beats().ground.broken, [].into());
    // The next one is its own.
    let mut off = open();
    (off.ground.source.enabled, off.ground.source.status) = (false, false);
    assert!(desk.surveyed(off).contains("run repair 1"));
}

/// Rows are left out under GTIDs that it executes: that stands also when the filter is gone.
#[test]
fn one_that_replicates_under_a_filter_is_marked_for_good() {
    let (mut desk, _) = Desk::with(enrolled_seal(), fenced());
    let mut filtered = fenced();
    filtered.ground.filters = vec!["REPLICATE_IGNORE_TABLE=app.writes".into()];
    desk.waits(100, &filtered);
    let why = "it replicates under a filter (REPLICATE_IGNORE_TABLE=app.writes)";
    assert_eq!(desk.disk.marked.as_deref(), Some(why), "durable");
    desk.waits(300, &fenced());
    assert_eq!(desk.beats().marked.as_deref(), Some(why));
}

#[test]
fn what_is_gone_from_it_is_told() {
    // GTIDs that it had executed.
    let (mut desk, _) = Desk::with(enrolled_seal(), holding("p:1-10", "p:11-14"));
    desk.waits(100, &holding("p:1-10", "p:11-14"));
    desk.waits(200, &holding("p:1-4", "p:11-14"));
    let why = desk.disk.marked.clone().expect("it is marked");
    assert!(why.starts_with("its GTIDs were reset:"), "{why}");
    // What it had only received: it can be told that again.
    let (mut desk, _) = Desk::with(enrolled_seal(), holding("p:1-10", "p:11-14"));
    desk.waits(100, &holding("p:1-10", "p:11-14"));
    desk.waits(200, &holding("p:1-10", ""));
    assert_eq!(
        (desk.disk.marked.clone(), &desk.disk.lost),
        (None, &set("p:11-14"))
    );
    desk.waits(200, &holding("p:1-12", "p:13-15"));
    assert_eq!(desk.disk.lost, GtidSet::default(), "it is whole again");
    // An open primary's: nothing that it acknowledged before is known any more.
    let mut desk = Desk::serving();
    desk.waits(100, &open());
    desk.acknowledged(1, named(1, "a"));
    desk.waits(
        200,
        &Survey {
            executed: set("a:1"),
            ..open()
        },
    );
    assert_eq!(desk.beats().ground.broken, [Fault::Reset].into());
    assert_eq!(desk.disk.marked, None);
}

#[test]
fn whose_primary_another_is_cuts_nobody_and_mends_nothing() {
    let mut off = open();
    (off.ground.source.enabled, off.ground.source.status) = (false, false);
    off.semi_sync_dumps = vec![SemiSyncDump {
        uuid: Some(uuid("z")),
        session: 9,
    }];
    let log = crate::record::Ground {
        strangers: [uuid("x")].into(),
        ..Default::default()
    };
    let other = NamedPrimary {
        ground: log,
        at: at(99),
        ..named(1, "b")
    };
    let mut desk = Desk::serving();
    desk.acknowledged(1, other);
    let said = desk.waits(150, &off);
    assert!(!said.contains("cut") && !said.contains("repair"), "{said}");
    let word = &desk.beats().ground;
    assert!(
        word.strangers.is_empty() && word.broken.is_empty(),
        "{word:?}"
    );
}

/// What a survey shows that began in the very moment of the opening is from before.
#[test]
fn an_opening_is_not_undone_by_a_look_from_before() {
    let mut desk = Desk::up();
    desk.order(open_for(1, "p:1-10"), 20);
    desk.ends(OpDone::Applied);
    desk.ends(prepared("p:1-10"));
    desk.begins_a_look();
    desk.ends(OpDone::Opened(Opened));
    desk.surveyed(fenced());
    assert_eq!(desk.agent.role(), Role::Open(Epoch(1)));
    desk.waits(200, &fenced());
    assert_eq!(desk.agent.role(), Role::Closed, "shut since");
}

#[test]
fn one_that_follows_nobody_lets_no_client_in_and_a_replica_writes_nothing() {
    let online = Survey {
        offline_mode: false,
        ..fenced()
    };
    let mut desk = Desk::up();
    desk.order(freeze(1), 2);
    desk.ends(frozen(fenced()));
    let (mut desk, _) = desk.restarts(fenced());
    assert_eq!(desk.agent.role(), Role::Closed);
    assert_eq!(desk.waits(100, &online), "run fence");
    let mut desk = replica();
    let replicates = Survey {
        offline_mode: false,
        ..connected(1)
    };
    assert_eq!(desk.waits(200, &replicates), "", "read by clients");
    let writable = Survey {
        super_read_only: false,
        ..replicates
    };
    assert_eq!(desk.waits(100, &writable), "run fence");
}

#[test]
fn what_it_is_after_a_restart_is_what_it_does_and_what_it_was_told() {
    let role = |source: u64, opened, survey: Survey| {
        let seal = Seal {
            source: Some((instance("b"), Epoch(source))),
            opened,
            server_uuid: Some(uuid("a")),
            token: Some(token(2, 1)),
            ..enrolled_seal()
        };
        Desk::with(seal, survey).0.agent.role()
    };
    assert_eq!(role(2, None, following()), Role::Following(Epoch(2)));
    assert_eq!(role(2, None, fenced()), Role::Closed, "it receives nothing");
    assert_eq!(role(1, Some(Epoch(2)), open()), Role::Open(Epoch(2)));
    assert_eq!(
        role(2, Some(Epoch(2)), open()),
        Role::Closed,
        "it followed since"
    );
}

#[test]
fn what_it_last_saw_and_heard_can_be_asked_for() {
    let mut desk = Desk::serving();
    assert_eq!(desk.agent.named(), None);
    desk.waits(100, &open());
    desk.acknowledged(1, named(1, "a"));
    assert_eq!(desk.agent.survey(), Some(&open()));
    assert_eq!(desk.agent.named(), Some(&named(1, "a")));
}

#[test]
fn only_who_followed_since_it_was_primary_is_started_at_once() {
    for (source, starts) in [(1, false), (2, true), (3, true)] {
        let seal = Seal {
            source: Some((instance("b"), Epoch(source))),
            opened: Some(Epoch(2)),
            server_uuid: Some(uuid("a")),
            token: Some(token(3, 1)),
            ..enrolled_seal()
        };
        let (mut desk, _) = Desk::with(seal, fenced());
        let said = desk.tell(AgentInput::ServerExited) + &desk.waits(50, &fenced());
        assert_eq!(said.contains("start"), starts, "of epoch {source}: {said}");
    }
}
