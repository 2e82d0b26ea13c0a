//! Accounts: what the agent and the replicas need, and what nobody else may hold.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Account, Facts};
use super::{Pad, Rule};
use crate::ids::InstanceId;

/// What an agent does, by the privilege that allows it; found by removing one at a time.
const AGENT: &[&str] = &[
    "CONNECTION_ADMIN",
    "RELOAD",
    "REPLICATION CLIENT",
    "REPLICATION_SLAVE_ADMIN",
    "SERVICE_CONNECTION_ADMIN",
    "SYSTEM_USER",
    "SYSTEM_VARIABLES_ADMIN",
];
const AGENT_SCHEMA: &[&str] = &["CREATE", "DELETE", "INSERT", "SELECT", "UPDATE"];
/// CONNECTION_ADMIN keeps its dump threads when `offline_mode` cuts the applications.
const REPLICATION: &[&str] = &["CONNECTION_ADMIN", "REPLICATION SLAVE"];
/// They pass `offline_mode` and `super_read_only`.
const PASS_FENCES: &[&str] = &["CONNECTION_ADMIN", "SUPER"];

pub(super) fn judge(instance: &InstanceId, facts: &Facts, pad: &mut Pad<'_>) {
    agent(instance, facts, pad);
    limits(instance, facts, pad);
    let accounts = match &facts.accounts {
        Some(Ok(accounts)) => accounts,
        unread => {
            let why = match unread {
                Some(Err(why)) => why.as_str(),
                _ => "its agent says nothing of them",
            };
            let account = &facts.agent_account;
            for rule in [Rule::ReplicationGrants, Rule::ConnectionAdmin] {
                pad.add(
                    rule,
                    Some(instance),
                    format!("the accounts cannot be read: {why}"),
                    format!(
                        "GRANT SELECT (User, Host, Super_priv, Repl_slave_priv, account_locked) ON \
                         mysql.user TO {account}; GRANT SELECT ON mysql.global_grants TO \
                         {account}; GRANT SELECT ON mysql.role_edges TO {account}"
                    ),
                );
            }
            return;
        }
    };
    let held = with_roles(accounts);
    replication(instance, facts, accounts, &held, pad);
    others(instance, facts, accounts, &held, pad);
}

type Key<'a> = (&'a str, &'a str);

fn key(account: &Account) -> Key<'_> {
    (&account.user, &account.host)
}

/// What each account holds itself or through its roles, active or not: it may activate them.
fn with_roles(accounts: &[Account]) -> BTreeMap<Key<'_>, BTreeSet<&str>> {
    let by_key: BTreeMap<Key<'_>, &Account> = accounts.iter().map(|a| (key(a), a)).collect();
    let mut held = BTreeMap::new();
    for account in accounts {
        let (mut seen, mut todo) = (BTreeSet::new(), vec![key(account)]);
        let mut privileges = BTreeSet::new();
        while let Some(next) = todo.pop() {
            if !seen.insert(next) {
                continue;
            }
            if let Some(of) = by_key.get(&next) {
                privileges.extend(of.privileges.iter().map(String::as_str));
                todo.extend(of.roles.iter().map(|(u, h)| (u.as_str(), h.as_str())));
            }
        }
        held.insert(key(account), privileges);
    }
    held
}

fn quoted((user, host): Key<'_>) -> String {
    format!("'{user}'@'{host}'")
}

