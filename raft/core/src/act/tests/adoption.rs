//! A primary that is open already comes under orders, and its replicas with it.

use super::*;
use crate::act::Adopted;

/// The order to report to an agent of a cluster whose open primary is to be adopted.
fn report_adopted(primary: &str) -> OrderKind {
    OrderKind::Report {
        adopted: Some(Adopted {
            primary: instance(primary),
            host: format!("{primary}.example"),
            port: 3306,
        }),
    }
}

fn adopt() -> OrderKind {
    OrderKind::Open {
        epoch: Epoch(1),
        need: set("p:1-10"),
        k: 1,
        first: true,
        adopted: true,
        members: [uuid("b")].into(),
    }
}

/// An agent without orders beside an open server, which has reported.
fn about_to_be_adopted() -> Desk {
    let seal = Seal::blank(cluster_id(), instance("a"));
    let (mut desk, said) = Desk::with(seal, open());
    assert_eq!(
        said, "persist(uuid true)",
        "nobody's orders yet: left alone"
    );
    assert_eq!(desk.order(report_adopted("a"), 20), "persist(token 20)");
    assert_eq!(desk.surveyed(open()), "say reported, fenced false");
    desk
}

#[test]
fn an_adopted_primary_is_never_shut() {
    let mut desk = about_to_be_adopted();
    assert_eq!(
        desk.order(adopt(), 30),
        "persist(token 30; opened 1), run apply p:1-10"
    );
    desk.waits(300, &open());
    assert_eq!(desk.looks, 0, "what its clients hold is their own affair");
    assert_eq!(desk.ends(OpDone::Applied), "say applied, run adopt k=1");
    assert_eq!(
        desk.ends(OpDone::Opened(Opened)),
        "say opened, run first marker"
    );
}

#[test]
fn an_adoption_that_fails_leaves_the_primary_open_and_is_tried_again() {
    let mut desk = about_to_be_adopted();
    desk.order(adopt(), 30);
    desk.ends(OpDone::Applied);
    assert!(desk.fails().starts_with("refused: open failed"));
    assert_eq!(desk.waits(500, &open()), "", "it serves on, as before");
    assert!(desk.order(adopt(), 30).ends_with("run apply p:1-10"));
    // The agent dies before k is set: the next one sets it, whatever its server looks like.
    desk.ends(OpDone::Applied);
    let (mut desk, _) = desk.restarts(open());
    assert_eq!(desk.agent.role(), Role::Open(Epoch(1)));
    assert!(desk.order(adopt(), 30).ends_with("run adopt k=1"));
    assert!(desk.ends(OpDone::Opened(Opened)).starts_with("say opened"));
    // Adopted, it is governed as any other.
    desk.order(fence(1), 40);
    desk.ends(confirmed());
    assert!(desk.waits(200, &open()).contains("run fence"));
}

#[test]
fn a_replica_of_an_adopted_primary_remembers_its_source_before_it_reports() {
    let replicating = |host: &str| Survey {
        source: Some((host.into(), 3306)),
        io: IoThread::On,
        applier_runs: true,
        acking: true,
        ..fenced()
    };
    let seal = Seal::blank(cluster_id(), instance("a"));
    let (mut desk, _) = Desk::with(seal.clone(), replicating("b.example"));
    desk.order(report_adopted("b"), 20);
    let said = desk.surveyed(replicating("b.example"));
    assert!(
        said.starts_with("persist(") && said.ends_with("say reported, fenced true"),
        "{said}"
    );
    assert_eq!(desk.disk.source, Some((instance("b"), Epoch(1))));
    // Told to follow, it has no reason to stop first: it goes on acknowledging meanwhile.
    let said = desk.order(follow(1, "p:1-10"), 30);
    assert!(said.contains("run follow b.example"), "{said}");
    // Under another address it may be another server: it is stopped and compared.
    let (mut desk, _) = Desk::with(seal, replicating("c.example"));
    desk.order(report_adopted("b"), 20);
    assert_eq!(
        desk.surveyed(replicating("c.example")),
        "say reported, fenced true"
    );
    assert_eq!(desk.disk.source, None);
    assert!(desk.order(follow(1, "p:1-10"), 30).ends_with("run freeze"));
}

/// Nobody has ordered an epoch yet: it serves on, however long the founding takes.
#[test]
fn a_primary_that_has_only_reported_is_left_open() {
    let mut desk = about_to_be_adopted();
    assert_eq!(desk.waits(1_000, &open()), "");
}

#[test]
fn to_be_adopted_a_replica_may_let_readers_in_to_be_founded_it_is_closed() {
    let reports = |order: OrderKind, survey: Survey| {
        let seal = Seal::blank(cluster_id(), instance("a"));
        let (mut desk, _) = Desk::with(seal, survey.clone());
        desk.order(order, 20);
        let said = match desk.survey {
            Some(_) => desk.surveyed(survey),
            None => desk.ends(frozen(survey)),
        };
        said.rsplit(", ").next().map(str::to_owned)
    };
    let reads = Survey {
        offline_mode: false,
        ..fenced()
    };
    let said = |fenced| Some(format!("fenced {fenced}"));
    assert_eq!(reports(report_adopted("b"), reads.clone()), said(true));
    assert_eq!(reports(report_adopted("b"), open()), said(false));
    let founds = || OrderKind::Report { adopted: None };
    assert_eq!(reports(founds(), reads), said(false));
    assert_eq!(reports(founds(), open()), said(false));
    assert_eq!(reports(founds(), fenced()), said(true));
}
