//! Tables: the grammar line by line, the errors, and the operations in examples.
//! Whether they hold for every set is the matter of `properties`.

use std::collections::{BTreeMap, BTreeSet};

use super::interval::{Interval, is_normal};
use super::{Gtid, GtidError, GtidSet, NUMBER_MAX, SET_BYTES_MAX, TAG_CHARS_MAX, Tag, Uuid};

/// Stands for `U` in the tables, as `V` and `W` do for later UUIDs.
pub(super) const U: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
pub(super) const V: &str = "4350f323-7565-4e59-8763-4b1b83a0ce0e";
pub(super) const W: &str = "ffffffff-0000-0000-0000-000000000001";

fn spelled_out(text: &str) -> String {
    text.replace('U', U).replace('V', V).replace('W', W)
}

fn set(text: &str) -> GtidSet {
    let text = spelled_out(text);
    text.parse()
        .unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

pub(super) fn uuid(text: &str) -> Uuid {
    spelled_out(text).parse().expect("a UUID of the table")
}

pub(super) fn tag(text: &str) -> Tag {
    text.parse().expect("a tag of the table")
}

fn gtid(text: &str) -> Gtid {
    spelled_out(text).parse().expect("a GTID of the table")
}

/// `text` reads as the set that MySQL prints as `printed`.
#[track_caller]
fn reads(text: &str, printed: &str) {
    assert_eq!(set(text).to_string(), spelled_out(printed), "{text:?}");
}

/// `text` is refused at the place where `^` stands in it, with `expected` in the reason.
#[track_caller]
fn refused(marked: &str, expected: &str) {
    let (before, after) = marked.split_once('^').expect("a mark");
    let (before, after) = (spelled_out(before), spelled_out(after));
    match format!("{before}{after}").parse::<GtidSet>() {
        Err(GtidError::Malformed {
            offset,
            expected: reason,
            found,
        }) => {
            assert_eq!(offset, before.len(), "{marked:?}");
            assert!(reason.contains(expected), "{marked:?}: {reason}");
            assert_eq!(found == "the end", after.is_empty(), "{marked:?}: {found}");
        }
        other => panic!("{marked:?}: {other:?}"),
    }
}

#[test]
fn sets_read_as_mysql_reads_them() {
    // Nothing, white space and extra commas.
    reads("", "");
    reads(" \t\r\n\x0b\x0c", "");
    reads(",", "");
    reads(" , ,, ", "");
    reads(",U:1,,V:1,", "U:1,\nV:1");
    reads("  U:1 , V:1\n", "U:1,\nV:1");
    reads("U : 1 - 3 : tag : 2", "U:1-3:tag:2");
    reads("U:1,\nV:1", "U:1,\nV:1");

    // A UUID, or a tag, without intervals adds nothing.
    reads("U", "");
    reads("U,V:1", "V:1");
    reads("U:tag", "");
    reads("U:a:b:1", "U:b:1");

    // The forms of a UUID.
    reads("3E11FA47-71CA-11E1-9E33-C80AA9429562:1", "U:1");
    reads("3e11fa4771ca11e19e33c80aa9429562:1", "U:1");
    reads("{3E11fa47-71ca-11e1-9e33-c80aa9429562}:1", "U:1");
    reads("3e11fa4771ca11e19e33c80aa9429562", "");

    // Intervals, in any order, overlapping, touching, empty.
    reads("U:1-1", "U:1");
    reads("U:7:1-3", "U:1-3:7");
    reads("U:1-3:4-6", "U:1-6");
    reads("U:1-3:2-6", "U:1-6");
    reads("U:1-9:3-4", "U:1-9");
    reads("U:3:2:1", "U:1-3");
    reads("U:5-3", "");
    reads("U:5-3:9", "U:9");
    reads("U:5-4", "");
    reads("U:1-9223372036854775806", "U:1-9223372036854775806");
    reads("U:9223372036854775806", "U:9223372036854775806");
    reads(
        "U:9223372036854775806:9223372036854775805",
        "U:9223372036854775805-9223372036854775806",
    );

    // Tags, and the intervals that belong to them.
    reads("U:1-3:tag1:1-5:7:tag2:4", "U:1-3:tag1:1-5:7:tag2:4");
    reads("U:tag1:1-5:1-3", "U:tag1:1-5");
    reads("U:TAG_1:1:tag_1:2", "U:tag_1:1-2");
    reads("U:_:1", "U:_:1");
    reads("U:_0:1", "U:_0:1");
    reads("U:b:1:a:1:_:1:a0:1,U:9", "U:9:_:1:a:1:a0:1:b:1");
    reads(
        "U:t234567890123456789012345678901b:1",
        "U:t234567890123456789012345678901b:1",
    );

    // One UUID twice; an item starts without a tag.
    reads("V:1,U:2,V:2", "U:2,\nV:1-2");
    reads("U:tag:1,U:1", "U:1:tag:1");
    reads("W:1,V:1,U:1", "U:1,\nV:1,\nW:1");
}

#[test]
fn malformed_sets_are_refused_where_they_break() {
    // The numbers.
    refused("U:^0", "a number from 1");
    refused("U:^0-5", "a number from 1");
    refused("U:1-^0", "a number from 1");
    refused("U:1-^", "a number from 1");
    refused("U:1-^,V:1", "a number from 1");
    refused("U:1-^tag", "a number from 1");
    refused("U:1-^-3", "a number from 1");
    refused("U:^01", "without leading zeros");
    refused("U:1-^07", "without leading zeros");
    refused("U:^0x10", "without leading zeros");
    refused("U:^9223372036854775807", "to 9223372036854775806");
    refused("U:1-^9223372036854775807", "to 9223372036854775806");
    refused("U:^18446744073709551617", "to 9223372036854775806");
    refused(
        "U:^99999999999999999999999999999999999999999",
        "to 9223372036854775806",
    );
    refused("U:^+1", "a transaction number or a tag");
    refused("U:^-1", "a transaction number or a tag");
    refused("U:1-3^-5", "':'");
    refused("U:1^.5", "':'");
    refused("U:1 ^2", "':'");
    refused("U:1^abc", "':'");

    // The colons.
    refused("U:^", "a transaction number or a tag");
    refused("U: ^", "a transaction number or a tag");
    refused("U:^,", "a transaction number or a tag");
    refused("U:^:1", "a transaction number or a tag");
    refused("U:1:^", "a transaction number or a tag");
    refused("U:tag:^", "a transaction number or a tag");
    refused("U:tag:1:^", "a transaction number or a tag");
    refused("U:1^;", "':'");
    refused("U^-1", "':'");

    // The tags.
    refused("U:^t2345678901234567890123456789012c", "at most 32");
    refused("U:^t2345678901234567890123456789012c:1", "at most 32");
    refused("U:tag^-x:1", "':'");
    refused("U:tag^.:1", "':'");
    refused("U:^é:1", "a transaction number or a tag");
    refused("U:tag^é:1", "':'");
}

#[test]
fn malformed_uuids_are_refused() {
    refused("^x", "a UUID");
    refused("^1-3", "a UUID");
    refused("^:1", "a UUID");
    refused("^+U:1", "a UUID");
    refused("U:1,^tag:1", "a UUID");
    refused("U:1,,^é", "a UUID");
    refused("U:1, ^0-1-5", "a UUID");
    refused("^3e11fa47-71ca-11e1-9e33-c80aa942956:1", "a UUID");
    refused("3e11fa47-71ca-11e1-9e33-c80aa9429562^0:1", "':'");
    refused("^3e11fa4771ca11e19e33c80aa942956:1", "a UUID");
    refused("3e11fa4771ca11e19e33c80aa9429562^0:1", "':'");
    refused("^3e11fa47-71ca11e1-9e33-c80aa9429562:1", "a UUID");
    refused("^3e11fa477-1ca-11e1-9e33-c80aa9429562:1", "a UUID");
    refused("^3e11fa47 -71ca-11e1-9e33-c80aa9429562:1", "a UUID");
    refused("^ge11fa47-71ca-11e1-9e33-c80aa9429562:1", "a UUID");
    refused("^{U:1", "a UUID");
    refused("U^}:1", "':'");
    refused("^{3e11fa4771ca11e19e33c80aa9429562}:1", "a UUID");
    refused("^ANONYMOUS", "a UUID");
    refused("^0-1-5", "a UUID"); // MariaDB
    refused("U:1 ^V:1", "':'");
}

#[test]
fn errors_name_the_place_the_text_and_the_wish() {
    let error = "3e11fa4771ca11e19e33c80aa9429562:1-x, and more"
        .parse::<GtidSet>()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "malformed GTID text at byte 35: expected a number from 1 to 9223372036854775806 without \
         leading zeros, found \"x, and more\""
    );
    let error = "é".repeat(50).parse::<GtidSet>().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "malformed GTID text at byte 0: expected a UUID (36 characters, those in braces, or 32 \
             hex digits), found \"{}\"…",
            "é".repeat(40)
        )
    );
    let error = spelled_out("U:").parse::<GtidSet>().unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("a transaction number or a tag, found the end"),
        "{error}"
    );

    // The maximum is spelled out in the text; it must follow the constant.
    assert!(super::parse::NUMBER_EXPECTED.contains(&NUMBER_MAX.to_string()));
}

