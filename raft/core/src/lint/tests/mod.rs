//! A table for each rule: the good value, each bad one, what was found and its mend.

mod carried;
mod change;
mod server;
mod settings;
mod survival;
mod topology;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::policy::Survive;
use crate::testing::{instance, registration, uuid};

/// What one instance of a healthy cluster that was adopted says of itself; `p` is its primary.
fn good(letter: &str) -> Facts {
    let on = [
        "enforce_gtid_consistency",
        "gtid_mode",
        "log_bin",
        "log_replica_updates",
        "replica_preserve_commit_order",
        "rpl_semi_sync_source_wait_no_replica",
        "skip_replica_start",
        "super_read_only",
        "create_admin_listener_thread",
    ];
    let other = [
        ("admin_address", "127.0.0.1"),
        ("binlog_error_action", "ABORT_SERVER"),
        ("innodb_flush_log_at_trx_commit", "1"),
        ("relay_log_recovery", "OFF"),
        ("replica_net_timeout", "30"),
        ("rpl_semi_sync_replica_enabled", "OFF"),
        ("rpl_semi_sync_source_enabled", "OFF"),
        ("rpl_semi_sync_source_timeout", "4294967295"),
        ("rpl_semi_sync_source_wait_for_replica_count", "1"),
        ("rpl_semi_sync_source_wait_point", "AFTER_SYNC"),
        ("sync_binlog", "1"),
        ("sync_relay_log", "1"),
    ];
    let variables: BTreeMap<String, String> = on
        .iter()
        .map(|name| ((*name).to_owned(), "ON".to_owned()))
        .chain(
            other
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned())),
        )
        .collect();
    let mut options = variables.clone();
    options.insert("persisted_globals_load".into(), "OFF".into());
    options.insert("log_bin".into(), "binlog".into());
    options.insert("event_scheduler".into(), "OFF".into());
    let mut variables = variables;
    variables.insert("server_id".into(), letter.as_bytes()[0].to_string());
    let account = |user: &str, host: &str, privileges: &[&str]| Account {
        user: user.into(),
        host: host.into(),
        privileges: privileges.iter().map(|p| (*p).to_owned()).collect(),
        ..Account::default()
    };
    let all = ["SUPER", "REPLICATION SLAVE", "CONNECTION_ADMIN"];
    Facts {
        server_uuid: Some(uuid(letter)),
        enrolled_uuid: Some(uuid(letter)),
        version: "9.7.4".into(),
        version_comment: "MySQL Community Server - GPL".into(),
        variables,
        boot: Some(Ok(Boot {
            file: "/etc/my.cnf".into(),
            options,
        })),
        plugins: REPORTED_PLUGINS
            .iter()
            .map(|name| ((*name).to_owned(), "ACTIVE".to_owned()))
            .collect(),
        channels: if letter == "p" {
            Vec::new()
        } else {
            vec![Channel {
                host: "p.example".into(),
                port: 3306,
                source_uuid: Some(uuid("p")),
                receives: true,
                heartbeat_ms: 500,
                auto_position: true,
                ..Channel::default()
            }]
        },
        accounts: Some(Ok(vec![
            account("root", "localhost", &all),
            account("mysql.session", "localhost", &["SUPER"]),
            account("agent", "localhost", &all),
            account("repl", "%", &["REPLICATION SLAVE", "CONNECTION_ADMIN"]),
            account("app", "%", &["PROCESS"]),
        ])),
        agent_account: "'agent'@'localhost'".into(),
        agent_grants: vec![
            "GRANT RELOAD, REPLICATION CLIENT, REPLICATION SLAVE, EVENT ON *.* TO `agent`@`localhost`".into(),
            "GRANT CONNECTION_ADMIN,REPLICATION_SLAVE_ADMIN,SERVICE_CONNECTION_ADMIN,SYSTEM_USER,\
             SYSTEM_VARIABLES_ADMIN,SET_ANY_DEFINER,XA_RECOVER_ADMIN ON *.* TO `agent`@`localhost`"
                .into(),
            "GRANT SELECT ON `performance_schema`.* TO `agent`@`localhost`".into(),
            "GRANT ALL PRIVILEGES ON `primacy`.* TO `agent`@`localhost`".into(),
        ],
        replication_user: "repl".into(),
        ..Facts::default()
    }
}

struct Case {
    registration: Registration,
    evidence: BTreeMap<InstanceId, Evidence>,
}

/// Primary `p`, replicas `a` and `b`, k = 1.
fn healthy() -> Case {
    let mut registration = registration("pab", 1);
    registration.founding = Founding::Adopted;
    let evidence = ["p", "a", "b"]
        .iter()
        .map(|letter| {
            let told = Evidence {
                agent: AgentWord::Told(Box::new(good(letter))),
                address: AddressWord::Answers(uuid(letter)),
            };
            (instance(letter), told)
        })
        .collect();
    Case {
        registration,
        evidence,
    }
}

impl Case {
    fn facts(&mut self, letter: &str) -> &mut Facts {
        let Some(Evidence {
            agent: AgentWord::Told(facts),
            ..
        }) = self.evidence.get_mut(&instance(letter))
        else {
            panic!("{letter} told something");
        };
        facts
    }

