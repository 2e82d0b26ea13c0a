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
