//! The judgement as a table: of what each node holds, what this one does.

use std::collections::BTreeMap;

use primacy_core::ids::{Generation, LogIndex, NodeId, Position, Term};
use primacy_core::record::Member;

use super::judge::{Answers, Decision, EnterError, judge};
use super::word::{Answer, Extent, Holding, Marks, Word};
use super::{FoundingId, aside};

fn at(term: u64, index: u64) -> Position {
    Position {
        term: Term(term),
        index: LogIndex(index),
    }
}

fn marks(term: u64, committed: Position) -> Marks {
    Marks {
        generation: Generation(0),
        term: Term(term),
        committed,
    }
}

/// `_`: an empty folder; a small letter: that founding, not begun; a capital: it has begun; `L`: it
/// had begun before foundings had ids; `?`: no answer.
fn word(node: u64, holds: char) -> Word {
    let id = |name: char| FoundingId::named(&name.to_ascii_lowercase().to_string());
    let member = |node: u64| Member {
        address: format!("host-{node}"),
        region: "here".into(),
    };
    let holding = match holds {
        '_' => Holding::Nothing,
        'L' => Holding::Log(None),
        name if name.is_lowercase() => Holding::Founding(id(name)),
        name => Holding::Log(Some(id(name))),
    };
    let extent = match holding {
        Holding::Log(_) => Extent {
            marks: marks(3, at(3, 40)),
            end: at(3, 42),
        },
        Holding::Nothing | Holding::Founding(_) => Extent::default(),
    };
    Word {
        node: NodeId(node),
        plane: "plane".into(),
        members: (1..=3).map(|node| (NodeId(node), member(node))).collect(),
        holding,
        extent,
    }
}

fn answers(me: u64, all: &str) -> Answers {
    let others = (1..).zip(all.chars()).filter(|(node, _)| *node != me);
    let answer = |(node, holds)| {
        let answer = Answer {
            word: word(node, holds),
            kept: None,
            confirmed: None,
        };
        (NodeId(node), Ok(answer))
    };
    let heard = others.filter(|(_, holds)| *holds != '?');
    heard.map(answer).collect::<BTreeMap<_, _>>()
}

fn name(decision: &Decision) -> &'static str {
    match decision {
        Decision::Refuse(EnterError::Known { .. }) => "known",
        Decision::Refuse(EnterError::Lost { .. }) => "lost",
        Decision::Refuse(EnterError::TwoFoundings { .. }) => "two",
        Decision::Refuse(EnterError::OtherPlane { .. }) => "plane",
        Decision::Refuse(EnterError::OtherMembers { .. }) => "members",
        Decision::Refuse(_) => "refuse",
        Decision::Wait(_) => "wait",
        Decision::Keep(_) => "keep",
        Decision::Propose => "propose",
        Decision::Found => "found",
        Decision::TakePart => "part",
    }
}

/// What node `me` of three does, before and after its second is over.
fn check(me: u64, all: &str, before: &str, after: &str) {
    let holds = all.chars().nth(me as usize - 1).unwrap();
    let (me_word, answers) = (word(me, holds), answers(me, all));
    for (waited, expected) in [(false, before), (true, after)] {
        let decision = judge(&me_word, &answers, waited);
        assert_eq!(name(&decision), expected, "{me} of {all}: {decision:?}");
    }
}

#[test]
fn an_empty_folder_founds_only_where_every_member_is_known_to_be_empty() {
    check(1, "___", "propose", "propose");
    check(2, "___", "wait", "wait");
    check(1, "__?", "wait", "wait");
    check(3, "??_", "wait", "wait");
    check(2, "a__", "keep", "keep");
    check(3, "aa_", "keep", "keep");
    check(3, "a?_", "wait", "wait");
    // The lowest id has lost what it proposed: who holds one proposes that.
    check(1, "_a_", "keep", "keep");
}

#[test]
fn an_empty_folder_among_those_who_know_the_plane_is_refused() {
    for all in ["_A?", "_?A", "_AA", "_aA", "__A", "_L?"] {
        check(1, all, "known", "known");
    }
}

#[test]
fn a_founding_begins_when_it_is_durable_everywhere() {
    check(1, "aaa", "found", "found");
    check(1, "aa_", "wait", "wait");
    check(2, "?aa", "wait", "wait");
    // Others have begun: they saw that this one held it too.
    check(2, "AaA", "found", "found");
    check(2, "Aa?", "wait", "found");
}

#[test]
fn two_foundings_are_refused_by_name() {
    for all in ["ab?", "aB?", "a?b", "aL?", "AB?"] {
        check(1, all, "two", "two");
    }
    let decision = judge(&word(1, 'a'), &answers(1, "ab?"), false);
    let Decision::Refuse(error) = decision else {
        panic!("{decision:?}")
    };
    let text = error.to_string();
    let named = "node 1 holds founding a and node 2 holds founding b";
    assert!(text.starts_with(named), "{text}");
    // What has begun does not yield to what has not.
    check(1, "Abb", "part", "part");
}

