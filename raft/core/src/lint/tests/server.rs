//! Which server it is, its version, its plugins, what can stop it, its agent.

use super::*;

#[test]
fn the_server_and_what_can_stop_it() {
    breaks(Rule::MariaDb, "MariaDB", "use MySQL", |case| {
        case.facts("a").version = "11.8.3-MariaDB".into();
    });
    for version in ["8.4.6", "26.7.0", "26.7.0-cloud", "9.6.0"] {
        let mut case = healthy();
        for letter in ["p", "a", "b"] {
            case.facts(letter).version = version.into();
        }
        let report = case.report();
        assert_eq!(report.findings.len(), 3, "{version}: {:?}", report.findings);
        assert!(report.findings.iter().all(|f| f.rule == "version_tested"));
        case.registration
            .policy
            .gives_up
            .insert("version_tested".into());
        assert!(case.report().ready());
    }
    breaks(Rule::VersionTested, "Percona", "use MySQL 9.7", |case| {
        case.facts("a").version_comment = "Percona Server (GPL)".into();
    });
    breaks(
        Rule::VersionTested,
        "not understood",
        "use MySQL 9.7",
        |case| {
            case.facts("a").version = "next".into();
        },
    );
    breaks(
        Rule::SemiSyncPlugins,
        "rpl_semi_sync_replica",
        "INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'",
        |case| {
            case.facts("a").plugins.remove("rpl_semi_sync_replica");
        },
    );
    breaks(
        Rule::SemiSyncPlugins,
        "rpl_semi_sync_source",
        "semisync_source.so",
        |case| {
            case.facts("a")
                .plugins
                .insert("rpl_semi_sync_source".into(), "DISABLED".into());
        },
    );
    breaks(Rule::ClonePlugin, "clone", "INSTALL PLUGIN clone", |case| {
        case.facts("a").plugins.remove("clone");
    });
    breaks(
        Rule::BinlogFilters,
        "binlog_ignore_db=app",
        "binlog_ignore_db",
        |case| {
            case.facts("a")
                .binlog_filters
                .push("binlog_ignore_db=app".into());
        },
    );
    breaks(
        Rule::ReplicationFilters,
        "REPLICATE_IGNORE_DB",
        "REPLICATE_IGNORE_DB=()",
        |case| {
            case.facts("a")
                .filters
                .push("REPLICATE_IGNORE_DB app".into());
        },
    );
}

/// A filter takes nothing from who neither acknowledges nor may be primary.
#[test]
fn who_takes_part_replicates_everything() {
    for (acker, never, barred) in [
        (true, true, true),
        (false, false, true),
        (true, false, true),
        (false, true, false),
    ] {
        let mut case = healthy();
        let ackers: &[&str] = if acker { &["a", "b"] } else { &["b"] };
        case.registration.ackers = ackers.iter().map(|id| instance(id)).collect();
        if never {
            let spec = case.registration.instances.get_mut(&instance("a"));
            spec.expect("an instance").promotion = PromotionRule::Never;
        }
        case.facts("a")
            .filters
            .push("REPLICATE_IGNORE_DB app".into());
        let found = case.report().findings;
        let said = found.iter().any(|f| f.rule == "replication_filters");
        assert_eq!(said, barred, "acker {acker}, never {never}: {found:?}");
    }
}

/// Without the plugins there are no settings of theirs: said once, not once a setting.
#[test]
fn missing_plugins_are_one_finding() {
    for plugin in ["rpl_semi_sync_source", "rpl_semi_sync_replica"] {
        breaks(Rule::SemiSyncPlugins, plugin, "INSTALL PLUGIN", |case| {
            let facts = case.facts("a");
            facts.plugins.remove(plugin);
            facts
                .variables
                .retain(|name, _| !name.starts_with("rpl_semi_sync"));
        });
    }
}

#[test]
fn a_newer_server_is_no_candidate() {
    let mut case = healthy();
    case.facts("a").version = "26.7.0".into();
    case.registration
        .policy
        .gives_up
        .insert("version_tested".into());
    let report = case.report();
    assert!(!report.ready());
    let order = report.findings.iter().find(|f| f.rule == "version_order");
    let order = order.expect("9.7 is older than 26.7, as text it is not");
    assert_eq!(order.instance, Some(instance("a")));
    assert!(order.mend.contains("promotion never"));
    let spec = case.registration.instances.get_mut(&instance("a"));
    spec.expect("an instance").promotion = PromotionRule::Never;
    assert!(case.report().ready());
}

