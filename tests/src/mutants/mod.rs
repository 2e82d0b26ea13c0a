//! The gate of the core's tests: each small change of the core (a mutant, made by `cargo-mutants`)
//! must be noticed by a unit test, or else by 500 seeds of the simulator.
//!
//! ```text
//! list ─▶ choose ─▶ weave ─▶ unit tests ─▶ who survives: the simulator ─▶ tally, kept
//! ```
//!
//! All that are chosen stand in one program, each behind a switch ([`weave`]); the few that cannot
//! be written so are built one by one.
//!
//! A change that changes nothing anybody could see is listed in `tests/mutants.json` with the
//! reason, and left out. One that makes the tests hang is not noticed: a timeout is no catch.

mod blame;
mod listing;
mod loom;
mod results;
mod stage;
mod suite;
mod tree;
mod weave;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use listing::{Mutant, Nothing};
use loom::Loom;
use results::{Kept, Outcome, Tally};
use stage::{SIMULATOR, Stage, UNIT_TESTS, UNIT_TESTS_ALONE};
use tree::Tree;

const USAGE: &str = "\
usage: tests/mutants                        every mutant of raft/core; resumes where it stopped
       tests/mutants --sample N [--seed S]  so many, chosen by the seed
       tests/mutants --shard K/N            the K-th of N parts, from 1; results add up
       tests/mutants --again                those that survived when they were last examined
       tests/mutants --list                 what there is
       either with --fresh                  forgets what earlier runs found";

/// Which mutants are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    All,
    Sample {
        count: usize,
        seed: u64,
    },
    Shard {
        number: usize,
        of: usize,
    },
    /// What survived when it was last examined.
    Again,
}

#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    part: Part,
    list: bool,
    fresh: bool,
}

/// Runs what the command line asks for; whether the tests are good enough.
pub fn run(args: &[String]) -> Result<bool, String> {
    let wanted = wanted(args).map_err(|why| format!("{why}\n{USAGE}"))?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or("this crate is a folder of the repository")?;
    let work = target(root).join("mutants");
    let tree = Tree::prepare(root, &work, "tree", &BTreeMap::new())?;
    let nothing = Nothing::load(&root.join("tests/mutants.json"))?;
    let mutants = listing::list(&tree)?;
    for stale in nothing.stale(&mutants) {
        println!("tests/mutants.json: nothing fits this entry any more: {stale}");
    }
    let (listed, mutants): (Vec<Mutant>, Vec<Mutant>) =
        mutants.into_iter().partition(|mutant| nothing.has(mutant));
    let of_all = listed.len() * 100 / (listed.len() + mutants.len()).max(1);
    let few = listed.len() * 20 <= listed.len() + mutants.len();
    println!(
        "{} mutants, {} more change nothing ({of_all} %)",
        mutants.len(),
        listed.len()
    );
    if !few {
        println!("FAILED: tests/mutants.json lists more than 5 % of all");
    }
    if wanted.list {
        for mutant in &mutants {
            println!("{}", mutant.name);
        }
        return Ok(few);
    }
    let kept = Kept::load(&work, tree.digest, wanted.fresh)?;
    let gate = Gate {
        repository: root.to_owned(),
        work,
        tree,
    };
    let good = gate.examine(kept, &mutants, wanted.part)?;
    Ok(good && few)
}

struct Gate {
    repository: PathBuf,
    work: PathBuf,
    /// Where one change after the other is built alone.
    tree: Tree,
}

impl Gate {
    fn examine(&self, mut kept: Kept, mutants: &[Mutant], part: Part) -> Result<bool, String> {
        let chosen = listing::choose(mutants, part, |mutant| kept.survived(mutant));
        let open = |mutant: &&&Mutant| kept.outcome(mutant).is_none();
        let mut open: Vec<&Mutant> = chosen.iter().filter(open).copied().collect();
        println!("{} chosen, {} not examined yet", chosen.len(), open.len());
        open.sort_by(|a, b| a.name.cmp(&b.name));
        if !open.is_empty() {
            let loom = Loom::prepare(&self.repository, &self.work, &open, UNIT_TESTS)?;
            for number in &loom.unviable {
                kept.add(open[*number], Outcome::Unviable)?;
            }
            self.by_unit_tests(&loom, &mut kept, &open)?;
            self.by_simulator(&loom, &mut kept, &open)?;
        }
        let part_tally = Tally::of(&kept, &chosen);
        for mutant in &chosen {
            if let Some(outcome @ (Outcome::Survived | Outcome::TimedOut)) = kept.outcome(mutant) {
                println!("{}: {}\n{}", outcome.words(), mutant.name, mutant.diff);
            }
        }
        let all: Vec<&Mutant> = mutants.iter().collect();
        let complete = all.iter().all(|mutant| kept.outcome(mutant).is_some());
        let (tally, good) = match part {
            _ if complete && part != Part::All => {
                println!("this part: {part_tally}; every mutant has been examined by now:");
                let tally = Tally::of(&kept, &all);
                (tally, tally.good_over_all() && part_tally.good_sample())
            }
            Part::All => (part_tally, part_tally.good_over_all()),
            Part::Sample { .. } | Part::Shard { .. } | Part::Again => {
                (part_tally, part_tally.good_sample())
            }
        };
        println!("{:.1} % caught", tally.percent());
        println!("{tally}");
        Ok(good)
    }

