//! Properties, held against the plainest thing that can be right: a set of single transactions.

use std::collections::BTreeSet;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::tests::{U, V, W, tag, uuid};
use super::{Gtid, GtidError, GtidSet, NUMBER_MAX, Tag, Uuid};

/// One transaction, as the naive side of the properties knows it.
type One = (Uuid, Tag, u64);
type Naive = BTreeSet<One>;

/// Numbers close together, at both ends of the range, so that intervals meet and none overflows.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 1..=12_u64, 1 => NUMBER_MAX - 4..=NUMBER_MAX]
}

fn some_uuid() -> impl Strategy<Value = Uuid> {
    select([U, V, W].map(uuid).to_vec())
}

fn some_tag() -> impl Strategy<Value = Tag> {
    select(["", "_", "a", "a0"].map(tag).to_vec())
}

fn one() -> impl Strategy<Value = One> {
    (some_uuid(), some_tag(), number())
}

/// Sparse and dense sets: many transactions among few make intervals.
fn naive() -> impl Strategy<Value = Naive> {
    let dense = (some_uuid(), some_tag(), btree_set(number(), 0..16));
    let dense = vec(dense, 0..4).prop_map(|lists| {
        let ones = |(u, t, ns): (Uuid, Tag, BTreeSet<u64>)| ns.into_iter().map(move |n| (u, t, n));
        lists.into_iter().flat_map(ones).collect::<Naive>()
    });
    prop_oneof![btree_set(one(), 0..12), dense]
}

/// Two sets that are related more often than chance would have it.
fn pair() -> impl Strategy<Value = (Naive, Naive)> {
    let subset = (naive(), any::<prop::sample::Index>()).prop_map(|(whole, index)| {
        let mut part = whole.clone();
        if !whole.is_empty() {
            let left_out = *index.get(&Vec::from_iter(whole.iter().copied()));
            part.remove(&left_out);
        }
        (part, whole)
    });
    let subset = (subset, any::<bool>())
        .prop_map(|((part, whole), swap)| if swap { (whole, part) } else { (part, whole) });
    let equal = naive().prop_map(|a| (a.clone(), a));
    prop_oneof![4 => (naive(), naive()), 3 => subset, 1 => equal]
}

/// Builds by single insertions in an order of its own.
fn build(naive: &Naive) -> GtidSet {
    naive
        .iter()
        .rev()
        .map(|&(uuid, tag, n)| Gtid::new(uuid, tag, n).unwrap())
        .collect()
}

/// MySQL's text of a naive set, made without the module's intervals.
fn printed(naive: &Naive) -> String {
    let mut out = String::new();
    let (mut last_uuid, mut last_tag) = (None, Tag::NONE);
    for &(uuid, tag, n) in naive {
        let follows = |k: u64| naive.contains(&(uuid, tag, k));
        if follows(n - 1) {
            continue;
        }
        if last_uuid != Some(uuid) {
            let comma = if last_uuid.is_some() { ",\n" } else { "" };
            out += &format!("{comma}{uuid}");
            (last_uuid, last_tag) = (Some(uuid), Tag::NONE);
        }
        if last_tag != tag {
            out += &format!(":{tag}");
            last_tag = tag;
        }
        let last = (n..).find(|k| !follows(k + 1)).unwrap();
        out += &if last == n {
            format!(":{n}")
        } else {
            format!(":{n}-{last}")
        };
    }
    out
}

/// A piece of an item, with the text it is written as.
#[derive(Clone, Debug)]
enum Piece {
    Tag(Tag, String),
    Interval(u64, u64, String),
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just(""), 1 => select(vec![" ", "\n", "\t \r"])]
}

