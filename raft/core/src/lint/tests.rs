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
            "GRANT RELOAD, REPLICATION CLIENT ON *.* TO `agent`@`localhost`".into(),
            "GRANT CONNECTION_ADMIN,REPLICATION_SLAVE_ADMIN,SERVICE_CONNECTION_ADMIN,SYSTEM_USER,\
             SYSTEM_VARIABLES_ADMIN ON *.* TO `agent`@`localhost`"
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

#[test]
fn settings_as_they_are_now() {
    use Rule::*;
    variable(
        GtidMode,
        "gtid_mode",
        "OFF",
        "SET GLOBAL gtid_mode=OFF_PERMISSIVE",
    );
    variable(
        GtidMode,
        "gtid_mode",
        "ON_PERMISSIVE",
        "SET GLOBAL gtid_mode=ON",
    );
    variable(
        EnforceGtidConsistency,
        "enforce_gtid_consistency",
        "WARN",
        "SET GLOBAL enforce_gtid_consistency=ON",
    );
    variable(
        LogBin,
        "log_bin",
        "OFF",
        "in /etc/my.cnf, under [mysqld]: log_bin=binlog",
    );
    variable(
        LogReplicaUpdates,
        "log_replica_updates",
        "OFF",
        "log_replica_updates=ON",
    );
    variable(SyncBinlog, "sync_binlog", "0", "SET GLOBAL sync_binlog=1");
    variable(SyncBinlog, "sync_binlog", "100", "SET GLOBAL sync_binlog=1");
    variable(
        InnodbFlushLogAtTrxCommit,
        "innodb_flush_log_at_trx_commit",
        "2",
        "SET GLOBAL innodb_flush_log_at_trx_commit=1",
    );
    variable(
        BinlogErrorAction,
        "binlog_error_action",
        "IGNORE_ERROR",
        "SET GLOBAL binlog_error_action=ABORT_SERVER",
    );
    variable(
        SkipReplicaStart,
        "skip_replica_start",
        "OFF",
        "skip_replica_start=ON",
    );
    variable(
        RelayLogRecovery,
        "relay_log_recovery",
        "ON",
        "relay_log_recovery=OFF; restart",
    );
    variable(
        SyncRelayLog,
        "sync_relay_log",
        "10000",
        "SET GLOBAL sync_relay_log=1",
    );
    variable(
        ReplicaPreserveCommitOrder,
        "replica_preserve_commit_order",
        "OFF",
        "SET GLOBAL replica_preserve_commit_order=ON",
    );
    variable(
        ReplicaParallelType,
        "replica_parallel_type",
        "DATABASE",
        "SET GLOBAL replica_parallel_type=LOGICAL_CLOCK",
    );
    // The longest patience of the default policy is 5 s.
    variable(
        ReplicaNetTimeout,
        "replica_net_timeout",
        "10",
        "SET GLOBAL replica_net_timeout=11",
    );
    variable(
        SemiSyncTimeout,
        "rpl_semi_sync_source_timeout",
        "10000",
        "SET GLOBAL rpl_semi_sync_source_timeout=4294967295",
    );
    variable(
        SemiSyncWaitPoint,
        "rpl_semi_sync_source_wait_point",
        "AFTER_COMMIT",
        "SET GLOBAL rpl_semi_sync_source_wait_point=AFTER_SYNC",
    );
    variable(
        SemiSyncWaitNoReplica,
        "rpl_semi_sync_source_wait_no_replica",
        "OFF",
        "SET GLOBAL rpl_semi_sync_source_wait_no_replica=ON",
    );
    variable(
        AdminListener,
        "create_admin_listener_thread",
        "OFF",
        "create_admin_listener_thread=ON",
    );
    variable(
        Fenced,
        "super_read_only",
        "OFF",
        "SET GLOBAL super_read_only=ON",
    );
    variable(
        SemiSyncSource,
        "rpl_semi_sync_source_enabled",
        "ON",
        "SET GLOBAL rpl_semi_sync_source_enabled=OFF",
    );
    breaks(
        Rule::AdminListener,
        "admin_address",
        "admin_address=127.0.0.1",
        |case| {
            case.facts("a")
                .variables
                .insert("admin_address".into(), String::new());
        },
    );
    breaks(
        Rule::SyncRelayLog,
        "has no sync_relay_log",
        "tested version",
        |case| {
            case.facts("a").variables.remove("sync_relay_log");
        },
    );
}