    /// The unit tests first: they are quick, and decide most.
    fn by_unit_tests(&self, loom: &Loom, kept: &mut Kept, open: &[&Mutant]) -> Result<(), String> {
        let left = |kept: &Kept, mutant: &Mutant| {
            kept.outcome(mutant).is_none() && kept.undecided(mutant).is_none()
        };
        self.each(
            [UNIT_TESTS, UNIT_TESTS_ALONE],
            loom,
            kept,
            open,
            left,
            |kept, mutant, outcome| match outcome {
                Outcome::Caught | Outcome::Unviable => kept.add(mutant, outcome),
                Outcome::Survived | Outcome::TimedOut => kept.add_undecided(mutant, outcome),
            },
        )
    }

    /// Who survived those meets the simulator.
    fn by_simulator(&self, loom: &Loom, kept: &mut Kept, open: &[&Mutant]) -> Result<(), String> {
        let left = |kept: &Kept, mutant: &Mutant| kept.undecided(mutant).is_some();
        self.each(
            [SIMULATOR, SIMULATOR],
            loom,
            kept,
            open,
            left,
            |kept, mutant, outcome| {
                let by_tests = kept.undecided(mutant);
                match outcome {
                    // It compiled for the unit tests, so this is no verdict on it.
                    Outcome::Unviable => kept.add(mutant, by_tests.unwrap_or(Outcome::Survived)),
                    by_seeds => kept.add(mutant, by_seeds),
                }
            },
        )
    }

    /// Each that is left in one stage, as it is for what is woven and for one built alone; what becomes of
    /// it is kept at once.
    fn each(
        &self,
        [stage, by_itself]: [Stage; 2],
        loom: &Loom,
        kept: &mut Kept,
        open: &[&Mutant],
        left: impl Fn(&Kept, &Mutant) -> bool,
        keep: impl Fn(&mut Kept, &Mutant, Outcome) -> Result<(), String>,
    ) -> Result<(), String> {
        let numbered = open.iter().enumerate();
        let left: Vec<_> = numbered.filter(|(_, mutant)| left(kept, mutant)).collect();
        let (woven, alone): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|(number, _)| loom.woven.contains(number));
        println!(
            "{}: {} woven, {} alone",
            stage.name,
            woven.len(),
            alone.len()
        );
        let mut tell = |mutant: &Mutant, begun: Instant, outcome: Outcome| {
            let seconds = begun.elapsed().as_secs_f32();
            println!("{} ({seconds:.1} s): {}", outcome.words(), mutant.name);
            keep(kept, mutant, outcome)
        };
        if !woven.is_empty() {
            // With nothing switched on, what is woven is what is unchanged.
            let suite = stage.suite(&loom.tree)?;
            for (number, mutant) in woven {
                let begun = Instant::now();
                let outcome = suite.verdict(&suite.program, Some(number))?;
                tell(mutant, begun, outcome)?;
            }
        }
        if !alone.is_empty() {
            let suite = by_itself.suite(&self.tree)?;
            for (_, mutant) in alone {
                let begun = Instant::now();
                let outcome = by_itself.examine(&self.tree, mutant, &suite)?;
                tell(mutant, begun, outcome)?;
            }
        }
        Ok(())
    }
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn wanted(args: &[String]) -> Result<Wanted, String> {
    let mut wanted = Wanted {
        part: Part::All,
        list: false,
        fresh: false,
    };
    let (mut sample, mut seed, mut shard, mut again) = (None, None, None, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--sample" => sample = Some(number(value()?)?),
            "--seed" => seed = Some(number(value()?)?),
            "--shard" => {
                let text = value()?;
                let (number, of) = text.split_once('/').ok_or("a shard is written K/N")?;
                shard = Some((self::number(number)?, self::number(of)?));
            }
            "--again" => again = true,
            "--list" => wanted.list = true,
            "--fresh" => wanted.fresh = true,
            other => return Err(format!("unknown argument {other}")),
        }
    }
    wanted.part = match (sample, seed, shard) {
        (None, None, None) if again => Part::Again,
        (None, None, None) => Part::All,
        _ if again => return Err("--again says which".into()),
        (Some(count), seed, None) if count > 0 => Part::Sample {
            count: count as usize,
            seed: seed.unwrap_or(1),
        },
        (None, None, Some((number, of))) if (1..=of).contains(&number) => Part::Shard {
            number: number as usize,
            of: of as usize,
        },
        _ => return Err("say --sample N [--seed S], or --shard K/N, or neither".into()),
    };
    Ok(wanted)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(line: &str) -> Result<Part, String> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        wanted(&args).map(|wanted| wanted.part)
    }

    #[test]
    fn a_part_is_said_in_one_way() {
        assert_eq!(part(""), Ok(Part::All));
        assert_eq!(part("--again"), Ok(Part::Again));
        let sample = |count, seed| Ok(Part::Sample { count, seed });
        assert_eq!(part("--sample 10"), sample(10, 1));
        assert_eq!(part("--sample 100 --seed 7"), sample(100, 7));
        assert_eq!(part("--shard 2/8"), Ok(Part::Shard { number: 2, of: 8 }));
        for wrong in [
            "--sample 0",
            "--sample",
            "--seed 1",
            "--shard 0/8",
            "--shard 9/8",
            "--shard 3",
            "--sample 1 --shard 1/2",
            "--again --sample 1",
            "--what",
        ] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
    }
}
