//! Builds the small workspace with many changes woven in, and tells which of them do not compile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::blame::complaints;
use super::listing::Mutant;
use super::stage::{self, Built, Stage};
use super::tree::Tree;
use super::weave::{SWITCH, Woven, weave};

/// Where the switch lives.
const SWITCH_FILE: &str = "raft/core/src/lib.rs";

/// The small workspace with the changes in it.
pub struct Loom {
    pub tree: Tree,
    /// Those that stand in the built program, by number.
    pub woven: BTreeSet<usize>,
    pub unviable: BTreeSet<usize>,
}

impl Loom {
    /// Weaves every change that can be; what the compiler refuses is taken out until it compiles.
    pub fn prepare(
        repository: &Path,
        work: &Path,
        mutants: &[&Mutant],
        first: Stage,
    ) -> Result<Self, String> {
        let mut wanted: BTreeSet<usize> = (0..mutants.len()).collect();
        let mut unviable = BTreeSet::new();
        loop {
            let (changed, files) = weave_all(repository, mutants, &wanted)?;
            for number in files.values().flat_map(|woven| &woven.unviable) {
                wanted.remove(number);
                unviable.insert(*number);
            }
            let placed = files.values().flat_map(|woven| &woven.places);
            let woven: BTreeSet<usize> = placed.flat_map(|place| place.numbers.clone()).collect();
            let tree = Tree::prepare(repository, work, "woven", &changed)?;
            let refused = match first.build(&tree)? {
                Built::Program(_) => {
                    return Ok(Self {
                        tree,
                        woven,
                        unviable,
                    });
                }
                Built::Refused(messages) => messages,
            };
            let before = wanted.len();
            for complaint in complaints(&refused) {
                let numbers = complaint.judge(&files);
                for number in numbers.unviable {
                    wanted.remove(&number);
                    unviable.insert(number);
                }
                for number in numbers.alone {
                    wanted.remove(&number);
                }
            }
            if wanted.len() == before {
                return Err(stage::refused("what is woven", &refused));
            }
            println!("woven: {} of {} are left", wanted.len(), mutants.len());
        }
    }
}

/// What the tree holds instead of the repository's files, and the same with places.
type Changed = (BTreeMap<PathBuf, String>, BTreeMap<String, Woven>);

fn weave_all(
    repository: &Path,
    mutants: &[&Mutant],
    wanted: &BTreeSet<usize>,
) -> Result<Changed, String> {
    let mut by_file: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
    by_file.entry(SWITCH_FILE).or_default();
    for number in wanted {
        let mutant = mutants[*number];
        by_file
            .entry(&mutant.file)
            .or_default()
            .push((*number, mutant));
    }
    let (mut changed, mut files) = (BTreeMap::new(), BTreeMap::new());
    for (file, mutants) in by_file {
        let path = repository.join(file);
        let text =
            std::fs::read_to_string(&path).map_err(|error| super::tree::at(&path, &error))?;
        let mut woven = weave(&text, &mutants).map_err(|why| format!("{file}: {why}"))?;
        if file == SWITCH_FILE {
            woven.text += SWITCH;
        }
        changed.insert(PathBuf::from(file), woven.text.clone());
        files.insert(file.to_owned(), woven);
    }
    Ok((changed, files))
}
