//! What an operator's approval allows beyond the failover itself.

use primacy_core::gtid::GtidSet;
use primacy_core::policy::MaxLoss;
use primacy_core::record::Approval;
use primacy_proto::v1::ApproveFailoverRequest;

/// Errors name the field, the value and what would be taken.
pub(super) fn allowed(request: &ApproveFailoverRequest) -> Result<Approval, String> {
    let max_loss = match request.max_loss.as_str() {
        "" => None,
        "stated" => Some(MaxLoss::Stated),
        "any" => Some(MaxLoss::Any),
        other => {
            return Err(format!(
                "max_loss: {other:?} is neither \"stated\" nor \"any\""
            ));
        }
    };
    let errant = gtid_set("accept_errant", &request.accept_errant)?;
    Ok(Approval {
        to: (!request.to.is_empty()).then(|| request.to.as_str().into()),
        errant,
        max_loss,
    })
}

/// The GTID set that a field names.
pub(super) fn gtid_set(field: &str, text: &str) -> Result<GtidSet, String> {
    text.parse().map_err(|error| {
        format!(
            "{field}: {text:?} is no GTID set: {error}; `primacy explain` shows the one to name"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_is_not_allowed() {
        let request = ApproveFailoverRequest::default();
        assert_eq!(allowed(&request), Ok(Approval::default()));
    }

    #[test]
    fn what_is_named_is_allowed() {
        let set = "24c7bdd9-e592-11f1-a7ed-02fc00000001:1-5";
        let request = ApproveFailoverRequest {
            to: "orders-2".into(),
            accept_errant: set.into(),
            max_loss: "stated".into(),
            ..Default::default()
        };
        let expected = Approval {
            to: Some("orders-2".into()),
            errant: set.parse().unwrap(),
            max_loss: Some(MaxLoss::Stated),
        };
        assert_eq!(allowed(&request), Ok(expected));
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        let refused = |max_loss: &str, accept_errant: &str| {
            let request = ApproveFailoverRequest {
                max_loss: max_loss.into(),
                accept_errant: accept_errant.into(),
                ..Default::default()
            };
            allowed(&request).unwrap_err()
        };
        assert_eq!(
            refused("zero", ""),
            "max_loss: \"zero\" is neither \"stated\" nor \"any\""
        );
        assert!(refused("", "1-5").starts_with("accept_errant: \"1-5\" is no GTID set: "));
    }
}
