//! Every choice is sound, and no other one like it is.

use super::*;

/// What one acker reports: the highest number executed and received, a hole, an errant one, its
/// source, what it purged.
type Told = (u64, u64, Option<u64>, bool, u8, u64);

#[derive(Clone, Debug)]
pub(super) struct Scene {
    k: u32,
    told: Vec<Option<Told>>,
    last_known: u64,
    /// 0: nothing heard of the old primary; 1: exited; else what it executed at last.
    fence: u64,
    wedged: bool,
}

pub(super) fn scene() -> impl Strategy<Value = Scene> {
    let one = (
        11_u64..=16,
        11_u64..=16,
        prop::option::weighted(0.2, 11_u64..=16),
        prop::bool::weighted(0.15),
        0_u8..8,
        0_u64..=13,
    );
    (
        prop::collection::vec(prop::option::weighted(0.85, one), 2..=4),
        1_u32..=4,
        11_u64..=13,
        prop_oneof![4 => Just(0), 1 => Just(1), 2 => 11_u64..=16],
        prop::bool::weighted(0.15),
    )
        .prop_map(|(told, k, last_known, fence, wedged)| Scene {
            k: k.min(told.len() as u32),
            told,
            last_known,
            fence,
            wedged,
        })
}

impl Scene {
    pub(super) fn world(&self) -> World {
        let mut world = World::serving(&"pabcd"[..=self.told.len()], self.k);
        let kind = if self.wedged {
            SightKind::Wedged
        } else {
            SightKind::Silent
        };
        world.votes(kind, &format!("p:1-{}", self.last_known));
        for (letter, told) in ["a", "b", "c", "d"].iter().zip(&self.told) {
            let Some((executed, received, hole, errant, from, purged)) = told else {
                continue;
            };
            let mut report = report(letter, &format!("p:1-{executed}"), "");
            report.received = set(&format!("p:12-{}", received.max(&12)));
            if let Some(hole) = hole {
                report.executed = report.executed.subtract(&set(&format!("p:{hole}")));
                report.received = report.received.subtract(&set(&format!("p:{hole}")));
            }
            if *errant {
                report.executed.union_with(&set(&format!("{letter}:1")));
            }
            report.purged = match purged {
                0..6 => GtidSet::default(),
                purged => set(&format!("p:1-{purged}")),
            };
            match from {
                0 => report.replicated_from = None,
                1 => {
                    let held = set(&format!("p:1-{executed}"));
                    report.left = [(instance("p"), held)].into();
                    report.replicated_from = Some(instance("z"));
                }
                _ => {}
            }
            world.freeze(report);
        }
        match self.fence {
            0 => {}
            1 => world.exit(),
            last => world.confirm(&format!("p:1-{last}")),
        }
        world
    }
}

/// Every choice like this one with one field altered so that it must be refused.
fn altered(world: &World, choice: &Choice) -> Vec<(&'static str, Choice)> {
    let cluster = world.cluster();
    let record = cluster.deposition().expect("deposed");
    let mut all = Vec::new();
    let mut alter = |what: &'static str, change: &dyn Fn(&mut Choice)| {
        let mut other = choice.clone();
        change(&mut other);
        if other != *choice {
            all.push((what, other));
        }
    };
    alter("the same epoch", &|c| c.epoch = cluster.epoch);
    alter("an epoch left out", &|c| c.epoch = c.epoch.next());
    alter("another cluster", &|c| c.cluster = "other".into());
    alter("replaces another", &|c| c.from = instance("b"));
    alter("a loss", &|c| c.loss = LossBound::Unknown);
    alter("needs nothing", &|c| c.need = GtidSet::default());
    alter("needs more than it holds", &|c| {
        c.need.union_with(&set("p:99"))
    });
    alter("without the floor", &|c| {
        c.need = c.need.subtract(&set("p:11"))
    });
    let seen = format!(
        "p:{}",
        short(&record.inquest.last_known)
            .split('-')
            .next_back()
            .unwrap()
    );
    alter("without what was seen", &|c| {
        c.need = c.need.subtract(&set(&seen))
    });
    alter("compares with less", &|c| {
        c.within = c.within.subtract(&set("p:5"))
    });
    alter("compares with more", &|c| c.within.union_with(&set("p:99")));
    alter("the old primary acknowledges", &|c| {
        c.ackers.members.insert(cluster.primary.clone());
    });
    alter("it acknowledges to itself", &|c| {
        c.ackers.members.insert(c.to.clone());
    });
    alter("an acker less", &|c| {
        c.ackers.members.pop_first();
    });
    alter("a stranger acknowledges", &|c| {
        c.ackers.members.insert(instance("z"));
    });
    alter("k + 1", &|c| c.ackers.k += 1);
    alter("k - 1", &|c| c.ackers.k -= 1);
    alter("nobody", &|c| c.to = instance("z"));
    for id in cluster
        .instances
        .keys()
        .filter(|id| **id != cluster.primary)
    {
        if !record.frozen.contains_key(id) {
            alter("one that is not frozen", &|c| {
                c.to = id.clone();
                c.ackers = cluster.ackers.without(id);
            });
        }
    }
    if !matches!(choice.proof, Proof::Confirmed { .. }) {
        alter("the old primary, unconfirmed", &|c| {
            c.to = cluster.primary.clone();
            c.ackers = cluster.ackers.clone();
        });
    }
    alter("founded", &|c| c.proof = Proof::Founding { adopted: false });
    alter("confirmed something else", &|c| {
        c.proof = Proof::Confirmed {
            final_set: set("p:1-2"),
        }
    });
    if record.fence != Some(FenceReport::Exited) {
        alter("no exit", &|c| {
            c.proof = Proof::Exited { frozen: [].into() }
        });
    }
    let acker_proof = |frozen: &str, of: &str, k| Proof::AckersFrozen {
        frozen: instances(frozen),
        of: instances(of),
        k,
        strangers: cluster.ground.strangers.clone(),
    };
    alter("names nobody frozen", &|c| {
        c.proof = acker_proof("", "ab", cluster.ackers.k)
    });
    alter("names a stranger frozen", &|c| {
        if let Proof::AckersFrozen { frozen, .. } | Proof::Exited { frozen } = &mut c.proof {
            frozen.insert(instance("z"));
        }
    });
    alter("counts other ackers", &|c| {
        if let Proof::AckersFrozen { of, .. } = &mut c.proof {
            of.pop_first();
        }
    });
    alter("counts another stranger", &|c| {
        if let Proof::AckersFrozen { strangers, .. } = &mut c.proof {
            strangers.insert(uuid("w"));
        }
    });
    alter("counts another k", &|c| {
        if let Proof::AckersFrozen { k, .. } = &mut c.proof {
            *k += 1;
        }
    });
    all
}

