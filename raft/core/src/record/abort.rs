//! An operator's abort: withdraws what has been started and is not chosen yet, and can itself be
//! lifted.
//!
//! A deposed epoch never returns: after an abort the choice accepts the old primary alone, which
//! opens again as a promotion like any other (fenced, chosen for the next epoch, opened). Before an
//! epoch is deposed, the open inquest is closed.

use super::apply::Applied;
use super::cluster::{Abort, Cluster, Stage};
use super::command::{Event, EventKind, Refusal};
use crate::ids::{Epoch, Position};

impl Cluster {
    pub(super) fn abort(&mut self, at: Position, epoch: Epoch, who: &str, why: &str) -> Applied {
        if let Stage::Named(promotion) = &self.stage
            && self.epoch == epoch.next()
            && promotion.after.is_some()
        {
            let withdrawn = promotion
                .after
                .as_ref()
                .is_some_and(|record| record.aborted.is_some());
            if withdrawn {
                return Ok(Vec::new()); // asked again, after it was carried out
            }
            return Err(Refusal::AlreadyChosen {
                cluster: self.id.clone(),
                epoch,
                to: self.primary.clone(),
                next: self.epoch,
            });
        }
        self.expect_epoch("abort", epoch)?;
        let abort = Abort {
            at,
            who: who.to_owned(),
            why: why.to_owned(),
        };
        let said = match &mut self.stage {
            Stage::Founding { .. } => return Err(self.other_stage("abort")),
            Stage::Deposed(record) => {
                if record.aborted.is_some() {
                    return Ok(Vec::new());
                }
                record.aborted = Some(abort);
                format!(
                    "{who} aborts the failover ({why}): {} alone may open again",
                    self.primary
                )
            }
            Stage::Named(_) => {
                if self.aborted.is_some() {
                    return Ok(Vec::new());
                }
                if self.inquest.take().is_none() {
                    return Err(Refusal::NothingToAbort {
                        cluster: self.id.clone(),
                        epoch,
                    });
                }
                self.judgement = None;
                self.aborted = Some(abort);
                format!(
                    "{who} aborts inquest {} into {} ({why})",
                    self.inquests, self.primary
                )
            }
        };
        Ok(vec![self.event(EventKind::Aborted, said)])
    }

    /// An approval where something was aborted lifts the abort, and no more: of a deposed epoch
    /// anybody may be chosen again; of one that stands, nodes may open an inquest anew.
    pub(super) fn lift_abort(&mut self, who: &str) -> Option<Event> {
        let (abort, then) = match &mut self.stage {
            Stage::Founding { .. } => return None,
            Stage::Deposed(record) => (record.aborted.take()?, "whoever is fit may be chosen"),
            Stage::Named(_) => (self.aborted.take()?, "the nodes may ask again"),
        };
        let said = format!("{who} lifts the abort by {}: {then}", abort.who);
        Some(self.event(EventKind::AbortLifted, said))
    }
}

#[cfg(test)]
mod tests {
    use crate::ids::{Epoch, InquestId};
    use crate::observe::SightKind;
    use crate::policy::Automation;
    use crate::record::{Command, EventKind};
    use crate::testing::{World, cluster_id, instance, report};

    fn abort(epoch: u64) -> Command {
        Command::Abort {
            cluster: cluster_id(),
            epoch: Epoch(epoch),
            who: "ann".into(),
            why: "a planned stop".into(),
        }
    }

    fn approve(epoch: u64) -> Command {
        Command::Approve {
            cluster: cluster_id(),
            epoch: Epoch(epoch),
            who: "bob".into(),
            allows: Default::default(),
        }
    }

    fn deposed() -> World {
        let mut world = World::serving("pab", 1);
        world.silence("p:1-12");
        assert!(world.cluster().deposition().is_some(), "automation is on");
        world
    }

