//! From silence to a verdict: inquests and votes.

use super::*;
use crate::policy::MaxLoss;

#[test]
fn from_silence_to_the_orders() {
    let mut plane = Plane::new(world());
    plane.down.insert("p");
    let gone = plane.now;
    plane.runs(4_000);
    let opened = plane.when("1 opens an inquest") - gone;
    let deposed = plane.when("epoch 1 of p deposed") - gone;
    assert!((800..=1_300).contains(&opened), "asked early: {opened} ms");
    assert!(
        (2_800..=3_400).contains(&deposed),
        "after sustain_ms: {deposed} ms"
    );
    let said = plane.said();
    assert_eq!(
        said,
        [
            "1 opens an inquest",
            "1 votes silent",
            "verdict on p: Undecided",
            "2 votes silent",
            "3 votes silent",
            "verdict on p: Dead",
            "epoch 1 of p deposed",
            "order a freeze",
            "order b freeze",
            "order p fence",
        ]
    );
    let record = plane.world.cluster().deposition().expect("deposed");
    assert_eq!(record.judgement.verdict, Verdict::Dead);
    assert_eq!(
        record.inquest.last_known,
        set("p:1-12"),
        "what was last seen on it"
    );
}

#[test]
fn an_attested_exit_is_quicker() {
    let mut plane = Plane::new(world());
    plane.exited.insert("p");
    let gone = plane.now;
    plane.runs(1_500);
    let deposed = plane.when("epoch 1 of p deposed") - gone;
    assert!(deposed <= 200, "{deposed} ms");
}

#[test]
fn one_that_is_cut_off_alone_convinces_nobody() {
    let mut plane = Plane::new(world());
    plane.cut.insert((1, "p"));
    plane.runs(1_600);
    let said = plane.said();
    for line in [
        "2 opens an inquest",
        "2 votes silent",
        "1 votes alive",
        "3 votes alive",
    ] {
        assert!(said.iter().any(|said| said == line), "{line:?} in {said:?}");
    }
    let closed = "1 closes it: no missing vote can complete a majority of silence";
    assert!(said.iter().any(|line| line == closed), "{said:?}");
    plane.runs(5_000);
    plane.never("deposed");
}

#[test]
fn while_its_ackers_hear_it_nothing_is_promoted() {
    let mut plane = Plane::new(world());
    plane.hear = true;
    plane.down.insert("p");
    plane.runs(10_000);
    plane.never("deposed");
    assert!(
        plane
            .said()
            .iter()
            .any(|line| line == "verdict on p: Isolated")
    );
    let waits = plane.nodes[0]
        .standing(&cluster_id())
        .expect("it leads")
        .waits;
    assert!(
        waits[0].starts_with("alert: a majority of the control plane"),
        "{waits:?}"
    );
    // The question is asked anew: one voter's last word must not hold it up for ever.
    plane.runs(25_000);
    assert!(
        plane
            .said()
            .iter()
            .any(|line| line == "1 closes it: expired without a verdict")
    );
    // It dies in earnest. What it did since the nodes saw it last nobody knows: its ackers heard it
    // all that time.
    plane.hear = false;
    plane.runs(6_000);
    plane.never("deposed");
    let waits = plane.nodes[0].standing(&cluster_id()).expect("it leads");
    let halt = "halted: the loss would be unknown: the ground was last seen";
    assert!(waits.waits[0].starts_with(halt), "{waits:?}");
    plane.world.cluster_mut().policy.max_loss = MaxLoss::Any;
    plane.show_state();
    plane.runs(2_000);
    plane.when("epoch 1 of p deposed");
}

/// `p`'s ackers hear it, which no node does; when the inquest was opened that is open now.
fn isolated() -> (Plane, u64) {
    let mut plane = Plane::new(world());
    plane.hear = true;
    plane.down.insert("p");
    plane.runs(10_000);
    let opened = plane.last("opens an inquest");
    (plane, opened)
}

/// A leader that was busy in the very moment finds it later.
#[test]
fn an_inquest_expires_however_late_the_leader_looks() {
    let (mut plane, opened) = isolated();
    plane.runs(opened + 29_960 - plane.now);
    plane.never("expired without a verdict");
    plane.now += 100;
    plane.runs(100);
    plane.when("1 closes it: expired without a verdict");
}