fn replication(
    instance: &InstanceId,
    facts: &Facts,
    accounts: &[Account],
    held: &BTreeMap<Key<'_>, BTreeSet<&str>>,
    pad: &mut Pad<'_>,
) {
    let user = facts.replication_user.as_str();
    let mut any = false;
    for account in accounts.iter().filter(|account| account.user == user) {
        any = true;
        let missing: Vec<&str> = REPLICATION
            .iter()
            .filter(|wanted| !held[&key(account)].contains(*wanted))
            .copied()
            .collect();
        if !missing.is_empty() {
            pad.add(
                Rule::ReplicationGrants,
                Some(instance),
                format!(
                    "{} lacks {}; without CONNECTION_ADMIN a fence cuts the ackers too",
                    quoted(key(account)),
                    missing.join(", ")
                ),
                format!(
                    "GRANT {} ON *.* TO {}",
                    missing.join(", "),
                    quoted(key(account))
                ),
            );
        }
    }
    if !any {
        pad.add(
            Rule::ReplicationGrants,
            Some(instance),
            format!("there is no account {user:?}, as which replicas are to log in"),
            format!(
                "CREATE USER '{user}'@'%' IDENTIFIED BY '…'; GRANT REPLICATION SLAVE, \
                 CONNECTION_ADMIN ON *.* TO '{user}'@'%'"
            ),
        );
    }
}

/// The server's own, and the administrator at the machine itself.
fn exempt(facts: &Facts, account: &Account) -> bool {
    let local = account.host == "localhost";
    account.locked
        || account.user == facts.replication_user
        || facts
            .agent_account
            .starts_with(&format!("'{}'@", account.user))
        || (local && (account.user == "root" || account.user.starts_with("mysql.")))
}

/// An account that holds what only others may.
struct Holder<'a> {
    account: &'a Account,
    has: Vec<&'static str>,
}

impl Holder<'_> {
    /// What takes it away: the privileges it holds itself, and the roles that bring them.
    fn revoke(&self, held: &BTreeMap<Key<'_>, BTreeSet<&str>>) -> Vec<String> {
        let who = quoted(key(self.account));
        let own: Vec<&str> = self
            .has
            .iter()
            .copied()
            .filter(|one| self.account.privileges.contains(*one))
            .collect();
        let mut statements = Vec::new();
        if !own.is_empty() {
            statements.push(format!("REVOKE {} ON *.* FROM {who}", own.join(", ")));
        }
        for (user, host) in &self.account.roles {
            let role = (user.as_str(), host.as_str());
            let brings = |all: &BTreeSet<&str>| self.has.iter().any(|one| all.contains(one));
            if held.get(&role).is_some_and(brings) {
                statements.push(format!("REVOKE {} FROM {who}", quoted(role)));
            }
        }
        statements
    }
}

