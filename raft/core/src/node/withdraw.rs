//! What stands between a choice and its opening; and when it is taken back.

use std::collections::BTreeMap;

use super::Node;
use crate::decide::{as_if_frozen, successor};
use crate::ids::{InstanceId, Tick};
use crate::observe::{MysqldWord, Stuck};
use crate::record::{Cluster, Command, FreezeReport, Promotion, THIRD};

impl Node {
    /// Says what a chosen one waits for. One that stalls is withdrawn, where another is expected to do
    /// better.
    pub(super) fn wait_for_opening(&mut self, now: Tick, cluster: &Cluster) {
        let Some(promotion) = cluster.promotion() else {
            return;
        };
        self.record_freed(now, cluster, promotion);
        if promotion.opened {
            return;
        }
        let watch = self.watches.get(&cluster.primary);
        let beat = watch.and_then(|watch| watch.fresh_beat(now));
        let stuck = beat
            .and_then(|beat| beat.stuck.clone())
            .filter(|stuck| stuck.epoch == cluster.epoch);
        if let Some(stuck) = stuck {
            return self.stalls(now, cluster, &stuck);
        }
        let what = match beat {
            None => "its agent is not heard".to_owned(),
            Some(beat) if !matches!(beat.word.says, MysqldWord::Running { .. }) => {
                "its mysqld is not up".to_owned()
            }
            Some(beat) => match promotion.choice.need.subtract(&beat.executed) {
                lacks if lacks.is_empty() => "its agent opens it".to_owned(),
                lacks => format!("it has yet to apply {}", lacks.compact()),
            },
        };
        let what = format!(
            "{} is to open for epoch {}: {what}; if it makes no progress for {} ms, another is \
             chosen, if one qualifies that is expected to do better",
            cluster.primary, cluster.epoch, cluster.policy.open_stall_ms
        );
        self.wait(cluster, vec![what]);
    }

    fn stalls(&mut self, now: Tick, cluster: &Cluster, stuck: &Stuck) {
        let (why, for_ms) = (&stuck.why, stuck.for_ms);
        let (unheard, caught_up) = (self.unheard(now, cluster), self.caught_up(now, cluster));
        let next = successor(cluster, stuck.unopened.as_ref(), &unheard, &caught_up);
        let (primary, epoch) = (&cluster.primary, cluster.epoch);
        let what = match &next {
            Some(next) => {
                format!(
                    "{primary} stalls before it opens for epoch {epoch} ({why}): {next} is next"
                )
            }
            None => format!(
                "{primary} has made no progress toward epoch {epoch} for {for_ms} ms ({why}), and \
                 nobody else qualifies who is expected to do better: it is waited for. End what \
                 holds it, or mend another replica"
            ),
        };
        self.wait(cluster, vec![what]);
        if next.is_some() && self.state.get().level >= THIRD {
            let command = Command::Withdraw {
                cluster: cluster.id.clone(),
                epoch,
                instance: primary.clone(),
                why: format!("{why}, for {for_ms} ms"),
            };
            self.outbox
                .push(now, format!("withdraw/{}", cluster.id), command);
        }
    }

    /// Who has applied all that is needed by now, by its own agent's word.
    fn caught_up(&self, now: Tick, cluster: &Cluster) -> BTreeMap<InstanceId, FreezeReport> {
        let Some(promotion) = cluster.promotion() else {
            return BTreeMap::new();
        };
        let need = &promotion.choice.need;
        let caught_up = cluster.instances.keys().filter_map(|id| {
            let beat = self.watches.get(id)?.fresh_beat(now)?;
            let report = as_if_frozen(beat, beat.holds())?;
            beat.executed
                .is_superset_of(need)
                .then(|| (id.clone(), report))
        });
        caught_up.collect()
    }

    /// Whose sessions its agent has ended is recorded once.
    fn record_freed(&mut self, now: Tick, cluster: &Cluster, promotion: &Promotion) {
        let watch = self.watches.get(&cluster.primary);
        let Some(beat) = watch.and_then(|watch| watch.fresh_beat(now)) else {
            return;
        };
        let speaks = beat
            .token
            .as_ref()
            .is_some_and(|token| token.epoch == cluster.epoch);
        if !speaks || beat.freed.is_subset(&promotion.freed) || self.state.get().level < THIRD {
            return;
        }
        let command = Command::Freed {
            cluster: cluster.id.clone(),
            epoch: cluster.epoch,
            instance: cluster.primary.clone(),
            ended: beat.freed.clone(),
        };
        self.outbox
            .push(now, format!("freed/{}", cluster.id), command);
    }
}
