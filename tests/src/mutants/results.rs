//! What became of the mutants: kept from run to run while the sources are the same, and judged.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::listing::{Change, Mutant};
use super::tree::at;

/// What became of one mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A test failed.
    Caught,
    /// Nobody noticed.
    Survived,
    /// It does not compile.
    Unviable,
    /// The tests hung, which is no test that failed.
    TimedOut,
}

impl Outcome {
    pub fn words(self) -> &'static str {
        match self {
            Outcome::Caught => "caught",
            Outcome::Survived => "SURVIVED",
            Outcome::Unviable => "unviable",
            Outcome::TimedOut => "TIMED OUT",
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Document {
    /// Of the sources that the outcomes belong to.
    digest: u64,
    /// What survived when it was last examined, on whatever sources.
    #[serde(default)]
    survived: BTreeSet<Change>,
    /// Who survived the unit tests, or made them hang, and has not met the simulator yet.
    #[serde(default)]
    undecided: BTreeMap<String, Outcome>,
    outcomes: BTreeMap<String, Outcome>,
}

/// Outcomes of this and of earlier runs on the same sources.
pub struct Kept {
    path: PathBuf,
    document: Document,
}

impl Kept {
    pub fn load(work: &Path, digest: u64, fresh: bool) -> Result<Self, String> {
        let path = work.join("results.json");
        let found = std::fs::read_to_string(&path).ok();
        let found = found.and_then(|text| serde_json::from_str::<Document>(&text).ok());
        let mut document = found.unwrap_or_default();
        if fresh || document.digest != digest {
            document = Document {
                digest,
                survived: document.survived,
                ..Document::default()
            };
        }
        Ok(Self { path, document })
    }

    pub fn outcome(&self, mutant: &Mutant) -> Option<Outcome> {
        self.document.outcomes.get(&mutant.name).copied()
    }

    /// What the unit tests made of it, where that decides nothing.
    pub fn undecided(&self, mutant: &Mutant) -> Option<Outcome> {
        self.document.undecided.get(&mutant.name).copied()
    }

    pub fn add_undecided(&mut self, mutant: &Mutant, outcome: Outcome) -> Result<(), String> {
        self.document.undecided.insert(mutant.name.clone(), outcome);
        // Until the simulator has said otherwise.
        self.document.survived.insert(mutant.change());
        self.write()
    }

    pub fn add(&mut self, mutant: &Mutant, outcome: Outcome) -> Result<(), String> {
        self.document.undecided.remove(&mutant.name);
        match outcome {
            Outcome::Survived | Outcome::TimedOut => self.document.survived.insert(mutant.change()),
            Outcome::Caught | Outcome::Unviable => self.document.survived.remove(&mutant.change()),
        };
        self.document.outcomes.insert(mutant.name.clone(), outcome);
        self.write()
    }

    /// Whether it survived when it was last examined, on whatever sources.
    pub fn survived(&self, mutant: &Mutant) -> bool {
        self.document.survived.contains(&mutant.change())
    }

    fn write(&self) -> Result<(), String> {
        let text = serde_json::to_string_pretty(&self.document)
            .map_err(|error| format!("{}: {error}", self.path.display()))?;
        std::fs::write(&self.path, text).map_err(|error| at(&self.path, &error))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    caught: usize,
    survived: usize,
    unviable: usize,
    timed_out: usize,
}

impl Tally {
    pub fn of(kept: &Kept, mutants: &[&Mutant]) -> Self {
        let mut tally = Tally::default();
        for mutant in mutants {
            match kept.outcome(mutant) {
                Some(Outcome::Caught) => tally.caught += 1,
                Some(Outcome::Survived) => tally.survived += 1,
                Some(Outcome::Unviable) => tally.unviable += 1,
                Some(Outcome::TimedOut) => tally.timed_out += 1,
                None => {}
            }
        }
        tally
    }

    fn viable(self) -> usize {
        self.caught + self.survived + self.timed_out
    }

    fn at_least(self, percent: usize) -> bool {
        self.caught * 100 >= self.viable() * percent
    }

    pub fn percent(self) -> f64 {
        self.caught as f64 * 100.0 / self.viable().max(1) as f64
    }

    /// 97 %.
    pub fn good_over_all(self) -> bool {
        self.at_least(97)
    }

    /// 95 % of fifty or more; of fewer, at most one that nobody noticed.
    pub fn good_sample(self) -> bool {
        if self.viable() >= 50 {
            self.at_least(95)
        } else {
            self.survived + self.timed_out < 2
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            caught,
            survived,
            unviable,
            timed_out,
        } = self;
        write!(
            f,
            "{caught} caught, {survived} survived, {unviable} unviable, {timed_out} timed out"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(caught: usize, survived: usize, timed_out: usize) -> Tally {
        Tally {
            caught,
            survived,
            unviable: 7,
            timed_out,
        }
    }

    #[test]
    fn a_timeout_is_no_catch_and_what_does_not_compile_does_not_count() {
        assert!(tally(97, 3, 0).good_over_all() && !tally(96, 4, 0).good_over_all());
        assert!(tally(97, 0, 3).good_over_all() && !tally(96, 0, 4).good_over_all());
        assert!(tally(95, 4, 1).good_sample() && !tally(94, 4, 2).good_sample());
        assert!(tally(48, 2, 0).good_sample(), "fifty: 96 %");
        assert!(tally(9, 1, 0).good_sample() && tally(9, 0, 1).good_sample());
        assert!(!tally(8, 1, 1).good_sample() && !tally(47, 2, 0).good_sample());
        assert_eq!(
            tally(9, 1, 0).to_string(),
            "9 caught, 1 survived, 7 unviable, 0 timed out"
        );
    }

    #[test]
    fn outcomes_are_kept_while_the_sources_are_the_same() {
        let dir = tempfile::tempdir().expect("a folder");
        let mutant = Mutant::named("a");
        let load = |digest, fresh| Kept::load(dir.path(), digest, fresh).expect("read");
        let mut kept = load(1, false);
        assert_eq!(kept.outcome(&mutant), None);
        kept.add_undecided(&mutant, Outcome::TimedOut)
            .expect("kept");
        assert_eq!(load(1, false).undecided(&mutant), Some(Outcome::TimedOut));
        assert_eq!(load(1, false).outcome(&mutant), None);
        kept.add(&mutant, Outcome::Caught).expect("kept");
        assert_eq!(load(1, false).undecided(&mutant), None);
        assert_eq!(load(1, false).outcome(&mutant), Some(Outcome::Caught));
        assert_eq!(load(1, true).outcome(&mutant), None);
        assert_eq!(load(2, false).outcome(&mutant), None);
    }
}