fn piece() -> impl Strategy<Value = Piece> {
    let tag_piece = (
        some_tag().prop_filter("a tag", |t| !t.is_none()),
        any::<bool>(),
    )
        .prop_map(|(tag, upper)| {
            let text = if upper {
                tag.to_string().to_uppercase()
            } else {
                tag.to_string()
            };
            Piece::Tag(tag, text)
        });
    // Both ends low or both high: the naive side writes out every number between.
    let ends = prop_oneof![
        4 => (1..=12_u64, 1..=12_u64),
        1 => (NUMBER_MAX - 4..=NUMBER_MAX, NUMBER_MAX - 4..=NUMBER_MAX),
    ];
    let interval = (ends, space(), space(), any::<bool>()).prop_map(|((n, m), s, t, short)| {
        let text = if short && n == m {
            n.to_string()
        } else {
            format!("{n}{s}-{t}{m}")
        };
        Piece::Interval(n, m, text)
    });
    let single = number().prop_map(|n| Piece::Interval(n, n, n.to_string()));
    prop_oneof![1 => tag_piece, 2 => interval, 2 => single]
}

/// An untidy text of a set, as the grammar allows it, and the transactions it means.
fn untidy() -> impl Strategy<Value = (String, Naive)> {
    let item = (some_uuid(), 0..4_u8, vec((piece(), space(), space()), 0..7));
    let items = vec((item, space(), 1..3_usize), 0..5);
    (items, 0..2_usize, space()).prop_map(|(items, commas, lead)| {
        let (mut text, mut naive) = (format!("{lead}{}", ",".repeat(commas)), Naive::new());
        for ((uuid, form, pieces), space, commas) in items {
            text += &match form {
                0 => uuid.to_string(),
                1 => uuid.to_string().to_uppercase(),
                2 => uuid.to_string().replace('-', ""),
                _ => format!("{{{uuid}}}"),
            };
            let mut current = Tag::NONE;
            for (piece, before, after) in pieces {
                let (Piece::Tag(_, written) | Piece::Interval(_, _, written)) = &piece;
                text += &format!("{after}:{before}{written}{after}");
                match piece {
                    Piece::Tag(tag, _) => current = tag,
                    Piece::Interval(n, m, _) => naive.extend((n..=m).map(|n| (uuid, current, n))),
                }
            }
            text += &format!("{space}{}{space}", ",".repeat(commas));
        }
        (text, naive)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn untidy_text_means_what_the_grammar_says((text, naive) in untidy()) {
        let read: GtidSet = text.parse().unwrap();
        prop_assert_eq!(read.to_string(), printed(&naive));
        prop_assert_eq!(read, build(&naive));
    }

    #[test]
    fn printing_is_normal_and_reads_back(naive in naive()) {
        let a = build(&naive);
        prop_assert_eq!(a.to_string(), printed(&naive));
        prop_assert_eq!(a.compact().to_string(), printed(&naive).replace('\n', ""));
        prop_assert_eq!(&a.to_string().parse::<GtidSet>().unwrap(), &a);
        prop_assert_eq!(&a.compact().to_string().parse::<GtidSet>().unwrap(), &a);
        let json = serde_json::to_string(&a).unwrap();
        prop_assert_eq!(&serde_json::from_str::<GtidSet>(&json).unwrap(), &a);
    }

    #[test]
    fn operations_agree_with_those_on_single_transactions((x, y) in pair()) {
        let (a, b) = (build(&x), build(&y));
        prop_assert_eq!(a.union(&b), build(&(&x | &y)));
        prop_assert_eq!(a.subtract(&b), build(&(&x - &y)));
        prop_assert_eq!(a.intersect(&b), build(&(&x & &y)));
        prop_assert_eq!(a.is_superset_of(&b), x.is_superset(&y));
        prop_assert_eq!(a.is_subset_of(&b), x.is_subset(&y));
        prop_assert_eq!(a == b, x == y);

        let mut both = a.clone();
        both.union_with(&b);
        prop_assert_eq!(both, a.union(&b));
        // Normal form, told by the text: every result prints as its transactions do.
        prop_assert_eq!(a.union(&b).to_string(), printed(&(&x | &y)));
        prop_assert_eq!(a.subtract(&b).to_string(), printed(&(&x - &y)));
        prop_assert_eq!(a.intersect(&b).to_string(), printed(&(&x & &y)));
    }

    #[test]
    fn laws_that_promotion_leans_on((x, y) in pair(), z in naive()) {
        let (a, b, c) = (build(&x), build(&y), build(&z));
        // GTID_SUBTRACT(a, b) = '' says the same as GTID_SUBSET(a, b).
        prop_assert_eq!(a.subtract(&b).is_empty(), a.is_subset_of(&b));
        prop_assert_eq!(a.subtract(&b).union(&a.intersect(&b)), a.clone());
        prop_assert_eq!(a.subtract(&b).count() + b.count(), a.union(&b).count());
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.union(&b).union(&c), a.union(&b.union(&c)));
        prop_assert_eq!(a.subtract(&b).subtract(&c), a.subtract(&b.union(&c)));
        prop_assert!(a.union(&b).is_superset_of(&a) && a.is_superset_of(&a.intersect(&b)));
    }

    #[test]
    fn questions_agree_with_those_on_single_transactions(x in naive(), (u, t, n) in one()) {
        let a = build(&x);
        let asked = Gtid::new(u, t, n).unwrap();
        prop_assert_eq!(a.contains(&asked), x.contains(&(u, t, n)));
        prop_assert_eq!(a.count(), x.len() as u128);
        prop_assert_eq!(a.is_empty(), x.is_empty());
        let uuids: BTreeSet<Uuid> = x.iter().map(|one| one.0).collect();
        prop_assert_eq!(a.uuids().collect::<Vec<_>>(), Vec::from_iter(uuids));
        let free = (1..).find(|&n| !x.contains(&(u, t, n))).unwrap();
        prop_assert_eq!(a.next_free(u, t), Some(Gtid::new(u, t, free).unwrap()));

        let of_u = |one: &One| one.0 == u;
        prop_assert_eq!(a.only(&u), build(&x.iter().copied().filter(of_u).collect()));
        let others = x.iter().copied().filter(|one| !of_u(one)).collect();
        prop_assert_eq!(a.without(&BTreeSet::from([u])), build(&others));

        let (mut grown, mut expected) = (a, x);
        prop_assert_eq!(grown.insert(asked), expected.insert((u, t, n)));
        prop_assert_eq!(grown.to_string(), printed(&expected));
    }

    #[test]
    fn one_gtid_reads_back((u, t, n) in one()) {
        let a = Gtid::new(u, t, n).unwrap();
        prop_assert_eq!((a.uuid(), a.tag(), a.n()), (u, t, n));
        prop_assert_eq!(a.to_string().parse::<Gtid>().unwrap(), a);
        prop_assert_eq!(a.to_string().parse::<GtidSet>().unwrap(), GtidSet::from(a));
        prop_assert_eq!(u.cmp(&uuid("V")), u.to_string().cmp(&V.to_owned()));
        prop_assert_eq!(t.cmp(&tag("a")), t.as_str().cmp("a"));
    }

    /// Damage to a good text: it is read or refused, at a place inside it, and never panics.
    #[test]
    fn damaged_text_never_panics((text, _) in untidy(), at: prop::sample::Index, with in "[-:,0-9a{} é]{0,3}", cut in 0..3_usize) {
        let chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len() + 1);
        let rest = chars.get(at + cut..).unwrap_or_default();
        let text: String = chars[..at].iter().copied().chain(with.chars()).chain(rest.iter().copied()).collect();
        match text.parse::<GtidSet>() {
            Ok(a) => prop_assert_eq!(a.to_string().parse::<GtidSet>().unwrap(), a),
            Err(GtidError::Malformed { offset, .. }) => prop_assert!(text.is_char_boundary(offset)),
            Err(error) => prop_assert!(false, "{}", error),
        }
        let _ = (text.parse::<Gtid>(), text.parse::<Uuid>(), text.parse::<Tag>());
    }
}
