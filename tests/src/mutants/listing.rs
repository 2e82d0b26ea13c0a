//! What could be changed, which of it is chosen, and what is known to change nothing.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::Part;
use super::tree::{CORE, Tree};

/// One small change of the core.
#[derive(Clone, Debug, Deserialize)]
pub struct Mutant {
    /// `raft/core/src/agree/mod.rs:45:9: replace judge -> Verdict with Default::default()`
    pub name: String,
    pub file: String,
    pub diff: String,
    span: Span,
    replacement: String,
}

/// What is replaced.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Span {
    start: Place,
    end: Place,
}

/// Lines and letters are counted from 1.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Place {
    line: usize,
    column: usize,
}

impl Place {
    /// How many bytes are before it.
    fn within(self, text: &str) -> Option<usize> {
        let mut lines = text.split_inclusive('\n');
        let before: usize = lines.by_ref().take(self.line - 1).map(str::len).sum();
        let mut letters = lines.next()?.char_indices().map(|(at, _)| at);
        Some(before + letters.nth(self.column - 1)?)
    }
}

impl Mutant {
    #[cfg(test)]
    pub fn named(name: &str) -> Self {
        let place = Place { line: 1, column: 1 };
        Self {
            name: name.into(),
            file: "raft/core/src/a.rs".into(),
            diff: String::new(),
            span: Span {
                start: place,
                end: place,
            },
            replacement: String::new(),
        }
    }

    #[cfg(test)]
    pub fn replacing(text: &str, range: Range<usize>, replacement: &str) -> Self {
        let place = |at: usize| Place {
            line: text[..at].matches('\n').count() + 1,
            column: text[..at]
                .rsplit('\n')
                .next()
                .unwrap_or_default()
                .chars()
                .count()
                + 1,
        };
        Self {
            span: Span {
                start: place(range.start),
                end: place(range.end),
            },
            replacement: replacement.into(),
            ..Self::named("a")
        }
    }

    /// The bytes that are replaced.
    pub fn range(&self, text: &str) -> Option<Range<usize>> {
        Some(self.span.start.within(text)?..self.span.end.within(text)?)
    }

    pub fn replacement(&self) -> &str {
        &self.replacement
    }

    /// The file with the change made.
    pub fn applied(&self, text: &str) -> Option<String> {
        let range = self.range(text)?;
        let (before, after) = (text.get(..range.start)?, text.get(range.end..)?);
        Some(format!("{before}{}{after}", self.replacement))
    }

    pub fn change(&self) -> Change {
        Change {
            file: self.file.clone(),
            what: self.what().to_owned(),
            line: self.line().to_owned(),
        }
    }

    /// What is done, without where.
    fn what(&self) -> &str {
        self.name.split_once(": ").map_or("", |(_, what)| what)
    }

    /// The first line that is changed, as it stands.
    fn line(&self) -> &str {
        let mut lines = self.diff.lines();
        let changed = lines.find(|line| line.starts_with('-') && !line.starts_with("---"));
        changed.map_or("", |line| line[1..].trim())
    }
}

/// Every mutant of the core, in the order of their names.
pub fn list(tree: &Tree) -> Result<Vec<Mutant>, String> {
    let output = Command::new("cargo")
        .args(["mutants", "--list", "--json", "--diff", "-p", CORE, "--dir"])
        .arg(&tree.root)
        .output()
        .map_err(|error| format!("cargo mutants: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo mutants --list: {said}"));
    }
    let mut mutants: Vec<Mutant> = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo mutants --list --json: {error}"))?;
    mutants.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(mutants)
}

/// Each sample of one seed is part of every larger one; shards take turns.
pub fn choose(mutants: &[Mutant], part: Part, survived: impl Fn(&Mutant) -> bool) -> Vec<&Mutant> {
    match part {
        Part::Again => mutants.iter().filter(|mutant| survived(mutant)).collect(),
        Part::All => mutants.iter().collect(),
        Part::Shard { number, of } => mutants.iter().skip(number - 1).step_by(of).collect(),
        Part::Sample { count, seed } => {
            let draw = |mutant: &Mutant| {
                let mut hasher = DefaultHasher::new();
                (seed, &mutant.name).hash(&mut hasher);
                hasher.finish()
            };
            let mut all: Vec<&Mutant> = mutants.iter().collect();
            all.sort_by_key(|mutant| draw(mutant));
            all.truncate(count);
            all
        }
    }
}

