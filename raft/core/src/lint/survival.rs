//! Survival: whether enough ackers are left when a failure domain is lost, and what it costs.
//!
//! A domain that is lost together with the primary in it must leave |V|−k+1 ackers outside: they
//! are frozen, and one of them has every acknowledged write. That must hold for whoever is primary
//! after a failover, so each instance that may be is looked at as if it were. A domain without the
//! primary deposes nobody; but if it leaves fewer than k ackers, writes wait until it is back.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::Facts;
use super::{Pad, Rule, Subject};
use crate::ids::InstanceId;
use crate::policy::Survive;
use crate::record::{InstanceSpec, PromotionRule};

fn word(survive: Survive) -> &'static str {
    match survive {
        Survive::Host => "host",
        Survive::Zone => "zone",
        Survive::Region => "region",
    }
}

/// Names the domain; one of another region is another, whatever its name.
fn domain(survive: Survive, spec: &InstanceSpec) -> Option<String> {
    match survive {
        // Without a machine's name, instances of one address are on one machine.
        Survive::Host if spec.machine.is_empty() => Some(spec.host.clone()),
        Survive::Host => Some(spec.machine.clone()),
        Survive::Zone if spec.zone.is_empty() => None,
        Survive::Zone => Some(format!("{}/{}", spec.region, spec.zone)),
        Survive::Region => Some(spec.region.to_string()),
    }
}

pub(super) fn judge(
    subject: &Subject<'_>,
    known: &BTreeMap<&InstanceId, &Facts>,
    pad: &mut Pad<'_>,
) -> Vec<String> {
    candidates(subject, pad);
    let survive = subject.policy.survive;
    let mut domains: BTreeMap<&InstanceId, String> = BTreeMap::new();
    for (instance, spec) in subject.instances {
        match domain(survive, spec) {
            Some(name) => {
                domains.insert(instance, name);
            }
            None => pad.add(
                Rule::Survive,
                Some(instance),
                format!("survive is {}, and its zone is not stated", word(survive)),
                format!("register {instance} with its zone, or with survive host"),
            ),
        }
    }
    if domains.len() < subject.instances.len() {
        return costs(subject, known);
    }

    let outside = |members: &BTreeSet<InstanceId>, lost: &str| {
        members
            .iter()
            .filter(|id| domains.get(id).is_none_or(|name| name != lost))
            .count()
    };
    let mut everyone = subject.ackers.clone();
    everyone.insert(subject.primary.clone());
    let mut k_needed = subject.k;
    let mut short = Vec::new();
    for instance in everyone.iter().filter(|id| subject.may_be_primary(id)) {
        let Some(lost) = domains.get(instance) else {
            continue;
        };
        let mut ackers = everyone.clone();
        ackers.remove(instance);
        let left = outside(&ackers, lost);
        let needed = crate::agree::blocking(ackers.len(), subject.k);
        if left < needed {
            // As many with it as are lost, and one more.
            k_needed = k_needed.max(ackers.len() - left + 1);
            short.push(format!(
                "with {instance} as primary, {lost} lost leaves {left} of {} ackers, and {needed} \
                 have to be frozen",
                ackers.len()
            ));
        }
    }
    if !short.is_empty() {
        let size = everyone.len() - 1;
        let mend = if k_needed <= size {
            format!(
                "register with k {k_needed} (a commit then waits for the {} nearest acker), add \
                 ackers elsewhere, or set survive to less",
                ordinal(k_needed)
            )
        } else {
            format!(
                "add ackers outside that {}, or set survive to less",
                word(survive)
            )
        };
        pad.add(Rule::Survive, None, short.join("; "), mend);
    }
    let home = domains.get(subject.primary);
    let others: BTreeSet<&String> = domains
        .values()
        .filter(|name| Some(*name) != home)
        .collect();
    for lost in others {
        let left = outside(&subject.ackers, lost);
        if left < subject.k {
            pad.add(
                Rule::SurviveWrites,
                None,
                format!(
                    "without the {} {lost} {left} ackers are left, and a commit waits for {}: \
                     writes stand still until it is back",
                    word(survive),
                    subject.k
                ),
                "add an acker elsewhere, or register with a smaller k",
            );
        }
    }
    costs(subject, known)
}

fn candidates(subject: &Subject<'_>, pad: &mut Pad<'_>) {
    let any = subject.ackers.iter().any(|id| {
        let spec = subject.instances.get(id);
        spec.is_some_and(|spec| spec.promotion != PromotionRule::Never)
    });
    if !any {
        pad.add(
            Rule::Candidate,
            None,
            "no acker may be promoted",
            "register an acker with another promotion rule than never",
        );
    }
}

fn ordinal(number: usize) -> String {
    match number {
        1 => String::new(),
        2 => "2nd".into(),
        3 => "3rd".into(),
        more => format!("{more}th"),
    }
}

/// What each commit waits for: the k-th nearest acker.
fn costs(subject: &Subject<'_>, known: &BTreeMap<&InstanceId, &Facts>) -> Vec<String> {
    let nth = match subject.k {
        1 => "nearest".to_owned(),
        k => format!("{} nearest", ordinal(k)),
    };
    let mut text = format!(
        "a commit waits for {} of {} ackers: the {nth} decides",
        subject.k,
        subject.ackers.len()
    );
    let measured = known
        .get(subject.primary)
        .map(|facts| &facts.round_trips_us);
    let mut trips: Vec<(u64, &InstanceId)> = subject
        .ackers
        .iter()
        .filter_map(|id| Some((*measured?.get(id)?, id)))
        .collect();
    trips.sort();
    if trips.len() == subject.ackers.len()
        && let Some((us, id)) = trips.get(subject.k.saturating_sub(1))
    {
        let list: Vec<String> = trips
            .iter()
            .map(|(us, id)| format!("{id} {:.1} ms", *us as f64 / 1_000.0))
            .collect();
        text.push_str(&format!(
            ", {id}, one round trip of {:.1} ms from {} (measured: {})",
            *us as f64 / 1_000.0,
            subject.primary,
            list.join(", ")
        ));
    } else {
        text.push_str("; the round trips to them are not measured");
    }
    vec![text]
}