    /// Everything up to the named step of a failover from `p`.
    fn at_step(step: &str) -> World {
        let mut world = match step {
            "serving" => return World::serving("pab", 1),
            "inquest" => {
                let mut world = World::serving("pab", 1);
                world.cluster_mut().policy.automation = Automation::Advise;
                world.silence("p:1-12");
                return world;
            }
            _ => deposed(),
        };
        if step == "deposed" {
            return world;
        }
        if step == "exited" {
            world.exit();
            return world;
        }
        if step == "confirmed" || step == "reinstated" {
            world.confirm("p:1-13");
        }
        if step == "frozen" || step == "chosen" {
            for letter in ["a", "b"] {
                world.freeze(report(letter, "p:1-13", ""));
            }
        }
        if step == "reinstated" {
            world.must(abort(1));
        }
        if step == "reinstated" || step == "chosen" {
            let choice = crate::decide::choose(world.cluster()).expect("a choice");
            world.must(Command::Choose(Box::new(choice)));
        }
        world
    }

    #[test]
    fn it_is_refused_where_nothing_is_left_to_withdraw() {
        let off = "`primacy policy set shop automation=off`";
        let table = [
            (
                "serving",
                1,
                format!(
                    "abort: nothing is under way: epoch 1 of shop is not deposed, and no inquest \
                     is open. To hold back failovers beforehand: {off}"
                ),
            ),
            (
                "chosen",
                1,
                format!(
                    "abort: epoch 1 of shop has its successor already, a is chosen for epoch 2, \
                     and a choice is not withdrawn; `primacy describe shop` shows how far it is. \
                     To hold back further failovers: {off}"
                ),
            ),
            (
                "deposed",
                2,
                "abort: expected epoch 2, the log is at 1".to_owned(),
            ),
            (
                "inquest",
                7,
                "abort: expected epoch 7, the log is at 1".to_owned(),
            ),
        ];
        for (step, epoch, expected) in table {
            assert_eq!(at_step(step).refusal(abort(epoch)), expected, "{step}");
        }
    }

    #[test]
    fn it_takes_effect_once() {
        for step in ["inquest", "deposed", "exited", "confirmed", "frozen"] {
            let mut world = at_step(step);
            let events = world.must(abort(1));
            assert_eq!(events.len(), 1, "{step}");
            assert_eq!(events[0].kind, EventKind::Aborted, "{step}");
            assert_eq!(world.must(abort(1)), [], "{step}: asked again");
        }
        assert_eq!(at_step("reinstated").must(abort(1)), [], "carried out");
    }

    #[test]
    fn an_aborted_inquest_is_closed_and_the_next_is_a_new_one() {
        let mut world = at_step("inquest");
        let late = world.vote(3, SightKind::Silent, 10_000);
        world.must(abort(1));
        assert_eq!(world.cluster().inquest, None);
        assert_eq!(world.cluster().judgement, None);
        world.refusal(Command::Vote(Box::new(late)));
        world.open_inquest();
        assert_eq!(world.cluster().inquests, InquestId(2));
        assert_eq!(world.cluster().aborted, None, "it was of the last inquest");
    }

    #[test]
    fn an_approval_lifts_it_and_no_more() {
        let mut world = at_step("inquest");
        world.must(abort(1));
        let events = world.must(approve(1));
        assert_eq!(events[0].kind, EventKind::AbortLifted);
        assert!(world.cluster().deposition().is_none());
        assert_eq!(world.cluster().aborted, None);
        assert_eq!(
            world.refusal(approve(1)),
            "a failover needs the verdict Dead, the votes say otherwise: no inquest is open: \
             nobody sees it silent"
        );

        let mut world = at_step("frozen");
        world.must(abort(1));
        assert!(crate::decide::choose(world.cluster()).is_err());
        world.must(approve(1));
        let choice = crate::decide::choose(world.cluster()).expect("as before the abort");
        assert_eq!(choice.to, instance("a"));
    }

    /// A leader that had planned before it saw the abort.
    #[test]
    fn a_choice_of_another_made_before_the_abort_is_refused() {
        let mut world = at_step("frozen");
        let choice = crate::decide::choose(world.cluster()).expect("a choice");
        world.must(abort(1));
        assert_eq!(
            world.refusal(Command::Choose(Box::new(choice))),
            "the choice is unsound: after an abort the old primary alone opens again"
        );
    }

    #[test]
    fn the_old_primary_opens_for_the_next_epoch() {
        let mut world = at_step("reinstated");
        assert_eq!(world.cluster().epoch, Epoch(2));
        assert_eq!(world.cluster().primary, instance("p"));
        world.open(2, "p", "p:1-14");
        assert!(world.cluster().serving().is_some());
        assert_eq!(world.cluster().rest_ms, 0, "a reinstatement does not count");
    }
}