#[test]
fn settings_as_they_will_be() {
    // Written wrongly, not written where the default is wrong, and persisted above a good line.
    let written = |rule, name: &str, value: &str| {
        breaks(
            rule,
            "at the next start, by /etc/my.cnf",
            &format!("[mysqld]: {name}="),
            |case| {
                case.boot("a").options.insert(name.into(), value.into());
            },
        );
    };
    written(Rule::BootsFenced, "super_read_only", "OFF");
    written(Rule::BootsAcking, "rpl_semi_sync_replica_enabled", "1");
    written(Rule::BootsWaiting, "rpl_semi_sync_source_enabled", "ON");
    written(Rule::SyncRelayLog, "sync_relay_log", "10000");
    written(Rule::RelayLogRecovery, "relay_log_recovery", "ON");
    written(Rule::LogBin, "log_bin", "OFF");
    for (rule, name) in [
        (Rule::BootsFenced, "super_read_only"),
        (Rule::SkipReplicaStart, "skip_replica_start"),
        (Rule::GtidMode, "gtid_mode"),
        (Rule::SyncRelayLog, "sync_relay_log"),
        (Rule::SemiSyncTimeout, "rpl_semi_sync_source_timeout"),
        (Rule::AdminListener, "create_admin_listener_thread"),
    ] {
        breaks(
            rule,
            "by default: /etc/my.cnf does not set it",
            "[mysqld]",
            |case| {
                case.boot("a").options.remove(name);
            },
        );
    }
    for (rule, name, value) in [
        (Rule::BootsFenced, "super_read_only", "OFF"),
        (Rule::BootsFenced, "read_only", "OFF"),
        (Rule::BootsAcking, "rpl_semi_sync_replica_enabled", "ON"),
        (Rule::SyncBinlog, "sync_binlog", "0"),
    ] {
        let mend = format!("RESET PERSIST IF EXISTS {name}");
        breaks(rule, &format!("{name}={value}"), &mend, |case| {
            case.boot("a").options.remove("persisted_globals_load");
            case.facts("a").persisted.insert(name.into(), value.into());
        });
    }
    // What is not loaded undoes nothing.
    let mut case = healthy();
    case.facts("a")
        .persisted
        .insert("super_read_only".into(), "OFF".into());
    assert_eq!(case.report().findings, []);
    breaks(
        Rule::BootConfiguration,
        "permission denied",
        "--defaults-file",
        |case| {
            case.facts("a").boot = Some(Err("permission denied".into()));
        },
    );
}

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

#[test]
fn topology() {
    let channel =
        |change: fn(&mut Channel)| move |case: &mut Case| change(&mut case.facts("a").channels[0]);
    breaks(
        Rule::Star,
        "replicates from b, which is a replica",
        "SOURCE_HOST='p.example'",
        channel(|c| {
            c.host = "b.example".into();
            c.source_uuid = Some(uuid("b"));
        }),
    );
    breaks(
        Rule::Star,
        "none of this cluster",
        "SOURCE_PORT=3306",
        channel(|c| {
            c.host = "far.example".into();
            c.source_uuid = Some(uuid("z"));
        }),
    );
    // The same server under a name that nobody registered: the agent would not know it.
    breaks(
        Rule::Star,
        "registered is p.example:3306",
        "SOURCE_HOST",
        channel(|c| {
            c.host = "10.0.0.1".into();
        }),
    );
    breaks(
        Rule::Star,
        "does not replicate from p",
        "CHANGE REPLICATION SOURCE",
        |case| {
            case.facts("a").channels.clear();
        },
    );
    breaks(
        Rule::Star,
        "replicas replicate from this replica: b",
        "point them to p",
        |case| {
            case.facts("a").replicas.insert(uuid("b"));
        },
    );
    breaks(
        Rule::Star,
        "the primary itself replicates",
        "RESET REPLICA ALL",
        |case| {
            let upstream = case.facts("a").channels[0].clone();
            case.facts("p").channels.push(upstream);
        },
    );
    breaks(
        Rule::SingleSource,
        "side from x:3306",
        "RESET REPLICA ALL FOR CHANNEL 'side'",
        |case| {
            case.facts("a").channels.push(Channel {
                name: "side".into(),
                host: "x".into(),
                port: 3306,
                ..Channel::default()
            });
        },
    );
    breaks(
        Rule::SourceDelay,
        "SOURCE_DELAY=60",
        "SOURCE_DELAY=0",
        channel(|c| c.delay_s = 60),
    );
    breaks(
        Rule::SourceHeartbeat,
        "PERIOD=15",
        "SOURCE_HEARTBEAT_PERIOD=0.500",
        channel(|c| {
            c.heartbeat_ms = 15_000;
        }),
    );
    breaks(
        Rule::SourceHeartbeat,
        "PERIOD=0",
        "SOURCE_HEARTBEAT_PERIOD=0.500",
        channel(|c| {
            c.heartbeat_ms = 0;
        }),
    );
    breaks(
        Rule::AutoPosition,
        "=0",
        "SOURCE_AUTO_POSITION=1",
        channel(|c| {
            c.auto_position = false;
        }),
    );
}

