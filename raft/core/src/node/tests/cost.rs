//! A leader that has a halted cluster goes on, and logs no more of it than the time. What an input
//! costs: `cargo test --profile ci --workspace --lib -- --nocapture a_halted_cluster_costs`

use std::time::{Duration, Instant};

use super::*;

const LETTERS: &str = "abcdefghi";

#[expect(clippy::disallowed_methods, reason = "this is what is measured")]
pub(super) fn timed<T>(took: &mut Vec<Duration>, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    took.push(begun.elapsed());
    done
}

/// Deposed, and every acker frozen. Each holds what no other does, and has written something itself,
/// which bars it.
fn halted(ackers: usize) -> Plane {
    let letters = &LETTERS[..ackers];
    let mut plane = Plane::new(World::serving(&format!("p{letters}"), 1));
    plane.down.insert("p");
    plane.world.silence("p:1-12");
    for (i, letter) in letters.chars().enumerate() {
        let letter = letter.to_string();
        let executed = format!("p:1-12:{},{letter}:1-3", 20 + 2 * i);
        plane.world.freeze(report(&letter, &executed, ""));
    }
    plane.show_state();
    plane.runs(3_000);
    let waits = plane.nodes[0].standing(&cluster_id()).expect("it leads");
    let bars = |wait: &String| wait.contains("holds errant transactions");
    assert!(waits.waits.iter().any(bars), "{waits:?}");
    plane
}

#[test]
fn a_halted_cluster_costs_its_leader_nothing_but_the_look() {
    for ackers in [2, 5, 7, 9] {
        let mut plane = halted(ackers);
        plane.took = Some(Vec::new());
        plane.lines.clear();
        plane.runs(20_000);
        let lines = plane.lines.iter().map(|(_, line)| line.as_str());
        let logged: Vec<&str> = lines.filter(|line| !line.starts_with("order ")).collect();
        // That time has passed, for the rest between two failovers.
        assert!(
            logged.iter().all(|line| *line == "1 logs 5000 ms"),
            "{logged:?}"
        );
        assert!(logged.len() <= 4, "{logged:?}");
        let mut took = plane.took.take().unwrap_or_default();
        took.sort();
        let us = |part: usize| {
            let at = (took.len() - 1) * part / 100;
            took[at].as_secs_f64() * 1e6
        };
        let all: Duration = took.iter().sum();
        println!(
            "{ackers} ackers, {} inputs: mean {:.0} µs, median {:.0}, 99 of 100 below {:.0}, at most {:.0}",
            took.len(),
            all.as_secs_f64() * 1e6 / took.len() as f64,
            us(50),
            us(99),
            us(100)
        );
    }
}
