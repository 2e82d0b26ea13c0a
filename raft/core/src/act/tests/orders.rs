//! Whose orders it obeys, one at a time; opening and following.

use super::*;

// ---- whose orders

#[test]
fn an_older_token_is_refused() {
    let mut desk = Desk::up();
    assert_eq!(
        desk.order(freeze(2), 20),
        "persist(token 20; frozen 2), run freeze"
    );
    desk.ends(frozen(fenced()));
    let stale = "refused: stale: token plane/g0/e2@1.19 is older than plane/g0/e2@1.20";
    assert_eq!(desk.order(freeze(2), 19), stale);
    // The epoch goes before the position.
    let stale = "refused: stale: token plane/g0/e1@1.99 is older than plane/g0/e2@1.20";
    assert_eq!(desk.order(fence(1), 99), stale);
    let recovered = Token {
        generation: Generation(1),
        ..token(1, 5)
    };
    assert_eq!(
        desk.order_with(fence(1), recovered),
        "persist(token 5), run fence"
    );
    assert!(
        desk.order(freeze(3), 99).starts_with("refused: stale"),
        "an older generation"
    );
}

#[test]
fn it_obeys_one_plane() {
    let mut desk = Desk::up();
    desk.order(freeze(1), 20);
    let foreign = Token {
        plane: PlaneId::from("other"),
        ..token(9, 99)
    };
    assert_eq!(
        desk.order_with(freeze(9), foreign),
        "refused: enrolled in control plane plane, the order comes from other"
    );
    assert_eq!(desk.disk.plane, Some(PlaneId::from("plane")));
}

#[test]
fn it_obeys_for_itself_alone() {
    let mut desk = Desk::up();
    let order = Order {
        token: token(1, 20),
        cluster: cluster_id(),
        instance: instance("b"),
        kind: freeze(1),
    };
    assert_eq!(
        desk.tell(AgentInput::Order(Box::new(order))),
        "refused: this is a of cluster shop, the order is for b of shop"
    );
}

#[test]
fn other_data_than_enrolled_obeys_nothing() {
    let desk = Desk::up();
    let other = Survey {
        server_uuid: uuid("z"),
        ..fenced()
    };
    let (mut desk, _) = desk.restarts(other);
    assert_eq!(
        desk.order(freeze(1), 20),
        "refused: the server_uuid is not the one it was enrolled with"
    );
}

// ---- durable first

#[test]
fn durable_before_it_acts() {
    // freeze
    let mut desk = Desk::up();
    assert_eq!(
        desk.order(freeze(1), 20),
        "persist(token 20; frozen 1), run freeze"
    );
    assert_eq!(
        desk.ends(frozen(holding("p:1-10", "p:11-20"))),
        "say frozen p:1-20"
    );
    // follow: compared first
    assert_eq!(
        desk.order(follow(2, "p:1-20"), 30),
        "persist(token 30; source b 2), run follow b.example acking with p:1-20 at most"
    );
    assert_eq!(
        desk.ends(OpDone::Followed),
        "",
        "its effect is not seen yet"
    );
    assert_eq!(desk.waits(20, &following()), "say following");
    // open
    let mut desk = Desk::up();
    assert_eq!(
        desk.order(open_for(1, "p:1-10"), 20),
        "persist(token 20), run apply p:1-10"
    );
    assert_eq!(desk.ends(OpDone::Applied), "say applied, run prepare");
    assert_eq!(
        desk.ends(prepared("p:1-10")),
        "persist(opened 1), run open k=1"
    );
    assert_eq!(
        desk.ends(OpDone::Opened(Opened)),
        "say opened, run first marker"
    );
    assert_eq!(desk.marked(), "say acknowledged p:1-11");
    // fence: shut is durable before it is said
    assert_eq!(desk.order(fence(1), 21), "persist(token 21), run fence");
    assert_eq!(
        desk.ends(confirmed()),
        "persist(shut 1), say confirmed p:1-12"
    );
    assert_eq!(desk.agent.serving(), None);
}

#[test]
fn a_server_that_is_down_freezes_all_the_same() {
    let mut desk = Desk::up();
    desk.tell(AgentInput::ServerExited);
    // Not an answer, but it will start no replication for this epoch.
    assert_eq!(
        desk.order(freeze(1), 20),
        "persist(token 20; frozen 1), refused: mysqld is not up yet"
    );
}

// ---- opening

