//! Whether a registered cluster may be given another policy.

use std::collections::BTreeMap;

use super::{Evidence, Finding, Report, Subject, lint};
use crate::ids::InstanceId;
use crate::policy::Policy;

/// Why `wanted` may not replace the subject's policy: what holds under the present one, or is given
/// up by it, and would be broken under the new one. What is broken under both is no reason, since
/// a cluster in trouble must still be told `automation=off`. But who takes back what it gave up
/// must be ready in all: a rule that nobody could look at is not known to hold.
pub fn refuse_policy(
    subject: &Subject<'_>,
    wanted: &Policy,
    evidence: &BTreeMap<InstanceId, Evidence>,
) -> Option<String> {
    let before = lint(subject, evidence);
    let under = Subject {
        policy: wanted,
        ..subject.clone()
    };
    let mut after = lint(&under, evidence);
    if subject.policy.gives_up.is_subset(&wanted.gives_up) {
        after.findings.retain(|finding| !stands(&before, finding));
    }
    (!after.ready()).then(|| after.refusal())
}

/// Whether the same stands in the way already.
fn stands(before: &Report, finding: &Finding) -> bool {
    before
        .findings
        .iter()
        .any(|old| old.blocks() && (&old.rule, &old.instance) == (&finding.rule, &finding.instance))
}
