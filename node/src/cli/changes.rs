//! What changed, as a person reads it: the policy and who changed it, and the timeline.

use primacy_core::record::{Cluster, policy_fields};

use super::show::{drawn, table, word};
use crate::api::HistoryEvent;

/// The policy, and who changed which field last.
pub(super) fn policy(cluster: &Cluster) -> String {
    let changes = &cluster.changes;
    let mut rows = table(&["POLICY", "VALUE", "REVISION", "CHANGED BY", "AT (UTC)"]);
    if let serde_json::Value::Object(fields) = policy_fields(&cluster.policy) {
        for (name, value) in fields {
            let mut row = vec![name.clone(), word(&value)];
            if let Some(change) = changes.fields.get(&name) {
                row.extend([change.revision.to_string(), change.who.clone()]);
                row.extend((change.wall_ms > 0).then(|| moment(change.wall_ms)));
            }
            rows.add_row(row);
        }
    }
    format!("{}\npolicy revision {}", drawn(rows), changes.revision)
}

pub(super) fn history(events: &[HistoryEvent]) -> String {
    let mut rows = table(&["LOG", "TIME (UTC)", "CLUSTER", "EPOCH", "WHAT"]);
    for event in events {
        rows.add_row([
            event.log_index.to_string(),
            moment(event.wall_ms),
            event
                .event
                .cluster
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            event.event.epoch.to_string(),
            event.event.what.clone(),
        ]);
    }
    drawn(rows)
}

/// `YYYY-MM-DD HH:MM:SS.mmm` of Unix milliseconds.
fn moment(wall_ms: u64) -> String {
    let of_day = wall_ms / 1_000 % 86_400;
    let (hours, minutes, seconds) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let (year, month, day) = date(wall_ms / 86_400_000);
    format!(
        "{year}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}.{:03}",
        wall_ms % 1_000
    )
}

/// Year, month and day of so many days after 1970-01-01, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    // Years that begin in March end with the leap day; 400 of them have always as many days.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_as_a_date_and_a_time() {
        for (wall_ms, expected) in [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_400_123, "2000-02-29 00:00:00.123"),
            (1_709_251_199_999, "2024-02-29 23:59:59.999"),
            (1_709_251_200_000, "2024-03-01 00:00:00.000"),
            (1_767_225_599_000, "2025-12-31 23:59:59.000"),
        ] {
            assert_eq!(moment(wall_ms), expected);
        }
    }
}
