//! Our GTID sets against the server's own functions: what it reads, prints, subtracts and compares.

use primacy_core::gtid::{GtidSet, NUMBER_MAX};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::rig::{Rig, soon};
use crate::mysqld::session::Session;

const PAIRS: usize = 600;
const DAMAGED: usize = 400;
/// Pairs asked about in one round trip.
const BATCH: usize = 25;

const UUIDS: [&str; 3] = [
    "3e11fa47-71ca-11e1-9e33-c80aa9429562",
    "3e11fa47-71ca-11e1-9e33-c80aa9429563",
    "ffffffff-0000-4000-8000-000000000000",
];

const TAGS: [&str; 5] = ["_", "a", "A0", "tag_1", "Z23456789_123456789_123456789_12"];

/// A UUID as it may be written.
fn uuid() -> impl Strategy<Value = String> {
    let form = |uuid: &str, form: u8| match form {
        0 => uuid.to_uppercase(),
        1 => format!("{{{uuid}}}"),
        2 => uuid.replace('-', ""),
        _ => uuid.to_owned(),
    };
    (select(&UUIDS[..]), 0..8_u8).prop_map(move |(uuid, how)| form(uuid, how))
}

/// Close together, and at both ends of the range.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 1..=12_u64, 1 => NUMBER_MAX - 4..=NUMBER_MAX]
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\n"), 1 => Just(" \t ")]
}

/// An interval (a backward one is empty) or a tag.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => number().prop_map(|n| n.to_string()),
        3 => (number(), space(), number()).prop_map(|(n, s, m)| format!("{n}{s}-{s}{m}")),
        2 => select(&TAGS[..]).prop_map(str::to_owned),
    ]
}

fn item() -> impl Strategy<Value = String> {
    (uuid(), space(), vec((space(), part(), space()), 0..6)).prop_map(|(uuid, after, parts)| {
        let parts = parts
            .into_iter()
            .map(|(a, part, b)| format!(":{a}{part}{b}"));
        format!("{uuid}{after}{}", parts.collect::<String>())
    })
}

/// A set in any of the ways in which the grammar lets it be written.
fn set() -> impl Strategy<Value = String> {
    let items = vec(
        (space(), item(), select(&[",", ",,", " ,", ",\n"][..])),
        0..5,
    );
    items.prop_map(|items| {
        let items = items
            .into_iter()
            .map(|(s, item, comma)| format!("{s}{item}{comma}"));
        items.collect()
    })
}

/// A set with a few characters put in, taken out or replaced.
fn damaged() -> impl Strategy<Value = String> {
    let character = select(Vec::from_iter(" :-,+.0129abfgxZ_{}\n".chars()));
    let damage = (any::<Index>(), 0..3_u8, character);
    (item(), vec(damage, 1..3)).prop_map(|(text, damage)| {
        let mut text: Vec<char> = text.chars().collect();
        for (index, how, character) in damage {
            let at = index.index(text.len() + 1);
            match how {
                0 => text.insert(at, character),
                1 if at < text.len() => text[at] = character,
                _ if at < text.len() => drop(text.remove(at)),
                _ => {}
            }
        }
        text.into_iter().collect()
    })
}

fn drawn<S: Strategy>(strategy: &S, count: usize) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    let mut one = || strategy.new_tree(&mut runner).expect("a value").current();
    (0..count).map(|_| one()).collect()
}

fn ours(text: &str) -> GtidSet {
    text.parse()
        .unwrap_or_else(|error| panic!("the server reads {text:?}, we do not: {error}"))
}

/// What the server prints of `a`, `a − b`, `a ∪ b`, and whether `a ⊆ b`, for each pair.
async fn asked(session: &mut Session, pairs: &[(String, String)]) -> Vec<[String; 4]> {
    let one = |(a, b): &(String, String)| {
        format!(
            "SELECT GTID_SUBTRACT('{a}',''), GTID_SUBTRACT('{a}','{b}'), \
             GTID_SUBTRACT('{a},{b}',''), CAST(GTID_SUBSET('{a}','{b}') AS CHAR)"
        )
    };
    let sql: Vec<_> = pairs.iter().map(one).collect();
    let sets = session.ask(&sql.join(";"), soon()).await;
    let sets = sets.unwrap_or_else(|error| panic!("{error}: {sql:?}"));
    assert_eq!(sets.len(), pairs.len());
    let read = |rows: &Vec<mysql_async::Row>| {
        std::array::from_fn(|column| rows[0].get::<String, _>(column).expect("text"))
    };
    sets.iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_read_print_and_compare_as_the_server_does() {
    let Some(rig) = Rig::start(1).await else {
        return;
    };
    let mut session = rig.session(0).await;
    // Related more often than chance would have it.
    let pair = (set(), set(), 0..4_u8).prop_map(|(a, b, how)| match how {
        0 => (a.clone(), format!("{b},{a}")),
        1 => (format!("{a},{b}"), b),
        _ => (a, b),
    });
    let pairs = drawn(&pair, PAIRS);
    let (mut subsets, mut tagged) = (0, 0);
    for batch in pairs.chunks(BATCH) {
        let answers = asked(&mut session, batch).await;
        for ((a, b), [whole, rest, both, within]) in batch.iter().zip(answers) {
            let (one, other) = (ours(a), ours(b));
            assert_eq!(one.to_string(), whole, "{a:?} in normal form");
            assert_eq!(one.subtract(&other).to_string(), rest, "{a:?} - {b:?}");
            assert_eq!(one.union(&other).to_string(), both, "{a:?} + {b:?}");
            assert_eq!(other.is_superset_of(&one), within == "1", "{a:?} in {b:?}");
            subsets += usize::from(within == "1" && !one.is_empty());
            tagged += usize::from(whole.contains("tag_1"));
        }
    }
    assert!(subsets > 20 && tagged > 20, "{subsets} {tagged}");

    // Read as the server reads it, or not at all: never as another set.
    let (mut same, mut stricter, mut refused) = (0, 0, 0);
    for text in drawn(&damaged(), DAMAGED) {
        let sql = format!("SELECT GTID_SUBTRACT('{text}','')");
        match (session.ask(&sql, soon()).await, text.parse::<GtidSet>()) {
            (Ok(sets), Ok(own)) => {
                let whole: String = sets[0][0].get(0).expect("text");
                assert_eq!(own.to_string(), whole, "{text:?}");
                same += 1;
            }
            (Ok(_), Err(_)) => stricter += 1,
            (Err(error), own) => {
                assert!(error.code().is_some(), "{text:?}: {error}");
                assert!(own.is_err(), "the server refuses {text:?}: {error}");
                refused += 1;
            }
        }
    }
    println!("damaged: {same} the same, {stricter} refused by us alone, {refused} by both");
    assert!(same > 20 && refused > 20);
    rig.end().await;
}