#[test]
fn accounts() {
    let with = |user: &str, privileges: &[&str]| Account {
        user: user.into(),
        host: "%".into(),
        privileges: privileges.iter().map(|p| (*p).to_owned()).collect(),
        ..Account::default()
    };
    let list = |case: &mut Case, account: Account| match &mut case.facts("a").accounts {
        Some(Ok(accounts)) => accounts.push(account),
        other => panic!("there are accounts, not {other:?}"),
    };
    breaks(
        Rule::ConnectionAdmin,
        "'web'@'%' (CONNECTION_ADMIN)",
        "REVOKE CONNECTION_ADMIN ON *.* FROM 'web'@'%'",
        |case| {
            list(case, with("web", &["CONNECTION_ADMIN"]));
        },
    );
    breaks(
        Rule::ConnectionAdmin,
        "'root'@'%' (SUPER)",
        "REVOKE SUPER",
        |case| {
            list(case, with("root", &["SUPER"]));
        },
    );
    breaks(
        Rule::ConnectionAdmin,
        "'web'@'%' (CONNECTION_ADMIN)",
        "REVOKE 'dev'@'%' FROM 'web'@'%'",
        |case| {
            // A role of a role; both are locked, as roles are.
            let role = |name: &str, privileges: &[&str], of: Option<&str>| Account {
                locked: true,
                roles: of
                    .map(|of| (of.to_owned(), "%".to_owned()))
                    .into_iter()
                    .collect(),
                ..with(name, privileges)
            };
            list(case, role("ops", &["CONNECTION_ADMIN"], None));
            list(case, role("dev", &[], Some("ops")));
            list(
                case,
                Account {
                    locked: false,
                    ..role("web", &[], Some("dev"))
                },
            );
        },
    );
    let mut case = healthy();
    list(
        &mut case,
        Account {
            locked: true,
            ..with("old", &["SUPER"])
        },
    );
    assert_eq!(
        case.report().findings,
        [],
        "who cannot log in passes nothing"
    );
    breaks(
        Rule::ReplicationAccounts,
        "'copy'@'%'",
        "REVOKE REPLICATION SLAVE",
        |case| {
            list(case, with("copy", &["REPLICATION SLAVE"]));
        },
    );
    breaks(
        Rule::ReplicationGrants,
        "lacks CONNECTION_ADMIN",
        "GRANT CONNECTION_ADMIN ON *.* TO 'repl'@'10.%'",
        |case| {
            list(
                case,
                Account {
                    host: "10.%".into(),
                    ..with("repl", &["REPLICATION SLAVE"])
                },
            );
        },
    );
    breaks(
        Rule::ReplicationGrants,
        "no account \"copy\"",
        "CREATE USER 'copy'@'%'",
        |case| {
            case.facts("a").replication_user = "copy".into();
            if let Some(Ok(accounts)) = &mut case.facts("a").accounts {
                accounts.retain(|account| account.user != "repl");
            }
        },
    );
    let mut case = healthy();
    case.facts("a").accounts = Some(Err("SELECT command denied".into()));
    let rules: Vec<_> = case.report().findings.into_iter().map(|f| f.rule).collect();
    assert_eq!(rules, ["replication_grants", "connection_admin"]);
    breaks(
        Rule::AgentGrants,
        "channels cannot be read: denied",
        "grant 'agent'",
        |case| {
            case.facts("a")
                .unread
                .insert("channels".into(), "denied".into());
        },
    );
    for (lost, mend) in [
        ("RELOAD, ", "GRANT RELOAD ON *.* TO 'agent'@'localhost'"),
        ("SYSTEM_USER,", "GRANT SYSTEM_USER ON *.* TO"),
        (
            "SELECT ON `performance_schema`.*",
            "GRANT SELECT ON performance_schema.* TO",
        ),
        (
            "ALL PRIVILEGES ON `primacy`.*",
            "GRANT CREATE, DELETE, INSERT, SELECT, UPDATE ON primacy.*",
        ),
    ] {
        breaks(Rule::AgentGrants, "lacks", mend, |case| {
            for line in &mut case.facts("a").agent_grants {
                *line = line.replace(
                    lost,
                    if lost.contains(" ON ") {
                        "USAGE ON *.*"
                    } else {
                        ""
                    },
                );
            }
        });
    }
}