#[test]
fn it_opens_only_with_everything_needed() {
    let mut desk = Desk::up();
    desk.order(open_for(2, "p:1-12"), 20);
    desk.ends(OpDone::Applied);
    let lacks = format!("refused: lacks {}:11-12 of what it needs", uuid("p"));
    assert_eq!(desk.ends(prepared("p:1-10")), lacks);
    assert_eq!(desk.disk.opened, None);
}

#[test]
fn it_opens_only_under_its_own_name() {
    let mut desk = Desk::up();
    desk.order(open_for(2, "p:1-10"), 20);
    desk.ends(OpDone::Applied);
    let other = OpDone::Prepared {
        executed: set("p:1-10"),
        server_uuid: uuid("z"),
    };
    assert_eq!(
        desk.ends(other),
        "refused: the server_uuid is not the enrolled one"
    );
}

#[test]
fn it_applies_what_it_received_beyond_the_need() {
    let (mut desk, _) = Desk::with(enrolled_seal(), holding("p:1-10", "p:11-15"));
    assert_eq!(
        desk.order(open_for(2, "p:1-12"), 20),
        "persist(token 20), run apply p:1-15"
    );
}

#[test]
fn an_opening_of_unknown_end_is_not_simply_repeated() {
    let mut desk = Desk::up();
    desk.order(open_for(2, "p:1-10"), 20);
    desk.ends(OpDone::Applied);
    desk.ends(prepared("p:1-10"));
    assert_eq!(desk.fails(), "refused: open failed: lost");
    assert_eq!(desk.agent.serving(), None);
    // It may have been open, and have written: it opens again as one that restarted does.
    let said = desk.order(open_for(2, "p:1-10"), 20);
    assert!(
        said.contains("refused: opened for this epoch before"),
        "{said}"
    );
    desk.waits(100, &fenced());
    assert_eq!(desk.beats().opened, Some(Epoch(2)));
    assert!(desk.order(reopen(2, 0), 21).ends_with("run prepare"));
}

#[test]
fn reopened_for_one_incarnation_of_mysqld() {
    let mut desk = Desk::serving();
    desk.tell(AgentInput::ServerExited);
    desk.waits(10_010, &fenced());
    desk.comes_up(fenced());
    let other = "refused: another incarnation of mysqld, or shut for this epoch";
    assert_eq!(
        desk.order(reopen(1, 2), 20),
        format!("persist(token 20), {other}")
    );
    assert_eq!(
        desk.order(reopen(1, 0), 21),
        format!("persist(token 21), {other}")
    );
    assert_eq!(
        desk.order(reopen(1, 1), 22),
        "persist(token 22), run prepare"
    );
    assert_eq!(desk.ends(prepared("p:1-10")), "persist(), run open k=1");
    assert!(desk.ends(OpDone::Opened(Opened)).starts_with("say opened"));
    assert_eq!(desk.agent.serving(), Some(Epoch(1)));
}

// ---- following

#[test]
fn one_that_holds_more_does_not_follow() {
    let mut desk = Desk::up();
    desk.order(follow(2, "p:1-9"), 20);
    assert_eq!(desk.ends(frozen(fenced())), "say will not follow: p:10");
    assert_eq!(
        desk.disk.source, None,
        "no replication thread before that comparison"
    );
    // An adopted primary's own transactions are nothing extra.
    let mut desk = Desk::up();
    let OrderKind::Follow {
        epoch,
        source,
        host,
        port,
        acking,
        within,
        heartbeat_ms,
        online,
        ..
    } = follow(2, "p:1-9")
    else {
        unreachable!()
    };
    let own = OrderKind::Follow {
        epoch,
        source,
        host,
        port,
        acking,
        within,
        own: Some(uuid("p")),
        heartbeat_ms,
        online,
    };
    desk.order(own, 20);
    assert!(desk.ends(frozen(fenced())).contains("run follow"));
}

// ---- one order at a time

#[test]
fn a_newer_order_kills_the_session_of_the_older() {
    let mut desk = Desk::up();
    desk.order(follow(2, "p:1-10"), 20);
    let older = desk.op.expect("it compares");
    assert_eq!(
        desk.order(follow(2, "p:1-10"), 20),
        "",
        "the same order is in hand"
    );
    assert_eq!(
        desk.order(freeze(2), 30),
        "cancel, persist(token 30; frozen 2), run freeze"
    );
    assert_eq!(
        desk.ended(older, Ok(frozen(fenced()))),
        "",
        "superseded: nobody asks any more"
    );
    assert_eq!(desk.ends(frozen(fenced())), "say frozen p:1-10");
}