/// Which change it is, wherever its line stands by now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    file: String,
    what: String,
    line: String,
}

/// A change that nobody could notice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    file: String,
    /// As cargo-mutants says it, without the place.
    what: String,
    /// The line as it stands.
    line: String,
    /// Why it changes nothing.
    why: String,
}

impl Entry {
    fn fits(&self, mutant: &Mutant) -> bool {
        self.file == mutant.file && self.what == mutant.what() && self.line == mutant.line()
    }
}

/// The committed list of what changes nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Nothing(BTreeSet<Entry>);

impl Nothing {
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| super::tree::at(path, &error))?;
        let list: Self =
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut entries = list.0.iter();
        match entries.find(|entry| entry.why.trim().len() < 10) {
            Some(entry) => Err(format!("{}: {} says no why", path.display(), entry.what)),
            None => Ok(list),
        }
    }

    pub fn has(&self, mutant: &Mutant) -> bool {
        self.0.iter().any(|entry| entry.fits(mutant))
    }

    /// Entries whose line is not there any more.
    pub fn stale(&self, mutants: &[Mutant]) -> Vec<String> {
        let fits = |entry: &&Entry| mutants.iter().any(|mutant| entry.fits(mutant));
        let stale = self.0.iter().filter(|entry| !fits(entry));
        stale
            .map(|entry| format!("{}: {} in {:?}", entry.file, entry.what, entry.line))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(number: usize) -> Mutant {
        let name = format!("raft/core/src/a.rs:{number}:9: replace < with <= in judge");
        Mutant {
            diff: "--- a\n+++ b\n@@ -1 +1 @@\n     let x;\n-    if a < b {\n+    if a <= b {\n"
                .into(),
            ..Mutant::named(&name)
        }
    }

    #[test]
    fn a_change_replaces_letters_not_bytes() {
        let text = "// é\nif é < b {\n}\n";
        let place = |line, column| Place { line, column };
        let with = |start, end| Mutant {
            span: Span { start, end },
            replacement: "<=".into(),
            ..mutant(1)
        };
        let applied = with(place(2, 6), place(2, 7)).applied(text);
        assert_eq!(applied.as_deref(), Some("// é\nif é <= b {\n}\n"));
        assert_eq!(with(place(9, 1), place(9, 2)).applied(text), None);
    }

    #[test]
    fn shards_are_everything_once_and_samples_grow() {
        let mutants: Vec<Mutant> = (100..200).map(mutant).collect();
        let names = |part| {
            let chosen = choose(&mutants, part, |mutant| mutant.name.contains(":150:"));
            chosen
                .into_iter()
                .map(|m| m.name.clone())
                .collect::<Vec<_>>()
        };
        let mut all = Vec::new();
        for number in 1..=7 {
            all.extend(names(Part::Shard { number, of: 7 }));
        }
        all.sort();
        assert_eq!(all, names(Part::All));
        let sample = |count, seed| names(Part::Sample { count, seed });
        assert_eq!(sample(10, 1), sample(50, 1)[..10]);
        assert_ne!(sample(10, 1), sample(10, 2));
        assert_eq!(sample(500, 1).len(), 100);
        assert_eq!(names(Part::Again).len(), 1);
    }

    #[test]
    fn an_entry_names_the_change_and_the_line_not_the_place() {
        let entry = |line: &str, why: &str| {
            let entry = serde_json::json!({
                "file": "raft/core/src/a.rs",
                "what": "replace < with <= in judge",
                "line": line,
                "why": why,
            });
            serde_json::from_value::<Nothing>(serde_json::json!([entry])).expect("an entry")
        };
        let list = entry("if a < b {", "they are never equal");
        assert!(list.has(&mutant(1)) && list.has(&mutant(99)));
        assert!(list.stale(&[mutant(1)]).is_empty());
        let other = entry("if a < c {", "they are never equal");
        assert!(!other.has(&mutant(1)));
        assert_eq!(other.stale(&[mutant(1)]).len(), 1);
    }
}