#[test]
fn the_process_manager_never_terminates_gently() {
    let managed = |mode: &str, signal: &str, main: bool| {
        let mut case = healthy();
        case.facts("a").manager = Some(Manager {
            unit: "mysqld.service".into(),
            kill: Ok((mode.into(), signal.into())),
            mysqld_is_main: main,
        });
        case.report().findings.pop().map(|finding| finding.mend)
    };
    // The agent's own unit: what it leaves running is not signalled.
    assert_eq!(managed("process", "SIGTERM", false), None);
    assert_eq!(managed("mixed", "SIGTERM", false), None);
    let mend = managed("control-group", "SIGTERM", false).expect("it reaches mysqld");
    assert!(mend.contains("KillMode=process"));
    // A unit whose main process is mysqld.
    assert_eq!(managed("control-group", "SIGKILL", true), None);
    for mode in ["process", "mixed", "control-group"] {
        let mend = managed(mode, "SIGTERM", true).expect("it reaches mysqld");
        assert!(mend.contains("KillSignal=SIGKILL"));
    }
    breaks(Rule::KillSignal, "no systemctl", "systemctl show", |case| {
        case.facts("a").manager = Some(Manager {
            unit: "primacy-agent.service".into(),
            kill: Err("no systemctl".into()),
            mysqld_is_main: false,
        });
    });
}

#[test]
fn identity() {
    breaks(
        Rule::Address,
        "at a.example:3306 answers",
        "register the address",
        |case| {
            let evidence = case.evidence.get_mut(&instance("a")).expect("an instance");
            evidence.address = AddressWord::Answers(uuid("z"));
        },
    );
    breaks(Rule::Address, "Access denied", "[probe]", |case| {
        let evidence = case.evidence.get_mut(&instance("a")).expect("an instance");
        evidence.address = AddressWord::Fails("Access denied".into());
    });
    let renewed = |case: &mut Case| {
        case.facts("a").server_uuid = Some(uuid("z"));
        let evidence = case.evidence.get_mut(&instance("a")).expect("an instance");
        evidence.address = AddressWord::Answers(uuid("z"));
    };
    breaks(
        Rule::Enrolled,
        "data directory was replaced",
        "bring back",
        renewed,
    );
    breaks(Rule::Enrolled, "registered is", "new instance id", |case| {
        let spec = case.registration.instances.get_mut(&instance("a"));
        spec.expect("an instance").server_uuid = Some(uuid("z"));
    });
    breaks(Rule::ServerId, "as a has", "server_id=N", |case| {
        let a = case.facts("a").variables["server_id"].clone();
        case.facts("b").variables.insert("server_id".into(), a);
    });
    breaks(Rule::ServerId, "server_id=0", "server_id=N", |case| {
        case.facts("a")
            .variables
            .insert("server_id".into(), "0".into());
    });
    breaks(
        Rule::ServerUuid,
        "the server_uuid of a",
        "auto.cnf",
        |case| {
            let same = Some(uuid("a"));
            case.facts("b").server_uuid = same;
            case.facts("b").enrolled_uuid = same;
            let spec = case.registration.instances.get_mut(&instance("b"));
            spec.expect("an instance").server_uuid = None;
            let evidence = case.evidence.get_mut(&instance("b")).expect("an instance");
            evidence.address = AddressWord::Answers(uuid("a"));
        },
    );
}

#[test]
fn agents() {
    let word = |word: AgentWord| {
        move |case: &mut Case| {
            case.evidence
                .get_mut(&instance("a"))
                .expect("an instance")
                .agent = word;
        }
    };
    breaks(
        Rule::Agent,
        "not connected",
        "start the agent of a",
        word(AgentWord::Absent),
    );
    breaks(
        Rule::Agent,
        "does not answer",
        "log",
        word(AgentWord::Silent),
    );
    breaks(
        Rule::Server,
        "refused",
        "start mysqld",
        word(AgentWord::Failed("refused".into())),
    );
    breaks(
        Rule::Agent,
        "nothing is known",
        "start the agent of a",
        |case| {
            case.evidence.remove(&instance("a"));
        },
    );
}