#[test]
fn a_newer_order_of_the_same_kind_is_carried_out() {
    let mut desk = Desk::up();
    desk.order(follow(2, "p:1-10"), 30);
    desk.ends(frozen(fenced()));
    assert_eq!(desk.ends(OpDone::Followed), "", "not seen yet");
    assert_eq!(desk.order(follow(2, "p:1-10"), 30), "", "on its way");
    assert_eq!(
        desk.order(follow(2, "p:1-10"), 31),
        "persist(token 31), run follow b.example acking"
    );
}

/// What an order does to a server while it is in hand is no loss.
#[test]
fn what_is_gone_while_an_order_is_in_hand_is_not_lost() {
    let (mut desk, _) = Desk::with(enrolled_seal(), holding("p:1-10", "p:1-12"));
    desk.order(follow(2, "p:1-12"), 30);
    assert_eq!(desk.waits(300, &holding("p:1-10", "p:1-10")), "");
    assert!(desk.agent.seal().lost.is_empty());
    // The same with nothing in hand.
    let (mut desk, _) = Desk::with(enrolled_seal(), holding("p:1-10", "p:1-12"));
    desk.waits(300, &holding("p:1-10", "p:1-10"));
    assert_eq!(desk.agent.seal().lost, set("p:11-12"));
}

#[test]
fn when_the_server_last_answered_is_known() {
    let desk = Desk::boot(enrolled_seal());
    assert_eq!(desk.agent.answered(), None);
    assert_eq!(Desk::up().agent.answered(), Some(Tick(1_000)));
}

#[test]
fn a_repeated_order_gets_its_answer_again() {
    let mut desk = Desk::up();
    desk.order(freeze(1), 20);
    desk.ends(frozen(fenced()));
    assert_eq!(desk.order(freeze(1), 20), "say frozen p:1-10");
    desk.order(follow(2, "p:1-10"), 30);
    desk.ends(OpDone::Followed);
    desk.waits(100, &following());
    assert_eq!(desk.order(follow(2, "p:1-10"), 30), "say following");
    // Its thread stopped: what it said is true no longer.
    desk.waits(200, &fenced());
    assert_eq!(
        desk.order(follow(2, "p:1-10"), 30),
        "run follow b.example acking"
    );
}

// ---- done when its effect is seen

type Change = fn(&mut Survey);

/// What a replica shows that was just told to follow, until it follows.
fn on_its_way(change: impl Fn(&mut Survey)) -> (Desk, Survey) {
    let mut desk = Desk::up();
    desk.order(follow(2, "p:1-10"), 30);
    desk.ends(frozen(fenced()));
    assert_eq!(desk.ends(OpDone::Followed), "");
    let mut survey = following();
    change(&mut survey);
    (desk, survey)
}

#[test]
fn to_connect_is_not_to_follow() {
    let states: [Change; 2] = [
        |survey| survey.io = IoThread::Connecting,
        |survey| survey.read_position = (String::new(), 4),
    ];
    for state in states {
        let (mut desk, survey) = on_its_way(state);
        assert_eq!(desk.waits(5_000, &survey), "");
        assert_eq!(desk.order(follow(2, "p:1-10"), 30), "", "it is under way");
        assert_eq!(desk.waits(100, &following()), "say following");
    }
}

/// One that cannot follow is left alone for longer and longer, and says why.
#[test]
fn what_failed_is_not_repeated_blindly() {
    let states: [(Change, &str); 3] = [
        (
            |survey| {
                survey.applier_runs = false;
                survey.applier_error = "1062: duplicate".into();
            },
            "its applier does not run: 1062: duplicate",
        ),
        (
            |survey| {
                survey.io = IoThread::Off;
                survey.receiver_error = "13114: purged".into();
            },
            "its receiver does not run: 13114: purged",
        ),
        (
            |survey| {
                survey.io = IoThread::Connecting;
                survey.receiver_error = "1045: denied".into();
            },
            "the source refuses the replication account: 1045: denied",
        ),
    ];
    for (state, why) in states {
        let (mut desk, survey) = on_its_way(state);
        let mut tries = 0;
        let mut said = Vec::new();
        for _ in 0..40 {
            // The leader asks four times a second.
            said.push(desk.waits(250, &survey));
            let answer = desk.order(follow(2, "p:1-10"), 30);
            if answer == "run follow b.example acking" {
                tries += 1;
                said.push(desk.ends(OpDone::Followed));
            } else {
                said.push(answer);
            }
        }
        assert!((3..=6).contains(&tries), "{tries} in 10 s: {why}");
        said.retain(|line| !line.is_empty());
        let refused = format!("refused: {why}");
        assert!(said.iter().all(|line| *line == refused), "{said:?}");
        desk.waits(30_000, &survey);
        desk.order(follow(2, "p:1-10"), 30);
        desk.ends(OpDone::Followed);
        assert_eq!(desk.waits(100, &following()), "say following", "healed");
    }
}