    fn boot(&mut self, letter: &str) -> &mut Boot {
        match &mut self.facts(letter).boot {
            Some(Ok(boot)) => boot,
            other => panic!("{letter} has a configuration, not {other:?}"),
        }
    }

    fn report(&self) -> Report {
        lint(&Subject::registration(&self.registration), &self.evidence)
    }
}

#[test]
fn a_healthy_cluster_has_no_findings() {
    let report = healthy().report();
    assert_eq!(report.findings, []);
    assert!(report.ready());
}

/// Each bad value yields this one rule on `a`, what was found, and its mend.
fn breaks(rule: Rule, found: &str, mend: &str, change: impl FnOnce(&mut Case)) {
    let mut case = healthy();
    change(&mut case);
    let report = case.report();
    let rules: BTreeSet<&str> = report.findings.iter().map(|f| f.rule.as_str()).collect();
    assert_eq!(
        rules,
        BTreeSet::from([rule.name()]),
        "{:#?}",
        report.findings
    );
    let finding = &report.findings[0];
    assert!(finding.found.contains(found), "{rule}: {}", finding.found);
    assert!(finding.mend.contains(mend), "{rule}: {}", finding.mend);
    assert!(!finding.breaks.is_empty());
    assert_eq!(report.ready(), rule.severity() == Severity::Warning);

    // Given up by name it no longer stands in the way, where it may be.
    case.registration.policy.gives_up.insert(rule.name().into());
    let may = rule.may_be_given_up() || rule.severity() == Severity::Warning;
    assert_eq!(case.report().ready(), may, "{rule}");
    assert_eq!(
        case.registration.policy.contradictions().is_empty(),
        rule.may_be_given_up(),
        "{rule}"
    );
}

fn variable(rule: Rule, name: &str, value: &str, mend: &str) {
    breaks(rule, &format!("{name}={value}"), mend, |case| {
        case.facts("a").variables.insert(name.into(), value.into());
    });
}

/// What a registration waits for, and what it does not.
#[test]
fn what_is_starting_may_pass() {
    let may_pass = |change: &dyn Fn(&mut Case)| {
        let mut case = healthy();
        change(&mut case);
        let findings = case.report().findings;
        assert_eq!(findings.len(), 1);
        findings[0].may_pass()
    };
    assert!(may_pass(&|case| {
        case.evidence.remove(&instance("a"));
    }));
    assert!(!may_pass(&|case| {
        case.facts("a").plugins.remove("clone");
    }));
    let passing: Vec<&Rule> = Rule::ALL.iter().filter(|rule| rule.may_pass()).collect();
    assert_eq!(passing, [&Rule::Agent, &Rule::Server]);
}

/// Each names the rule, the instance if there is one, what was found, and its mend.
#[test]
fn a_finding_is_one_sentence() {
    let mut case = healthy();
    case.facts("a").plugins.remove("clone");
    let said = case.report().findings[0].to_string();
    assert!(
        said.starts_with("clone_plugin on a: not active: clone"),
        "{said}"
    );
    assert!(
        said.ends_with("; mend: INSTALL PLUGIN clone SONAME 'mysql_clone.so'"),
        "{said}"
    );
}

#[test]
fn a_subject_is_what_is_to_be_registered() {
    let case = healthy();
    let subject = Subject::registration(&case.registration);
    assert_eq!(subject.cluster(), &case.registration.cluster);
    assert_eq!(subject.instances(), &case.registration.instances);
    assert!(subject.may_be_open(&instance("p")));
    assert!(!subject.may_be_open(&instance("a")));
}

#[test]
fn names_are_stable_and_all_different() {
    let names: BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
    assert_eq!(names.len(), Rule::ALL.len());
    for rule in Rule::ALL {
        assert_eq!(Rule::named(rule.name()), Some(*rule));
        assert_eq!(rule.to_string(), rule.name());
    }
    assert_eq!(Rule::named("gtid_mood"), None);
    let policy = Policy {
        gives_up: BTreeSet::from(["gtid_mood".to_owned(), "gtid_mode".to_owned()]),
        ..Policy::default()
    };
    let found: Vec<_> = policy
        .contradictions()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(found.len(), 2);
    assert!(found[0].starts_with("gives_up = gtid_mode: cannot be given up"));
    assert!(found[1].starts_with("gives_up = gtid_mood: is no rule; those are: address"));
}

proptest! {
    /// Whatever an agent says, the lint answers, and an absent fact never makes a cluster ready.
    #[test]
    fn less_known_is_never_more_ready(
        lose in proptest::collection::btree_set(0usize..26, 1..6),
        uuid_known in any::<bool>(),
    ) {
        let mut case = healthy();
        let names: Vec<String> = case.facts("a").variables.keys().cloned().collect();
        let needed: Vec<&String> = names
            .iter()
            .filter(|name| !matches!(
                name.as_str(),
                // Judged at the next start, or set by order.
                "rpl_semi_sync_replica_enabled" | "rpl_semi_sync_source_enabled"
                    | "rpl_semi_sync_source_wait_for_replica_count"
            ))
            .collect();
        for at in &lose {
            let name = needed[at % needed.len()].clone();
            case.facts("a").variables.remove(&name);
        }
        if !uuid_known {
            case.facts("a").server_uuid = None;
        }
        prop_assert!(!case.report().ready());
    }
}