#[test]
fn the_length_of_a_set_is_bounded() {
    assert_eq!(" ".repeat(SET_BYTES_MAX).parse(), Ok(GtidSet::EMPTY));
    assert_eq!(
        " ".repeat(SET_BYTES_MAX + 1).parse::<GtidSet>(),
        Err(GtidError::TooLong {
            bytes: SET_BYTES_MAX + 1
        })
    );
}

#[test]
fn a_set_too_long_to_read_is_not_written() {
    // Twenty bytes a number, its nineteen digits and the colon; and no two of them touch.
    let number = |index: usize| 1_000_000_000_000_000_000 + 2 * index as u64;
    let fits = (SET_BYTES_MAX - U.len()) / 20;
    let mut text = U.to_owned();
    (0..fits).for_each(|index| text += &format!(":{}", number(index)));

    let mut many = set(&text);
    assert_eq!(
        serde_json::to_string(&many).expect("fits"),
        format!("\"{text}\"")
    );
    many.insert(Gtid::new(uuid("U"), Tag::NONE, number(fits)).unwrap());
    let error = serde_json::to_string(&many).unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}

#[test]
fn uuids_tags_and_gtids_read_alone() {
    for text in [
        U,
        "3E11FA4771CA11E19E33C80AA9429562",
        "{3e11fa47-71ca-11e1-9e33-c80aa9429562}",
    ] {
        assert_eq!(text.parse::<Uuid>().unwrap().to_string(), U);
    }
    for text in [
        "",
        " ",
        "3e11fa47",
        &format!(" {U}"),
        &format!("{U} "),
        &format!("{U}:1"),
    ] {
        text.parse::<Uuid>().expect_err(text);
    }
    assert_eq!(uuid("U").as_bytes()[..4], [0x3e, 0x11, 0xfa, 0x47]);
    assert_eq!(Uuid::from_bytes(*uuid("U").as_bytes()), uuid("U"));
    assert_eq!(
        format!("{:<38}|{:?}", uuid("U"), uuid("U")),
        format!("{U}  |Uuid({U})")
    );

    assert_eq!(tag(""), Tag::NONE);
    assert!(Tag::default().is_none() && !tag("a").is_none());
    assert_eq!(tag("_Tag_9").as_str(), "_tag_9");
    assert_eq!(
        tag(&"a".repeat(TAG_CHARS_MAX)).as_str().len(),
        TAG_CHARS_MAX
    );
    for text in [
        " ",
        "9a",
        "a-b",
        "a b",
        " a",
        "a ",
        "é",
        &"a".repeat(TAG_CHARS_MAX + 1),
    ] {
        text.parse::<Tag>().expect_err(text);
    }
    let sorted = ["", "_", "_0", "_a", "a", "a0", "a_", "aa", "b"].map(tag);
    assert!(sorted.is_sorted(), "{sorted:?}");

    for (text, printed) in [("U:5", "U:5"), (" U : Tag : 5 ", "U:tag:5")] {
        assert_eq!(gtid(text).to_string(), spelled_out(printed));
    }
    for text in [
        "U", "U:", "U:0", "U:1-2", "U:1,", "U:tag", "U:a:b:1", "U:1:2", "", "U:tag:", "1",
    ] {
        spelled_out(text).parse::<Gtid>().expect_err(text);
    }
    assert_eq!(
        Gtid::new(uuid("U"), Tag::NONE, NUMBER_MAX).unwrap().n(),
        NUMBER_MAX
    );
    for n in [0, NUMBER_MAX + 1, u64::MAX] {
        let error = Gtid::new(uuid("U"), Tag::NONE, n).unwrap_err();
        assert!(
            error.to_string().contains(&format!("found \"{n}\"")),
            "{error}"
        );
    }
}