/// Thirty seconds, and the next look.
#[test]
fn an_inquest_that_settles_nothing_has_its_time() {
    let (mut plane, opened) = isolated();
    plane.runs(30_000 - (plane.now - opened));
    plane.never("expired without a verdict");
    plane.runs(STEP_MS);
    plane.when("1 closes it: expired without a verdict");
}

#[test]
fn what_a_dead_voter_heard_last_holds_nothing_up() {
    let mut world = world();
    // Its ackers heard it when no node looked any more.
    world.cluster_mut().policy.max_loss = MaxLoss::Any;
    let mut plane = Plane::new(world);
    plane.hear = true;
    plane.down.insert("p");
    plane.runs(5_000);
    let isolated = |line: &String| line == "verdict on p: Isolated";
    assert!(plane.said().iter().any(isolated));
    // From now on nobody hears it, but node 3 can no longer say so.
    plane.hear = false;
    plane.gone.insert(2);
    let gone = plane.now;
    plane.runs(6_000);
    plane.when("1 closes it: node 3 votes no more");
    let deposed = plane.when("epoch 1 of p deposed") - gone;
    assert!(deposed < 5_000, "{deposed} ms");
}

#[test]
fn nothing_is_ordered_without_leadership() {
    let mut plane = Plane::new(world());
    // Somebody else leads: votes go to it, orders are its own.
    plane.led_by(Some(9));
    plane.down.insert("p");
    plane.runs(4_000);
    plane.when("epoch 1 of p deposed");
    plane.never("order");
    // A leader resumes at the last committed stage.
    plane.led_by(Some(2));
    plane.runs(40);
    assert_eq!(
        plane
            .lines
            .split_off(plane.lines.len() - 3)
            .into_iter()
            .map(|(_, line)| line)
            .collect::<Vec<_>>(),
        ["order a freeze", "order b freeze", "order p fence"]
    );
    // Without any leader nothing is proposed.
    let mut plane = Plane::new(world());
    plane.led_by(None);
    plane.down.insert("p");
    plane.runs(4_000);
    assert_eq!(plane.said(), [""; 0]);
}

#[test]
fn advice_waits_for_an_operator() {
    let mut world = world();
    world.cluster_mut().policy.automation = Automation::Advise;
    let mut plane = Plane::new(world);
    plane.down.insert("p");
    plane.runs(4_000);
    plane.never("deposed");
    let waits = plane.nodes[0]
        .standing(&cluster_id())
        .expect("it leads")
        .waits;
    assert_eq!(waits, ["an operator's approval"]);
}

#[test]
fn a_blind_node_does_not_vote_silent() {
    // Node 3 hears no majority.
    let mut plane = Plane::new(world());
    let leads = Leads {
        leader: Some(NodeId(1)),
        me: false,
        hears_majority: false,
    };
    plane.tell(2, NodeInput::Leads(leads));
    plane.down.insert("p");
    plane.runs(4_000);
    plane.never("3 votes silent");
    plane.when("3 votes blind");
    plane.when("epoch 1 of p deposed");
    // None of them ever saw it alive: nobody even asks.
    let mut plane = Plane::started(world());
    plane.down.insert("p");
    plane.runs(6_000);
    plane.never("inquest");
}

#[test]
fn what_a_node_saw_outlives_its_process() {
    let remembering = |epoch| {
        let mut world = world();
        // None of them has looked at its ground in this run.
        world.cluster_mut().policy.max_loss = MaxLoss::Any;
        let mut plane = Plane::started(world);
        plane.nodes = (1..=3)
            .map(|id| {
                // It begins with an older state, which knows no cluster yet.
                let older = World::of("xyz");
                node(id, &older, &[(cluster_id(), Epoch(epoch))])
            })
            .collect();
        plane.led_by(Some(1));
        plane.show_state();
        plane.down.insert("p");
        plane.runs(6_000);
        plane
            .lines
            .iter()
            .any(|(_, line)| line == "epoch 1 of p deposed")
    };
    assert!(remembering(1));
    assert!(!remembering(0), "of an earlier epoch");
    assert!(!remembering(2), "of a later one, hence of another state");
}

