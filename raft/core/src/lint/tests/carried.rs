//! Scheduled events and prepared branches.

use super::*;

#[test]
fn an_agent_may_enable_events_and_see_branches() {
    for (rule, privilege, without) in [
        (Rule::ScheduledEvents, "EVENT", "scheduled events disabled"),
        (
            Rule::ScheduledEvents,
            "SET_ANY_DEFINER",
            "scheduled events disabled",
        ),
        (
            Rule::PreparedBranches,
            "XA_RECOVER_ADMIN",
            "does not see prepared branches",
        ),
        (Rule::OwnWrites, "REPLICATION SLAVE", "are harmless"),
    ] {
        let mend = format!("GRANT {privilege} ON *.* TO 'agent'@'localhost'");
        breaks(rule, without, &mend, |case| {
            for line in &mut case.facts("a").agent_grants {
                *line = line
                    .replace(&format!(",{privilege}"), "")
                    .replace(&format!(", {privilege}"), "");
            }
        });
    }
}

#[test]
fn a_server_that_boots_closed_boots_with_its_scheduler_off() {
    for written in [Some("ON"), Some("1"), None] {
        let found = format!("event_scheduler={}", written.unwrap_or("ON"));
        breaks(
            Rule::ScheduledEvents,
            &found,
            "event_scheduler=OFF in /etc/my.cnf",
            |case| {
                let options = &mut case.boot("a").options;
                options.remove("event_scheduler");
                options.extend(written.map(|word| ("event_scheduler".into(), word.into())));
            },
        );
    }
    let mut case = healthy();
    let options = &mut case.boot("a").options;
    options.insert("event_scheduler".into(), "disabled".into());
    assert_eq!(case.report().findings, []);
}

/// Replicas hold the same events: said once.
#[test]
fn what_cannot_be_carried_over_is_named_on_the_primary() {
    let event = |name: &str, once, definer_exists| ScheduledEvent {
        name: name.into(),
        once,
        definer_exists,
    };
    let carried = event("app.tick", false, true);
    let tables = [
        (
            event("app.once", true, true),
            "ON SCHEDULE AT",
            "ON SCHEDULE EVERY",
        ),
        (
            event("app.orphan", false, false),
            "does not exist",
            "create the account",
        ),
    ];
    for (bad, found, mend) in tables {
        let name = bad.name.clone();
        let change = |case: &mut Case| {
            for letter in ["p", "a", "b"] {
                case.facts(letter).events = vec![carried.clone(), bad.clone()];
            }
        };
        breaks(Rule::ScheduledEvents, found, mend, change);
        let mut case = healthy();
        change(&mut case);
        let findings = case.report().findings;
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].instance, Some(instance("p")));
        assert!(findings[0].found.ends_with(&format!("such are {name}")));
    }
}

/// A thousand of them do not make a sentence of a thousand names.
#[test]
fn eight_are_named_and_the_others_counted() {
    for (events, ends) in [(8, "e7, e8"), (9, "e7, e8, 1 more"), (11, "e8, 3 more")] {
        let mut case = healthy();
        case.facts("p").events = (1..=events)
            .map(|at| ScheduledEvent {
                name: format!("e{at}"),
                once: true,
                definer_exists: true,
            })
            .collect();
        let found = &case.report().findings[0].found;
        assert!(found.ends_with(ends), "{found}");
    }
}
