//! The alarms of the clusters in this node's log: each once when it is raised, once when it is over.
//!
//! A line in the log is all that there is: it names code, cluster, instance and data, so that
//! whatever reads logs can page somebody.

use primacy_core::alarm::Change;
use primacy_core::ids::ClusterId;

/// The target of these lines.
pub const TARGET: &str = "primacy::alarm";

pub(super) fn log(cluster: &ClusterId, change: &Change) {
    let shown = change.shown();
    let code = shown.alarm.code();
    let instance = shown.instance.as_ref().map_or("", |id| id.as_str());
    match change {
        Change::Raised(_) => {
            let data = serde_json::to_string(&shown.alarm).unwrap_or_default();
            // One line, whatever a server's error text holds.
            let text = shown.to_string().replace('\n', " ");
            tracing::warn!(target: TARGET, code, %cluster, instance, data, "raised: {text}");
        }
        Change::Cleared(_) => {
            let for_ms = shown.for_ms;
            tracing::info!(target: TARGET, code, %cluster, instance, for_ms, "cleared");
        }
        Change::Left(_) => {
            tracing::info!(target: TARGET, code, %cluster, instance, "left to the next leader");
        }
    }
}
