//! Who replicates from whom, and who may log in as what.

use super::*;

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
    let mut unread = |accounts, why: &str| {
        case.facts("a").accounts = accounts;
        let findings = case.report().findings;
        let rules: Vec<_> = findings.iter().map(|f| f.rule.as_str()).collect();
        assert_eq!(rules, ["replication_grants", "connection_admin"]);
        for finding in findings {
            assert!(finding.found.ends_with(why), "{}", finding.found);
        }
    };
    unread(
        Some(Err("SELECT command denied".into())),
        "SELECT command denied",
    );
    unread(None, "its agent says nothing of them");
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
fn an_account_that_a_count_or_a_time_takes_away_is_told() {
    for (limit, mend) in [
        (
            "FAILED_LOGIN_ATTEMPTS 3",
            "ALTER USER 'agent'@'localhost' FAILED_LOGIN_ATTEMPTS 0",
        ),
        (
            "PASSWORD EXPIRE INTERVAL 90 DAY",
            "ALTER USER 'agent'@'localhost' PASSWORD EXPIRE NEVER",
        ),
        (
            "MAX_QUERIES_PER_HOUR 100",
            "ALTER USER 'agent'@'localhost' WITH MAX_QUERIES_PER_HOUR 0",
        ),
    ] {
        breaks(Rule::AgentLimits, limit, mend, |case| {
            case.facts("a").agent_limits = vec![limit.into()];
        });
    }
}

/// Before its founding a replica may be set up to follow anybody; where it receives, that is so.
#[test]
fn a_receiver_that_rests_tells_of_a_chain_only_where_it_is_adopted() {
    for (founding, receives, said) in [
        (Founding::New, false, false),
        (Founding::New, true, true),
        (Founding::Adopted, false, true),
        (Founding::Adopted, true, true),
    ] {
        let mut case = healthy();
        case.registration.founding = founding;
        let channel = &mut case.facts("a").channels[0];
        (channel.host, channel.receives) = ("x.example".into(), receives);
        channel.source_uuid = None;
        let found = case.report().findings;
        let star = found.iter().any(|f| f.rule == "star");
        assert_eq!(star, said, "{founding:?}, receives {receives}: {found:?}");
    }
}

/// By the server that it is, or by the address: either tells whom it replicates from.
#[test]
fn a_chain_is_named_by_the_replica_that_is_its_source() {
    for (host, port, source) in [
        ("alias.example", 3307, Some(uuid("b"))),
        ("b.example", 3306, None),
        ("b.example", 3306, Some(uuid("b"))),
    ] {
        let mut case = healthy();
        let channel = &mut case.facts("a").channels[0];
        (channel.host, channel.port, channel.source_uuid) = (host.into(), port, source);
        let found = case.report().findings;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].found.contains("from b, which is a replica itself"),
            "{found:?}"
        );
    }
    let mut case = healthy();
    case.facts("a").channels[0].host = "x.example".into();
    case.facts("a").channels[0].source_uuid = None;
    let found = case.report().findings;
    assert!(
        found[0].found.contains("which is none of this cluster"),
        "{found:?}"
    );
}
