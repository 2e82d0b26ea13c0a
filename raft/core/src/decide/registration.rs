//! What a registration must satisfy, each with its remedy.

use crate::record::{PromotionRule, Refusal, Registration, State};

/// The planner tries subsets of V; more ackers than this are of no use to anybody.
const ACKERS_MAX: usize = 9;

pub fn check_registration(state: &State, registration: &Registration) -> Result<(), Refusal> {
    let bad = |field: &str, value: String, remedy: &str| {
        Err(Refusal::Invalid {
            field: field.into(),
            value,
            remedy: remedy.into(),
        })
    };
    let id = &registration.cluster;
    if state.clusters.contains_key(id) {
        return bad(
            "cluster",
            id.to_string(),
            "is registered already; choose another id",
        );
    }
    let name_ok = |name: &str| {
        !name.is_empty()
            && name.len() <= 63
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.')
    };
    if !name_ok(id.as_str()) {
        return bad(
            "cluster",
            id.to_string(),
            "use 1 to 63 letters, digits, '-', '_' or '.'",
        );
    }
    for (instance, spec) in &registration.instances {
        if !name_ok(instance.as_str()) {
            let value = instance.to_string();
            return bad(
                "instances",
                value,
                "use 1 to 63 letters, digits, '-', '_' or '.'",
            );
        }
        if let Some(owner) = state.cluster_of(instance) {
            let remedy = format!("belongs to cluster {} already; choose another id", owner.id);
            return bad("instances", instance.to_string(), &remedy);
        }
        if spec.host.is_empty() || spec.port == 0 || spec.region.as_str().is_empty() {
            return bad(
                "instances",
                instance.to_string(),
                "needs a host, a port and a region",
            );
        }
        if let Some(uuid) = spec.server_uuid {
            let known = state.clusters.values().flat_map(|c| c.instances.iter());
            let mut others = known.chain(registration.instances.iter());
            let holder =
                others.find(|(other, its)| *other != instance && its.server_uuid == Some(uuid));
            if let Some((other, _)) = holder {
                let remedy =
                    format!("it belongs to {other}; give each data directory its own auto.cnf");
                let field = format!("server_uuid of {instance}");
                return bad(&field, uuid.to_string(), &remedy);
            }
        }
        let twin = registration.instances.iter().find(|(other, its)| {
            *other != instance && (&its.host, its.port) == (&spec.host, spec.port)
        });
        if let Some((other, _)) = twin {
            let remedy = format!("{other} has the same address; each instance has its own");
            return bad("instances", format!("{}:{}", spec.host, spec.port), &remedy);
        }
    }
    let Some(primary) = registration.instances.get(&registration.primary) else {
        return bad(
            "primary",
            registration.primary.to_string(),
            "name one of the instances",
        );
    };
    if primary.promotion == PromotionRule::Never {
        let value = registration.primary.to_string();
        return bad(
            "primary",
            value,
            "its promotion rule is never; name another, or change it",
        );
    }
    for acker in &registration.ackers {
        if !registration.instances.contains_key(acker) || *acker == registration.primary {
            return bad("ackers", acker.to_string(), "name replicas of this cluster");
        }
    }
    let ackers = match registration.ackers.len() {
        0 => registration.instances.len() - 1,
        some => some,
    };
    if ackers == 0 || ackers > ACKERS_MAX {
        let remedy = format!("a semi_sync cluster needs 1 to {ACKERS_MAX} ackers");
        return bad("ackers", ackers.to_string(), &remedy);
    }
    if registration.k == 0 || registration.k as usize > ackers {
        let remedy = format!("must lie between 1 and the number of ackers ({ackers})");
        return bad("k", registration.k.to_string(), &remedy);
    }
    let policy = &registration.policy;
    let contradictions = policy.contradictions().into_iter();
    if let Some(first) = contradictions.chain(policy.beyond(state.level)).next() {
        return bad(&format!("policy.{}", first.field), first.value, &first.rule);
    }
    Ok(())
}