#[test]
fn serde_writes_text_on_one_line() {
    let a = set("V:1-3:tag:5,U:7");
    let json = serde_json::to_string(&a).unwrap();
    assert_eq!(json, format!("\"{U}:7,{V}:1-3:tag:5\""));
    assert_eq!(serde_json::from_str::<GtidSet>(&json).unwrap(), a);
    assert_eq!(serde_json::to_string(&GtidSet::EMPTY).unwrap(), "\"\"");

    let error = serde_json::from_str::<GtidSet>("\"x\"").unwrap_err();
    assert!(
        error.to_string().contains("at byte 0: expected a UUID"),
        "{error}"
    );
    let error = serde_json::from_str::<GtidSet>("7").unwrap_err();
    assert!(error.to_string().contains("expected a GTID set"), "{error}");

    // As keys of maps, too, and through a reader, which cannot lend its text.
    let map = BTreeMap::from([(uuid("U"), (tag("a"), gtid("U:b:1"), a.clone()))]);
    let json = serde_json::to_string(&map).unwrap();
    let back: BTreeMap<Uuid, (Tag, Gtid, GtidSet)> =
        serde_json::from_reader(json.as_bytes()).unwrap();
    assert_eq!(back, map);
}

#[test]
fn subsets_and_differences_in_examples() {
    #[track_caller]
    fn check(left: &str, right: &str, minus: &str, both: &str) {
        let (l, r) = (set(left), set(right));
        assert_eq!(l.subtract(&r), set(minus), "{left} minus {right}");
        assert_eq!(l.intersect(&r), set(both), "{left} and {right}");
        assert_eq!(l.is_subset_of(&r), minus.is_empty(), "{left} in {right}");
        assert_eq!(
            r.is_superset_of(&l),
            minus.is_empty(),
            "{right} over {left}"
        );
    }
    check("", "", "", "");
    check("", "U:1", "", "");
    check("U:1", "", "U:1", "");
    check("U:1-3", "U:1-3", "", "U:1-3");
    check("U:1-3", "U:1-5", "", "U:1-3");
    check("U:1-5", "U:1-3", "U:4-5", "U:1-3");
    check("U:1-5", "U:2-3", "U:1:4-5", "U:2-3");
    check("U:1-5", "U:2:4", "U:1:3:5", "U:2:4");
    check("U:1-3:7-9", "U:3-7", "U:1-2:8-9", "U:3:7");
    check("U:2:5:8", "U:1-9", "", "U:2:5:8");
    // A gap: the highest number says nothing.
    check("U:1-9", "U:1-4:6-10", "U:5", "U:1-4:6-9");
    // A tag is another numbering, even of the same UUID.
    check("U:1-3", "U:tag:1-3", "U:1-3", "");
    check("U:tag:1-3", "U:1-3", "U:tag:1-3", "");
    check("U:1-3:a:1-3", "U:2:a:2-9,V:1", "U:1:3:a:1", "U:2:a:2-3");
    check("U:1,V:1-9", "V:2-8,W:1", "U:1,V:1:9", "V:2-8");
    check(
        "U:1-9223372036854775806",
        "U:9223372036854775806",
        "U:1-9223372036854775805",
        "U:9223372036854775806",
    );
}