fn others(
    instance: &InstanceId,
    facts: &Facts,
    accounts: &[Account],
    held: &BTreeMap<Key<'_>, BTreeSet<&str>>,
    pad: &mut Pad<'_>,
) {
    let holding = |wanted: &[&'static str]| -> Vec<Holder<'_>> {
        accounts
            .iter()
            .filter(|account| !exempt(facts, account))
            .filter_map(|account| {
                let all = &held[&key(account)];
                let has: Vec<_> = wanted
                    .iter()
                    .copied()
                    .filter(|one| all.contains(one))
                    .collect();
                (!has.is_empty()).then_some(Holder { account, has })
            })
            .collect()
    };
    let list = |found: &[Holder<'_>]| {
        let each = found.iter().map(|holder| {
            format!(
                "{} ({})",
                quoted(key(holder.account)),
                holder.has.join(", ")
            )
        });
        each.collect::<Vec<_>>().join(", ")
    };
    let revoke = |found: &[Holder<'_>]| {
        let each = found.iter().flat_map(|holder| holder.revoke(held));
        each.collect::<Vec<_>>().join("; ")
    };
    let admins = holding(PASS_FENCES);
    if !admins.is_empty() {
        pad.add(
            Rule::ConnectionAdmin,
            Some(instance),
            format!("these pass every fence: {}", list(&admins)),
            revoke(&admins),
        );
    }
    let replicas = holding(&["REPLICATION SLAVE"]);
    if !replicas.is_empty() {
        pad.add(
            Rule::ReplicationAccounts,
            Some(instance),
            format!(
                "whoever replicates may acknowledge, until it is cut: {}",
                list(&replicas)
            ),
            revoke(&replicas),
        );
    }
}

/// `GRANT a, b ON *.* TO …`: the privileges and what they are on.
fn grant(line: &str) -> Option<(BTreeSet<String>, &str)> {
    let rest = line.strip_prefix("GRANT ")?;
    let (privileges, rest) = rest.split_once(" ON ")?;
    let (object, _) = rest.split_once(" TO ")?;
    let privileges = privileges.split(',').map(|p| p.trim().to_ascii_uppercase());
    Some((privileges.collect(), object))
}

/// Whether the agent's account holds a privilege on one of these objects.
fn holds(facts: &Facts) -> impl Fn(&str, &[&str]) -> bool {
    let lines = facts.agent_grants.iter();
    let grants: Vec<_> = lines.filter_map(|line| grant(line)).collect();
    move |privilege, objects| {
        grants.iter().any(|(privileges, object)| {
            objects.contains(object)
                && (privileges.contains(privilege) || privileges.contains("ALL PRIVILEGES"))
        })
    }
}

/// Those that the agent's account does not hold on everything.
pub(super) fn lacks_globally(facts: &Facts, wanted: &[&'static str]) -> Vec<&'static str> {
    let holds = holds(facts);
    let lacks = wanted.iter().filter(|one| !holds(one, &["*.*"]));
    lacks.copied().collect()
}

/// A time or a count must not take the agent's account away: it fails then when it is needed.
fn limits(instance: &InstanceId, facts: &Facts, pad: &mut Pad<'_>) {
    if facts.agent_limits.is_empty() {
        return;
    }
    let account = &facts.agent_account;
    let mends = facts.agent_limits.iter().map(|limit| {
        let word = limit.split(' ').next().unwrap_or_default();
        match word {
            "PASSWORD" => format!("ALTER USER {account} PASSWORD EXPIRE NEVER"),
            "FAILED_LOGIN_ATTEMPTS" => format!("ALTER USER {account} {word} 0"),
            _ => format!("ALTER USER {account} WITH {word} 0"),
        }
    });
    pad.add(
        Rule::AgentLimits,
        Some(instance),
        format!(
            "the server may shut the agent's account {account} out by itself: {}",
            facts.agent_limits.join(", ")
        ),
        mends.collect::<Vec<_>>().join("; "),
    );
}

fn agent(instance: &InstanceId, facts: &Facts, pad: &mut Pad<'_>) {
    let holds = holds(facts);
    let account = &facts.agent_account;
    let (mut missing, mut mends) = (Vec::new(), Vec::new());
    let mut need = |wanted: &[&str], on: &str, objects: &[&str]| {
        let lacks: Vec<&str> = wanted
            .iter()
            .filter(|privilege| !holds(privilege, objects))
            .copied()
            .collect();
        if !lacks.is_empty() {
            missing.push(format!("{} ON {on}", lacks.join(", ")));
            mends.push(format!("GRANT {} ON {on} TO {account}", lacks.join(", ")));
        }
    };
    need(AGENT, "*.*", &["*.*"]);
    need(
        &["SELECT"],
        "performance_schema.*",
        &["*.*", "`performance_schema`.*"],
    );
    need(AGENT_SCHEMA, "primacy.*", &["*.*", "`primacy`.*"]);
    let mut found = Vec::new();
    if !missing.is_empty() {
        found.push(format!(
            "the agent's account {account} lacks {}",
            missing.join("; ")
        ));
    }
    for (what, why) in &facts.unread {
        found.push(format!("{what} cannot be read: {why}"));
        if mends.is_empty() {
            mends.push(format!("grant {account} what the answer names"));
        }
    }
    if !found.is_empty() {
        pad.add(
            Rule::AgentGrants,
            Some(instance),
            found.join("; "),
            mends.join("; "),
        );
    }
}
