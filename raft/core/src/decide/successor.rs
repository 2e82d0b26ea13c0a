//! Whether a choice should be taken back: who would be chosen instead, and do better.

use std::collections::{BTreeMap, BTreeSet};

use super::choose::{Class, class, disqualification};
use super::evidence::Evidence;
use crate::act::ProcessId;
use crate::agree::Inquest;
use crate::ids::InstanceId;
use crate::record::{Cluster, Deposition, FreezeReport};

/// Who would be chosen instead of one that was chosen and stalls; `None` where nobody is expected to
/// do better, and it is waited for.
///
/// `unopened`: the run of its agent that has not begun to open it; it stays in V only if that is the
/// run that it was chosen by. `unheard`: whose agents are not heard. `caught_up`: what those hold whose
/// agents say now that they have applied all that is needed, whatever held them before.
pub fn successor(
    cluster: &Cluster,
    unopened: Option<&ProcessId>,
    unheard: &BTreeSet<InstanceId>,
    caught_up: &BTreeMap<InstanceId, FreezeReport>,
) -> Option<InstanceId> {
    let promotion = cluster.promotion().filter(|of| !of.opened)?;
    let after = promotion.after.as_deref()?;
    let need = &promotion.choice.need;
    let heard = |id: &InstanceId| *id != cluster.primary && !unheard.contains(id);
    // The next deposition, as what is known of this one lets it be expected.
    let mut next = Deposition::new(
        promotion.at,
        after.judgement.clone(),
        Inquest::new(cluster.inquests, cluster.epoch, promotion.at),
    );
    for (id, report) in after.frozen.iter().filter(|(id, _)| heard(id)) {
        next.record_freeze(id, report.clone());
    }
    // A newer word on its backlog replaces the older.
    for (id, report) in caught_up.iter().filter(|(id, _)| heard(id)) {
        next.record_freeze(id, report.clone());
    }
    next.former = Some(promotion.former.clone());
    next.unopened = unopened.is_some() && unopened == promotion.opener.as_ref();
    next.approval.errant = after.approval.errant.clone();
    let evidence = Evidence::new(cluster, &next);
    // Judged as it will be: else the one that stalls is chosen again, and withdrawn, without end.
    let mut judged = next.frozen.keys().filter(|id| {
        (after.frozen.contains_key(*id) || cluster.ackers.members.contains(*id))
            && class(&evidence, id) != Class::Held
            && disqualification(&evidence, id, need).is_none()
    });
    judged.next().cloned()
}
