//! A region's incident: many of its primaries fell silent together, which is one trouble.
//!
//! While it lasts, who replaces a primary of that region is looked for outside it first: the next
//! one inside would likely go the same way.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::cluster::{Cluster, Stage};
use super::command::{Event, EventKind};
use super::limits::named;
use super::state::State;
use crate::ids::{ClusterId, Epoch, Position, Region};
use crate::observe::SightKind;

/// Fewer are no coincidence: one cluster's trouble is its own.
const SUSPECTS_MIN: usize = 2;

/// One that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// The entry that opened it.
    pub at: Position,
    /// Every cluster that was suspected while it lasted, recovered ones included.
    pub clusters: BTreeSet<ClusterId>,
}

impl Cluster {
    fn belongs_to(&self, region: &Region) -> bool {
        let founded = !matches!(self.stage, Stage::Founding { .. });
        founded && (self.home() == Some(region) || self.failing_in() == Some(region))
    }
}

impl State {
    /// Whether this cluster speaks for an incident of this region: a failover from there is under
    /// way, or a majority of all voters sees its primary there silent or starved, for however short.
    pub fn suspects(&self, cluster: &Cluster, region: &Region) -> bool {
        if cluster.failing_in() == Some(region) {
            return true;
        }
        let Some(inquest) = &cluster.inquest else {
            return false;
        };
        let silent = inquest.votes.values().filter(|vote| {
            let suspect = matches!(vote.sight.kind, SightKind::Silent | SightKind::Starved);
            suspect && self.voters.contains_key(&vote.node)
        });
        cluster.home() == Some(region) && silent.count() > self.voters.len() / 2
    }

    /// Whether an incident is open for the region of this cluster's primary.
    pub(super) fn region_fails(&self, id: &ClusterId) -> bool {
        let home = self.clusters.get(id).and_then(|cluster| cluster.home());
        home.is_some_and(|home| self.incidents.contains_key(home))
    }

    /// Opens an incident for the region of this cluster's primary, or has the cluster join it, if
    /// it is suspected.
    pub(super) fn suspect(&mut self, at: Position, id: &ClusterId) -> Option<Event> {
        let cluster = self.clusters.get(id)?;
        let region = cluster.home()?.clone();
        if !self.suspects(cluster, &region) {
            return None;
        }
        if let Some(incident) = self.incidents.get_mut(&region) {
            if !incident.clusters.insert(id.clone()) {
                return None;
            }
            let what = format!("{id} joins the regional incident in {region}");
            return Some(event(EventKind::IncidentJoined, Some(id.clone()), what));
        }
        let suspected = |one: &&Cluster| self.suspects(one, &region);
        let clusters = || self.clusters.values().map(|one| one.as_ref());
        let together: Vec<_> = clusters().filter(suspected).map(|one| &one.id).collect();
        if together.len() < SUSPECTS_MIN {
            return None;
        }
        let all = clusters().filter(|one| one.belongs_to(&region)).count();
        let percent = cluster.policy.region_suspect_percent as usize;
        if together.len() * 100 <= percent * all {
            return None;
        }
        let what = format!(
            "regional incident in {region}: {} of {all} primaries fell silent together: {}",
            together.len(),
            named(&together)
        );
        let clusters = together.into_iter().cloned().collect();
        self.incidents.insert(region, Incident { at, clusters });
        Some(event(EventKind::IncidentOpened, None, what))
    }

    /// Ends the incidents of which nobody is suspected any more. Asked after each command: whatever
    /// changed, the members are few, and all is looked at only when none of them is left.
    pub(super) fn end_incidents(&mut self) -> Vec<Event> {
        let over = |region: &Region, incident: &Incident| {
            let mut members = incident.clusters.iter();
            let suspected = |one: &Cluster| self.suspects(one, region);
            !members.any(|id| self.clusters.get(id).is_some_and(|one| suspected(one)))
                && !self.clusters.values().any(|one| suspected(one))
        };
        let ended: Vec<Region> = self
            .incidents
            .iter()
            .filter(|(region, incident)| over(region, incident))
            .map(|(region, _)| region.clone())
            .collect();
        let mut events = Vec::new();
        for region in ended {
            let Some(incident) = self.incidents.remove(&region) else {
                continue;
            };
            let clusters: Vec<_> = incident.clusters.iter().collect();
            let what = format!(
                "the regional incident in {region} has ended: no primary there is suspected any \
                 more; it was of {}",
                named(&clusters)
            );
            events.push(event(EventKind::IncidentEnded, None, what));
        }
        events
    }

    /// The laws of incidents that do not hold, in words.
    pub(super) fn incident_violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (region, incident) in &self.incidents {
            let known = |id| self.clusters.contains_key(id);
            if incident.clusters.len() < SUSPECTS_MIN || !incident.clusters.iter().all(known) {
                found.push(format!(
                    "the incident in {region} is of several registered clusters"
                ));
            }
        }
        found
    }
}

fn event(kind: EventKind, cluster: Option<ClusterId>, what: String) -> Event {
    Event {
        cluster,
        epoch: Epoch::INITIAL,
        kind,
        what,
    }
}
