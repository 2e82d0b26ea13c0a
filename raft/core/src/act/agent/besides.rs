//! What a beat tells of the server besides, for people.

use super::Agent;
use crate::observe::Besides;

impl Agent {
    pub(super) fn besides(&self) -> Option<Box<Besides>> {
        let survey = self.survey.as_ref()?;
        let open = matches!(self.role, super::Role::Open(_));
        let dumps = survey.semi_sync_dumps.iter();
        Some(Box::new(Besides {
            channels: survey.ground.channels.clone(),
            sync_relay_log: survey.ground.sync_relay_log,
            relay_log_recovery: survey.ground.relay_log_recovery,
            acknowledging: dumps.filter_map(|dump| dump.uuid).collect(),
            not_sent: self.hindered().filter(|_| open),
            forgot: self.forgot(survey),
            goes_away: self.goes_away(),
            own_writes: self.own_writes(),
        }))
    }
}
