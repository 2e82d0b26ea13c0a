//! The timeline, page by page: from a position on, or backward from the newest.

use primacy_core::ids::LogIndex;
use primacy_proto::v1::{ListHistoryRequest, ListHistoryResponse};
use primacy_raft::{HistoryEntry, HistoryError};
use tonic::Status;

use super::{Access, HistoryEvent};

/// Entries, or events, of one page.
const PAGE_MAX: u32 = 1_000;
/// Entries read from the disk at once.
const READ_AT_ONCE: usize = 500;
/// Entries looked through for one page: votes of other clusters may be all that there is for long,
/// and nobody is to wait for minutes.
const LOOK_MAX: usize = 20_000;

impl Access {
    /// A page of log entries, oldest first.
    pub(super) async fn history_from(
        &self,
        request: &ListHistoryRequest,
    ) -> Result<ListHistoryResponse, Status> {
        let limit = request.page_size.clamp(1, PAGE_MAX) as usize;
        let entries = self
            .handle
            .history(LogIndex(request.from_log_index), limit)
            .await
            .map_err(unreadable)?;
        let mut page = ListHistoryResponse {
            next_log_index: request.from_log_index,
            ..ListHistoryResponse::default()
        };
        for entry in entries {
            page.next_log_index = entry.at.index.0 + 1;
            page.event_json.extend(events_of(entry, &request.cluster)?);
        }
        Ok(page)
    }

    /// The newest events below a position. The events of one entry stay together.
    pub(super) async fn history_before(
        &self,
        request: &ListHistoryRequest,
        before: u64,
    ) -> Result<ListHistoryResponse, Status> {
        let limit = request.page_size.clamp(1, PAGE_MAX) as usize;
        let mut before = (before > 0).then_some(LogIndex(before));
        let mut newest_first = Vec::new();
        let (mut found, mut looked) = (0, 0);
        'page: while looked < LOOK_MAX {
            let entries = self.handle.history_newest(before, READ_AT_ONCE).await;
            let entries = entries.map_err(unreadable)?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                before = Some(entry.at.index);
                looked += 1;
                let events = events_of(entry, &request.cluster)?;
                found += events.len();
                newest_first.push(events);
                if found >= limit {
                    break 'page;
                }
            }
        }
        let oldest = self.handle.history(LogIndex(0), 1).await;
        let oldest = oldest.map_err(unreadable)?.pop();
        let older = before.zip(oldest);
        let older_entries = older.map_or(0, |(before, oldest)| {
            before.0.saturating_sub(oldest.at.index.0)
        });
        Ok(ListHistoryResponse {
            event_json: newest_first.into_iter().rev().flatten().collect(),
            next_log_index: 0,
            before_log_index: before.map_or(0, |before| before.0),
            older_entries,
        })
    }
}

fn unreadable(error: HistoryError) -> Status {
    Status::unavailable(format!("{:#}", anyhow::Error::new(error)))
}

/// What happened by one entry to a cluster, or to any if none is named.
fn events_of(entry: HistoryEntry, cluster: &str) -> Result<Vec<String>, Status> {
    let proposer = entry.proposal.proposer;
    let results = entry
        .outcome
        .into_iter()
        .flat_map(|outcome| outcome.results);
    let mut told = Vec::new();
    for event in results.flatten().flatten() {
        // What befalls the whole plane or a region is part of each cluster's history.
        let of_another = event
            .cluster
            .as_ref()
            .is_some_and(|of| of.as_str() != cluster);
        if !cluster.is_empty() && of_another {
            continue;
        }
        let event = HistoryEvent {
            log_index: entry.at.index.0,
            term: entry.at.term.0,
            wall_ms: entry.proposal.wall_ms,
            proposed_by: proposer.of_door(),
            by_operator: proposer != proposer.of_door(),
            event,
        };
        let text =
            serde_json::to_string(&event).map_err(|error| Status::internal(error.to_string()))?;
        told.push(text);
    }
    Ok(told)
}