/// Whether the choice must need transaction `n` of the old primary: it is known, or so many of those
/// who tell have it that all unheard ones together make up k.
fn must_need(world: &World, n: u64) -> bool {
    let cluster = world.cluster();
    let record = cluster.deposition().expect("deposed");
    let one = set(&format!("p:{n}"));
    if [&cluster.floor, &record.inquest.last_known]
        .iter()
        .any(|known| known.is_superset_of(&one))
    {
        return true;
    }
    let members = cluster.ackers.members.iter();
    let told: Vec<_> = members.filter_map(|id| record.frozen.get(id)).collect();
    if told.len() < cluster.blocking() {
        return match &record.fence {
            Some(FenceReport::Confirmed { final_set, .. }) => final_set.is_superset_of(&one),
            _ => false,
        };
    }
    let tells = |report: &&FreezeReport| match report.left.get(&instance("p")) {
        Some(left) => left.is_superset_of(&one),
        None => report.replicated_from.is_some() && report.holds().is_superset_of(&one),
    };
    let have = told.iter().copied().filter(tells).count();
    have > 0 && have + cluster.acknowledging() - told.len() >= cluster.ackers.k as usize
}

proptest! {
    #[test]
    fn every_choice_passes_the_check(scene in scene()) {
        let mut world = scene.world();
        if let Ok(choice) = choose(world.cluster()) {
            prop_assert_eq!(check(world.cluster(), &choice), Vec::<String>::new());
            for n in 1..=16 {
                let needs = choice.need.is_superset_of(&set(&format!("p:{n}")));
                prop_assert_eq!(needs, must_need(&world, n), "p:{}: {:?}", n, choice);
            }
            world.must(Command::Choose(Box::new(choice)));
        }
    }

    #[test]
    fn every_altered_choice_is_refused(scene in scene()) {
        let mut world = scene.world();
        if let Ok(choice) = choose(world.cluster()) {
            for (what, bad) in altered(&world, &choice) {
                let broken = check(world.cluster(), &bad);
                prop_assert!(!broken.is_empty(), "{}: {:?}", what, bad);
                world.refusal(Command::Choose(Box::new(bad)));
            }
        }
    }

    /// One transaction less is refused.
    #[test]
    fn a_need_with_one_transaction_less_is_refused(scene in scene(), n in 1_u64..=16) {
        let world = scene.world();
        if let Ok(mut choice) = choose(world.cluster()) {
            choice.need = choice.need.subtract(&set(&format!("p:{n}")));
            let refused = !check(world.cluster(), &choice).is_empty();
            prop_assert_eq!(refused, must_need(&world, n));
        }
    }
}

#[test]
fn a_choice_is_vetted_by_the_log_not_by_its_own_word() {
    let mut world = deposed("pab", 1);
    world.freeze(report("a", "p:1-20", ""));
    let too_few = world.clone();
    world.freeze(report("b", "p:1-12", ""));
    let choice = choose(world.cluster()).expect("two of two are frozen");
    // The same choice, where the log holds one report less.
    let broken = check(too_few.cluster(), &choice);
    for law in [
        "the ackers left could still acknowledge a write",
        "who is named is a frozen acker",
        "no more may be lost than is proved, or allowed",
    ] {
        assert!(
            broken.iter().any(|words| words == law),
            "{law:?} in {broken:?}"
        );
    }
}

#[test]
fn the_scenes_are_worth_it() {
    // Were nothing ever chosen, the properties would hold of nothing.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let chosen = (0..200)
        .filter(|_| {
            let scene = scene().new_tree(&mut runner).expect("a scene").current();
            choose(scene.world().cluster()).is_ok()
        })
        .count();
    assert!(chosen > 50, "{chosen} of 200");
}

#[test]
fn a_choice_speaks_of_its_own_cluster() {
    let mut world = deposed("pab", 1);
    world.confirm("p:1-14");
    let mut choice = choose(world.cluster()).unwrap();
    choice.cluster = "other".into();
    assert_eq!(
        world.refusal(Command::Choose(Box::new(choice))),
        "cluster other is not registered"
    );
}
