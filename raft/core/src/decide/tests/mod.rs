//! Tables. `p` is the deposed primary, `a`, `b`, … its ackers. The floor is `p:1-11`, and the nodes
//! last saw `p:1-12` executed. A choice reads `a for p:1-15`: who, and what it needs.

mod abort;
mod allowed;
mod back;
mod choice;
mod content;
mod fetch;
mod paths;
mod readiness;
mod sound;

use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::{Choice, Circumstances, LossBound, Proof, check, choose, choose_with, feasible};
use crate::gtid::GtidSet;
use crate::ids::{Epoch, Incarnation};
use crate::observe::{Fault, GroundLook, SightKind, Timed};
use crate::policy::MaxLoss;
use crate::record::{Ackers, Command, FenceReport, FreezeReport, PromotionRule, Registration};
use crate::testing::{
    World, broken, fenced, instance, instances, registration, report, set, settled, short,
    strangers, uuid,
};

fn deposed(letters: &str, k: u32) -> World {
    deposed_as(registration(letters, k))
}

fn deposed_as(registration: Registration) -> World {
    let mut world = World::serving_as(registration);
    world.silence("p:1-12");
    assert!(world.cluster().deposition().is_some(), "automation is on");
    world
}

fn wedged(letters: &str, k: u32) -> World {
    let mut world = World::serving(letters, k);
    world.votes(SightKind::Wedged, "p:1-12");
    assert!(world.cluster().deposition().is_some(), "automation is on");
    world
}

fn told(world: &World) -> String {
    match choose(world.cluster()) {
        Ok(choice) => {
            assert_eq!(check(world.cluster(), &choice), Vec::<String>::new());
            format!("{} for {}", choice.to, short(&choice.need))
        }
        Err(reasons) => {
            let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
            let mut text = reasons.join("; ");
            for letter in 'a'..='z' {
                let letter = letter.to_string();
                text = text.replace(&uuid(&letter).to_string(), &letter);
            }
            text
        }
    }
}

/// Ackers of `letters` with k, frozen with these reports: executed, received.
#[track_caller]
fn frozen(letters: &str, k: u32, reports: &[(&str, &str, &str)], expected: &str) {
    let mut world = deposed(letters, k);
    for (letter, executed, received) in reports {
        world.freeze(report(letter, executed, received));
    }
    assert_eq!(told(&world), expected);
}