/// What it told of beyond the need is asked of it too: the others were compared with all of that.
#[test]
fn an_order_to_open_asks_for_all_that_it_told_of() {
    let mut world = World::serving("pabc", 2);
    world.silence("p:1-12");
    for (letter, holds) in [("a", "p:1-20"), ("b", "p:1-15"), ("c", "p:1-15")] {
        world.freeze(report(letter, holds, ""));
    }
    let choice = crate::decide::choose(world.cluster()).expect("a candidate");
    assert_eq!(choice.to, instance("a"));
    assert_eq!(crate::testing::short(&choice.need), "p:1-15");
    world.must(crate::record::Command::Choose(Box::new(choice)));
    let state = world.committed();
    let view = state.as_ref().follows(state.get().as_ref());
    let orders = orders(&view, world.cluster());
    let open = orders.iter().find_map(|order| match &order.get().kind {
        OrderKind::Open { need, .. } => Some(crate::testing::short(need)),
        _ => None,
    });
    assert_eq!(open.as_deref(), Some("p:1-20"));
}

// ---- where branches are in use

fn follow_offline(epoch: u64) -> OrderKind {
    let mut kind = follow(epoch, "p:1-10");
    if let OrderKind::Follow { online, .. } = &mut kind {
        *online = false;
    }
    kind
}

#[test]
fn a_replica_follows_with_its_clients_kept_out() {
    let mut desk = Desk::up();
    desk.order(follow_offline(1), 20);
    let said = desk.ends(frozen(fenced()));
    assert!(
        said.ends_with("run follow b.example acking, offline with p:1-10 at most"),
        "{said}"
    );
    desk.ends(OpDone::Followed);
    desk.waits(200, &following());
    assert_eq!(desk.order(follow_offline(1), 20), "say following");
}

/// The policy was changed while it followed: the same order takes its clients from it. One that a
/// person took offline is left so.
#[test]
fn one_that_is_online_is_taken_offline_by_its_order_and_never_the_other_way() {
    let online = Survey {
        offline_mode: false,
        ..following()
    };
    let mut desk = Desk::up();
    desk.order(follow(1, "p:1-10"), 20);
    desk.ends(frozen(fenced()));
    desk.ends(OpDone::Followed);
    desk.waits(200, &online);
    assert_eq!(desk.order(follow(1, "p:1-10"), 20), "say following");
    assert_eq!(
        desk.order(follow_offline(1), 20),
        "run follow b.example acking, offline"
    );
    desk.ends(OpDone::Followed);
    desk.waits(200, &following());
    assert_eq!(desk.order(follow(1, "p:1-10"), 20), "say following");
}

#[test]
fn an_agent_that_remembers_no_cluster_obeys_no_order_of_an_epoch() {
    let (mut desk, _) = Desk::with(Seal::blank(cluster_id(), instance("a")), fenced());
    let said = desk.order(follow(1, "p:1-10"), 20);
    assert!(
        said.starts_with("refused: this agent has no memory of this cluster"),
        "{said}"
    );
}

#[test]
fn an_order_that_is_carried_out_is_answered_again_without_another_statement() {
    let mut desk = Desk::serving();
    let said = desk.order(open_for(1, "p:1-10"), 2);
    assert!(!said.contains("run") && said.starts_with("say"), "{said}");
}

/// No look has shown it stopped since it was told to receive.
#[test]
fn one_that_was_told_to_follow_is_stopped_before_it_opens() {
    let mut desk = Desk::up();
    desk.order(follow(1, "p:1-10"), 20);
    desk.ends(frozen(fenced()));
    desk.ends(OpDone::Followed);
    let said = desk.order(open_for(2, "p:1-10"), 30);
    assert!(said.ends_with("run freeze"), "{said}");
}
