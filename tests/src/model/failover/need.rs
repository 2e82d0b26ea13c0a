//! Need: what the next primary must hold, from what the frozen members of V reported.
//!
//! A commit waits for k of V and of the strangers that count. Of these, u were not heard, or not
//! with an unbroken memory; so whatever was acknowledged is in at least k − u of the reports.
//!
//! *F* is for the proof of silence, *M* ⊆ F for content. Need is taken from the whole of M: a part
//! of it has one report less and one unheard more for each member that it leaves out, so a write
//! that reaches the threshold of M reaches that of any part. No part needs less, hence none needs to
//! be tried (law L, and this is its proof).

use super::plane::Log;
use super::{Config, Instance, Mistake, Set, State, WriteId};

impl Log {
    /// |V|−k+1: as many frozen ackers leave the old primary without k. A stranger counts as one more
    /// that nobody froze.
    fn enough_frozen(&self, config: &Config) -> u8 {
        self.counted_ackers(config) - self.wait_for + 1
    }

    /// So many of F stop the old primary, so many of M tell what it acknowledged.
    fn passes_for_enough(&self, config: &Config, members: Set<Instance>) -> bool {
        let spared = u8::from(config.makes(Mistake::OneAckerTooFew));
        members.len() + spared >= self.enough_frozen(config)
    }

    /// |V| and the strangers: whose acknowledgements the old primary may have counted.
    fn counted_ackers(&self, config: &Config) -> u8 {
        let strangers = if config.makes(Mistake::StrangersNotCounted) {
            0
        } else {
            self.strangers_counted()
        };
        self.ackers.len() + strangers
    }

    /// F: the members of V that reported their freeze.
    pub fn frozen_members(&self, config: &Config) -> Set<Instance> {
        self.frozen_replicas(config).both(self.ackers)
    }

    /// M: those of F whose memory was unbroken when they first reported.
    pub fn remembering_members(&self, config: &Config) -> Set<Instance> {
        let remembers = |member: &Instance| {
            config.makes(Mistake::BrokenMemoryCounts)
                || self.report(*member).is_some_and(|of| of.unbroken)
        };
        let frozen = self.frozen_members(config);
        frozen.iter().filter(remembers).collect()
    }

    /// `AckersFrozen` stands.
    pub fn ackers_are_frozen(&self, config: &Config) -> bool {
        self.passes_for_enough(config, self.frozen_members(config))
    }

    /// It would stand, if it were not for strangers.
    pub fn members_are_frozen(&self, config: &Config) -> bool {
        let counted = self.frozen_members(config).len() + self.strangers_counted();
        counted >= self.enough_frozen(config)
    }

    /// What reports make a write needed: k − u, u being all that F′ leaves out.
    fn threshold(&self, config: &Config, reporting: Set<Instance>) -> u8 {
        let unheard = if config.makes(Mistake::UnheardTakenForSilent) {
            0
        } else {
            self.counted_ackers(config) - reporting.len()
        };
        let higher = u8::from(config.makes(Mistake::ThresholdOneHigher));
        if config.makes(Mistake::UnionOfReports) {
            return 1;
        }
        self.wait_for.saturating_sub(unheard).max(1) + higher
    }
}

impl State {
    /// What the next primary must hold, as far as the log can tell by now. The confirmed final set
    /// stands in where too few are left to tell: it holds what was never acknowledged too, since a
    /// fence or a recovery commits what still waited.
    pub fn need(&self, config: &Config) -> Option<Set<WriteId>> {
        if let Some(unchanged) = self.need_if_unopened(config) {
            return Some(unchanged);
        }
        let (log, members) = (&self.log, self.log.remembering_members(config));
        let told = log.passes_for_enough(config, members);
        let reported = told.then(|| self.reported_by(config, members));
        let content = if config.makes(Mistake::ConfirmedAlwaysTaken) {
            log.confirmed.or(reported)
        } else {
            reported.or(log.confirmed)
        };
        content.map(|content| content.union(self.floor(config)))
    }

    /// The same from a part of M, where it is large enough. Law L compares.
    pub fn need_of_part(&self, config: &Config, part: Set<Instance>) -> Option<Set<WriteId>> {
        let told = part.len() >= self.log.enough_frozen(config);
        told.then(|| {
            let reported = self.reported_by(config, part);
            reported.union(self.floor(config))
        })
    }

    /// What every later primary must hold: what this one had to.
    pub fn carried_need(&self) -> Set<WriteId> {
        self.log
            .term(self.log.epoch)
            .map_or(Set::EMPTY, |term| term.need)
    }

    /// What need holds whatever the members report.
    pub fn floor(&self, config: &Config) -> Set<WriteId> {
        let carried = if config.makes(Mistake::NoFloor) {
            Set::EMPTY
        } else {
            self.carried_need()
        };
        carried.union(self.log.known)
    }

    /// What k − u of these members reported. One that never followed the deposed primary was heard,
    /// and adds nothing.
    fn reported_by(&self, config: &Config, members: Set<Instance>) -> Set<WriteId> {
        let threshold = self.log.threshold(config, members);
        let known = Set::<WriteId>::first(self.writes.len() as u8);
        let reported = |write: &WriteId| {
            let holds = |member: &Instance| self.attested(config, *member).contains(*write);
            members.iter().filter(holds).count() as u8 >= threshold
        };
        known.iter().filter(reported).collect()
    }

    /// What this member may have acknowledged to the deposed primary, without what is errant.
    fn attested(&self, config: &Config, member: Instance) -> Set<WriteId> {
        let Some(report) = self.log.report(member) else {
            return Set::EMPTY;
        };
        let held = if config.makes(Mistake::UnjoinedCountInNeed) {
            report.has
        } else {
            report.held.unwrap_or(Set::EMPTY)
        };
        held.minus(self.errant(config, member))
            .minus(self.log.common)
    }

    /// What `member` alone reported, under a `server_uuid` that no primary ever had.
    pub fn errant(&self, config: &Config, member: Instance) -> Set<WriteId> {
        let log = &self.log;
        let Some(report) = log.report(member) else {
            return Set::EMPTY;
        };
        let others = config.all().without(member);
        report
            .has
            .minus(log.common)
            .iter()
            .filter(|write| {
                let origin = self.writes[usize::from(write.0)].origin;
                let deposed = origin == log.primary();
                let lawful = log.ever_primary(origin)
                    && !(deposed && config.makes(Mistake::ErrantRuleOnDeposed));
                let alone = !others
                    .iter()
                    .any(|other| log.report(other).is_some_and(|of| of.has.contains(*write)));
                alone && !lawful
            })
            .collect()
    }
}