#[test]
fn a_log_goes_on_after_all_have_answered_or_a_second() {
    check(1, "AAA", "part", "part");
    check(1, "LLL", "part", "part");
    check(1, "ALA", "part", "part");
    check(1, "AA?", "wait", "part");
    check(1, "A??", "wait", "part");
    check(1, "A__", "part", "part");
}

/// What the others know of it.
fn known(kept: Option<Marks>, confirmed: Option<(Term, Position)>, expected: &str) {
    let mut answers = answers(1, "AAA");
    let answer = answers.get_mut(&NodeId(2)).unwrap().as_mut().unwrap();
    (answer.kept, answer.confirmed) = (kept, confirmed);
    // Its vote is in term 3, its log ends at 3.42, of which 40 are known to be committed.
    let decision = judge(&word(1, 'A'), &answers, true);
    assert_eq!(name(&decision), expected, "{kept:?} {confirmed:?}");
}

#[test]
fn a_log_of_which_somebody_knows_more_is_lost() {
    known(Some(marks(3, at(3, 40))), None, "part");
    // Not synced itself, the committed position may be known to less here than was told.
    known(Some(marks(3, at(3, 42))), None, "part");
    known(Some(marks(3, at(3, 43))), None, "lost");
    known(Some(marks(4, at(3, 40))), None, "lost");
    // Longer, but of an older term than what was committed: it was cut, and grew anew.
    known(Some(marks(3, at(4, 41))), None, "lost");
    let generation = |generation| Marks {
        generation: Generation(generation),
        ..marks(9, at(9, 90))
    };
    known(Some(generation(1)), None, "lost");

    // Its leader knows what it has confirmed, to the entry.
    known(None, Some((Term(3), at(3, 42))), "part");
    known(None, Some((Term(3), at(3, 43))), "lost");
    known(None, Some((Term(4), at(3, 42))), "lost");
    // This one leads no more: what it saw confirmed, its successor may have cut.
    known(None, Some((Term(2), at(2, 90))), "part");
}

#[test]
fn what_was_recovered_by_hand_is_not_measured_by_what_was_before() {
    let mut me = word(1, 'A');
    me.extent.marks.generation = Generation(1);
    let mut answers = answers(1, "AAA");
    answers.get_mut(&NodeId(2)).unwrap().as_mut().unwrap().kept = Some(marks(9, at(9, 90)));
    assert_eq!(name(&judge(&me, &answers, false)), "part");
}

#[test]
fn who_has_voted_and_forgot_is_lost_also_before_the_plane_is_founded() {
    for holds in ['_', 'a'] {
        let mut answers = answers(1, "_aa");
        answers.get_mut(&NodeId(2)).unwrap().as_mut().unwrap().kept = Some(marks(1, at(0, 0)));
        let decision = judge(&word(1, holds), &answers, false);
        assert_eq!(name(&decision), "lost", "{decision:?}");
    }
}

#[test]
fn one_plane_one_list_of_members() {
    let mut answers = answers(1, "___");
    let other = &mut answers.get_mut(&NodeId(3)).unwrap().as_mut().unwrap().word;
    other.members.get_mut(&NodeId(2)).unwrap().region = "elsewhere".into();
    assert_eq!(name(&judge(&word(1, '_'), &answers, false)), "members");
    // Who has begun is bound by its log.
    assert_eq!(name(&judge(&word(1, 'A'), &answers, false)), "part");
    let other = &mut answers.get_mut(&NodeId(3)).unwrap().as_mut().unwrap().word;
    other.plane = "another".into();
    assert_eq!(name(&judge(&word(1, '_'), &answers, false)), "plane");
    let mut stranger = word(1, '_');
    stranger.node = NodeId(9);
    let decision = judge(&stranger, &answers, false);
    assert_eq!(
        decision,
        Decision::Refuse(EnterError::NotAMember(NodeId(9)))
    );
}

/// A process that ends carries nothing out any more: its disk is not to blame.
#[test]
fn what_a_process_that_ends_does_not_begin_is_no_failure_of_its_disk() {
    let ends = tokio::runtime::Runtime::new().expect("a runtime");
    let handle = ends.handle().clone();
    ends.shutdown_background();
    let _inside = handle.enter();
    let mut asks = Box::pin(aside(|| Ok(())));
    let mut polled = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in 0..200 {
        let answer = asks.as_mut().poll(&mut polled);
        assert!(answer.is_pending(), "{answer:?}");
    }
}
