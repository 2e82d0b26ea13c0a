//! What the compiler refuses of a program with many changes in it, and which of them are to blame.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::weave::{Place, Woven};

/// Complaints that may be about the weaving: a type that is not known, a value that moved. Such a
/// change is built alone, and nothing is concluded.
const UNSURE: [&str; 9] = [
    "E0282", "E0283", "E0284", "E0382", "E0499", "E0502", "E0505", "E0506", "E0720",
];

/// A complaint of the compiler.
#[derive(Debug)]
pub struct Complaint {
    code: String,
    at: Vec<(String, Range<usize>)>,
}

/// The changes that a complaint is about, by number.
#[derive(Debug, Default)]
pub struct Judged {
    pub unviable: Vec<usize>,
    /// Built alone, each, to be sure.
    pub alone: Vec<usize>,
}

impl Complaint {
    pub fn judge(&self, files: &BTreeMap<String, Woven>) -> Judged {
        let mut judged = Judged::default();
        for (file, range) in &self.at {
            let Some(woven) = files.get(file) else {
                continue;
            };
            match blamed(woven, range) {
                Some(place) if place.changed && !UNSURE.contains(&self.code.as_str()) => {
                    judged.unviable.extend(&place.numbers);
                }
                Some(place) => judged.alone.extend(&place.numbers),
                // It is about none of them, so any of them in that function may be why.
                None => judged.alone.extend(beside(woven, range)),
            }
        }
        judged
    }
}

/// Whose place, the narrowest, a complaint of the compiler is about.
fn blamed<'a>(woven: &'a Woven, range: &Range<usize>) -> Option<&'a Place> {
    let holds = |place: &&Place| within(range, &place.range);
    let held = woven.places.iter().filter(holds);
    held.min_by_key(|place| place.range.len())
}

/// The changes in the same function; in the whole file, if there are none.
fn beside(woven: &Woven, range: &Range<usize>) -> Vec<usize> {
    let mut functions = Functions::default();
    if let Ok(file) = syn::parse_file(&woven.text) {
        functions.visit_file(&file);
    }
    let around = functions.0.iter().filter(|of| within(range, of));
    let function = around.min_by_key(|of| of.len());
    let numbers = |of: &Range<usize>| {
        let places = woven.places.iter().filter(|place| within(&place.range, of));
        places.flat_map(|place| place.numbers.clone()).collect()
    };
    let beside: Vec<usize> = function.map(numbers).unwrap_or_default();
    match beside.is_empty() {
        true => numbers(&(0..woven.text.len())),
        false => beside,
    }
}

fn within(part: &Range<usize>, whole: &Range<usize>) -> bool {
    whole.start <= part.start && part.end <= whole.end
}

/// Where the functions of a file stand.
#[derive(Default)]
struct Functions(Vec<Range<usize>>);

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.0.push(item.span().byte_range());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.0.push(item.span().byte_range());
        visit::visit_impl_item_fn(self, item);
    }
}

/// The errors among what cargo says.
pub fn complaints(messages: &str) -> Vec<Complaint> {
    let parsed = messages.lines().filter_map(complaint);
    parsed
        .filter(|complaint| !complaint.at.is_empty())
        .collect()
}

fn complaint(line: &str) -> Option<Complaint> {
    let line: Value = serde_json::from_str(line).ok()?;
    let message = line.get("message")?;
    if message.get("level")?.as_str()? != "error" {
        return None;
    }
    let spans = message.get("spans")?.as_array()?.iter();
    let at = spans
        .filter(|span| span["is_primary"] == true)
        .filter_map(|span| {
            let byte = |name: &str| usize::try_from(span.get(name)?.as_u64()?).ok();
            let file = span.get("file_name")?.as_str()?.to_owned();
            Some((file, byte("byte_start")?..byte("byte_end")?))
        })
        .collect();
    let code = message.pointer("/code/code").and_then(Value::as_str);
    Some(Complaint {
        code: code.unwrap_or_default().to_owned(),
        at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "fn f() { one + two }\nimpl A { fn g() { three } }\nfn h() { four }";

    fn at(what: &str) -> Range<usize> {
        let at = TEXT.find(what).expect("it is there");
        at..at + what.len()
    }

    /// The unviable, and those that are built alone.
    fn judged(code: &str, what: &str) -> (Vec<usize>, Vec<usize>) {
        let place = |what: &str, numbers: &[usize], changed| Place {
            range: at(what),
            numbers: numbers.to_vec(),
            changed,
        };
        let woven = Woven {
            text: TEXT.to_owned(),
            places: vec![
                place("one", &[1], true),
                place("one + two", &[1, 2], false),
                place("three", &[3], true),
            ],
            ..Woven::default()
        };
        let complaint = Complaint {
            code: code.to_owned(),
            at: vec![("f.rs".to_owned(), at(what))],
        };
        let judged = complaint.judge(&BTreeMap::from([("f.rs".to_owned(), woven)]));
        (judged.unviable, judged.alone)
    }

    #[test]
    fn a_complaint_is_about_the_narrowest_place() {
        assert_eq!(judged("E0308", "one"), (vec![1], vec![]));
        assert_eq!(judged("E0382", "one"), (vec![], vec![1]), "not for sure");
        assert_eq!(judged("E0308", "+"), (vec![], vec![1, 2]));
    }

    #[test]
    fn one_about_no_change_is_about_those_of_its_function() {
        assert_eq!(judged("E0308", "f()").1, [1, 1, 2]);
        assert_eq!(judged("E0308", "fn g").1, [3]);
        assert_eq!(judged("E0308", "four").1, [1, 1, 2, 3], "it has none");
    }
}