#[test]
fn survival() {
    // One domain a letter, the primary first: is it outlived with this k, and what would help?
    let check = |domains: &str, k: u32, mend: Option<&str>, waits: bool| {
        let letters: String = ('a'..).take(domains.len()).collect();
        let mut registration = registration(&letters, k);
        registration.policy.survive = Survive::Region;
        for (spec, domain) in registration.instances.values_mut().zip(domains.chars()) {
            spec.region = domain.to_string().as_str().into();
        }
        let report = lint(&Subject::registration(&registration), &BTreeMap::new());
        let of = |rule: &str| report.findings.iter().find(|f| f.rule == rule);
        let found = of("survive").map(|finding| finding.mend.as_str());
        match (found, mend) {
            (None, None) => {}
            (Some(found), Some(mend)) => assert!(found.contains(mend), "{domains}: {found}"),
            other => panic!("{domains} k={k}: {other:?}"),
        }
        assert_eq!(of("survive_writes").is_some(), waits, "{domains} k={k}");
    };
    // Each in its own: whoever is primary, every acker is left.
    check("xyz", 1, None, false);
    check("xyz", 2, None, true);
    // An acker goes with the primary: with k = 1 it may have been the only one that had a write.
    check("xxy", 1, Some("k 2 "), false);
    check("xxy", 2, None, true);
    check("xxyz", 1, Some("k 2 "), false);
    check("xxyz", 2, None, false);
    check("xxxy", 2, Some("k 3 "), false);
    check("xx", 1, Some("add ackers outside that region"), false);

    let mut case = healthy();
    case.registration.policy.survive = Survive::Zone;
    let report = case.report();
    assert!(
        report
            .findings
            .iter()
            .all(|f| f.rule == "survive" && f.mend.contains("zone"))
    );
    assert_eq!(report.findings.len(), 3);
    // Instances of one machine fail together, and so do those of one address.
    for set in [
        |spec: &mut InstanceSpec| spec.machine = "m".into(),
        |spec: &mut InstanceSpec| spec.host = "p.example".into(),
    ] {
        let mut registration = registration("pab", 1);
        for letter in ["p", "a"] {
            set(registration
                .instances
                .get_mut(&instance(letter))
                .expect("an instance"));
        }
        let report = lint(&Subject::registration(&registration), &BTreeMap::new());
        assert!(report.findings.iter().any(|f| f.rule == "survive"));
    }
    breaks(
        Rule::Candidate,
        "no acker may be promoted",
        "promotion",
        |case| {
            for letter in ["a", "b"] {
                let spec = case.registration.instances.get_mut(&instance(letter));
                spec.expect("an instance").promotion = PromotionRule::Never;
            }
        },
    );
}

#[test]
fn a_commit_costs_the_round_trip_to_the_kth_acker() {
    let mut case = healthy();
    assert!(case.report().costs[0].contains("not measured"));
    case.facts("p").round_trips_us =
        BTreeMap::from([(instance("a"), 40_000), (instance("b"), 700)]);
    assert!(case.report().costs[0].contains("the nearest decides, b, one round trip of 0.7 ms"));
    case.registration.k = 2;
    assert!(
        case.report().costs[0].contains("the 2nd nearest decides, a, one round trip of 40.0 ms")
    );
}

#[test]
fn a_registered_primary_waits_for_k() {
    let world = crate::testing::World::serving("pab", 1);
    let cluster = world.cluster().clone();
    let mut case = healthy();
    let judge = |case: &Case| {
        let report = lint(&Subject::registered(&cluster), &case.evidence);
        report
            .findings
            .into_iter()
            .map(|f| f.rule)
            .collect::<Vec<_>>()
    };
    assert_eq!(judge(&case), ["semi_sync_source"]);
    case.facts("p")
        .variables
        .insert("rpl_semi_sync_source_enabled".into(), "ON".into());
    case.facts("p")
        .variables
        .insert("super_read_only".into(), "OFF".into());
    assert_eq!(judge(&case), [""; 0]);
    let count = "rpl_semi_sync_source_wait_for_replica_count";
    case.facts("p").variables.insert(count.into(), "2".into());
    assert_eq!(judge(&case), ["semi_sync_count"]);
}

#[test]
fn names_are_stable_and_all_different() {
    let names: BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
    assert_eq!(names.len(), Rule::ALL.len());
    for rule in Rule::ALL {
        assert_eq!(Rule::named(rule.name()), Some(*rule));
    }
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