/// The assertions lean on this check, so it must itself tell normal from not.
#[test]
fn the_check_of_normal_form_refuses_what_is_not() {
    let check = |ends: &[(u64, u64)]| {
        is_normal(
            &ends
                .iter()
                .map(|&(first, last)| Interval::new(first, last))
                .collect::<Vec<_>>(),
        )
    };
    assert!(check(&[(1, 1)]) && check(&[(1, 3), (5, 5)]));
    assert!(!check(&[]), "empty");
    assert!(!check(&[(1, 3), (4, 5)]), "touching");
    assert!(!check(&[(1, 3), (3, 5)]), "overlapping");
    assert!(!check(&[(5, 6), (1, 3)]), "descending");
}

#[test]
fn parts_counts_and_free_numbers_in_examples() {
    let a = set("U:1-3:5:tag:1-2,V:2-4,W:x:1");
    assert_eq!(a.count(), 10);
    assert_eq!(a.uuids().collect::<Vec<_>>(), [U, V, W].map(uuid));
    assert_eq!(a.only(&uuid("U")), set("U:1-3:5:tag:1-2"));
    assert_eq!(set("U:1").only(&uuid("V")), GtidSet::EMPTY);
    assert_eq!(a.without(&BTreeSet::from([U, W].map(uuid))), set("V:2-4"));
    assert_eq!(a.without(&BTreeSet::new()), a);
    assert_eq!(
        a.compact().to_string(),
        spelled_out("U:1-3:5:tag:1-2,V:2-4,W:x:1")
    );
    assert_eq!(
        format!("{:?}", set("V:1,U:1")),
        spelled_out("GtidSet(U:1,V:1)")
    );

    let free = |u: &str, t: &str| a.next_free(uuid(u), tag(t)).map(|g| g.to_string());
    assert_eq!(free("U", ""), Some(spelled_out("U:4")));
    assert_eq!(free("U", "tag"), Some(spelled_out("U:tag:3")));
    assert_eq!(free("U", "other"), Some(spelled_out("U:other:1")));
    assert_eq!(free("V", ""), Some(spelled_out("V:1")));
    assert_eq!(free("W", ""), Some(spelled_out("W:1")));

    let full = set("U:1-9223372036854775806:t:1-9223372036854775806");
    assert_eq!(full.count(), 2 * u128::from(NUMBER_MAX));
    assert_eq!(full.next_free(uuid("U"), Tag::NONE), None);

    assert_eq!(format!("{:?}", tag("t")), "Tag(t)");
    assert_eq!(Uuid::of_connection(7).connection(), Some(7));
    assert_eq!(uuid("U").connection(), None, "a server's");
    assert_eq!(GtidSet::from(gtid("U:t:3")), set("U:t:3"));
    assert!(GtidSet::default().is_empty() && set("U:2-1").is_empty() && !set("U:1").is_empty());
}