/// Nobody has probed it since it was chosen: that it answered before, in whatever role, is enough.
#[test]
fn a_new_primary_that_dies_at_once_is_dead_all_the_same() {
    for lost_ms in [0, 40, 100, 300] {
        let mut plane = Plane::new(world());
        plane.world.silence("p:1-12");
        for letter in ["a", "b"] {
            plane.world.freeze(report(letter, "p:1-12", ""));
        }
        let choice = crate::decide::choose(plane.world.cluster()).expect("a candidate");
        let to: &str = if choice.to == instance("a") { "a" } else { "b" };
        plane.world.must(Command::Choose(Box::new(choice)));
        plane.down.insert("p");
        plane.show_state();
        plane.runs(lost_ms);
        plane.down.insert(to);
        plane.runs(8_000);
        let waits = plane.nodes[0].standing(&cluster_id()).expect("it leads");
        let asked = plane
            .lines
            .iter()
            .any(|(_, line)| line.contains("opens an inquest"));
        assert!(asked, "{lost_ms} ms: {waits:?}");
        let judged = plane.world.cluster().judgement.clone();
        // One acker is left, and nobody who would acknowledge to it: said, and not silently.
        let verdict = judged.map(|judged| judged.verdict);
        assert_eq!(verdict, Some(Verdict::Dead), "{lost_ms} ms");
        let halt = "halted: no replica that may be promoted";
        assert!(
            waits.waits.iter().any(|wait| wait.starts_with(halt)),
            "{waits:?}"
        );
    }
}

#[test]
fn memory_is_of_the_primary_of_that_epoch() {
    let older = world();
    let mut newer = older.clone();
    newer.silence("p:1-12");
    newer.freeze(report("a", "p:1-12", ""));
    newer.freeze(report("b", "p:1-12", ""));
    let choice = crate::decide::choose(newer.cluster()).expect("a candidate");
    newer.must(Command::Choose(Box::new(choice)));
    newer.open(2, "a", "p:1-12,a:1");
    // On its way to the newest state it passes one that names another primary.
    let mut node = node(1, &older, &[(cluster_id(), Epoch(2))]);
    node.handle(Tick(0), leads(1, Some(9)));
    for world in [&older, &newer] {
        node.handle(Tick(10), NodeInput::Applied(world.committed()));
    }
    let kind = |who: &str| format!("{:?}", node.views(Tick(20))[&instance(who)].sight.kind);
    assert_ne!(kind("a"), "Blind");
}

#[test]
fn a_stale_state_is_ignored() {
    let older = world();
    let mut newer = older.clone();
    newer.open_inquest();
    let mut node = node(1, &newer, &[]);
    node.handle(Tick(10), NodeInput::Applied(older.committed()));
    assert_eq!(node.state().at(), newer.committed().at());
    newer.must(Command::TimePassed { ms: 1 });
    node.handle(Tick(20), NodeInput::Applied(newer.committed()));
    assert_eq!(node.state().at(), newer.committed().at());
}

#[test]
fn what_an_operator_aborted_is_not_asked_again_until_it_ends() {
    let mut world = world();
    world.cluster_mut().policy.automation = Automation::Advise;
    let mut plane = Plane::new(world);
    plane.down.insert("p");
    plane.runs(4_000);
    assert!(plane.world.cluster().inquest.is_some(), "it is silent");
    plane.aborted();
    plane.runs(10_000);
    let cluster = plane.world.cluster();
    assert_eq!(cluster.inquest, None, "the same silence goes on");
    let standing = plane.nodes[0].standing(&cluster_id()).unwrap_or_default();
    let said = standing.waits.join("; ");
    assert!(said.contains("ann aborted the inquest"), "{said}");

    // A pause of the nodes ends what they count, and not the trouble.
    plane.now += 700;
    plane.runs(5_000);
    assert_eq!(
        plane.world.cluster().inquest,
        None,
        "the same silence still"
    );

    plane.down.remove("p");
    plane.runs(2_000);
    plane.down.insert("p");
    plane.runs(600);
    // The log goes on, and the abort stands in it; it is of then.
    plane.show_state();
    plane.runs(3_400);
    let cluster = plane.world.cluster();
    assert!(cluster.inquest.is_some(), "another silence");
    assert_eq!(cluster.aborted, None);
}

/// What answered before somebody asked may have died since.
#[test]
fn alive_is_voted_by_an_answer_that_comes_after_the_question() {
    let mut plane = Plane::new(world());
    plane.gone.extend([1, 2]);
    plane.lines.clear();
    plane.world.open_inquest();
    plane.show_state();
    plane.never("votes");
    plane.runs(400);
    plane.when("1 votes alive");
}

/// Two clusters may be asked about at once.
#[test]
fn the_question_of_one_cluster_is_not_that_of_another() {
    let key = |id| crate::node::voter::inquest_key(&ClusterId::from(id));
    assert_ne!(key("orders"), key("accounts"));
}
