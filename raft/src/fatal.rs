//! What this node cannot survive.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::watch;

/// The node has stopped taking part, for this reason. The process must end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct FatalError(Arc<str>);

impl FatalError {
    pub(crate) fn new(what: impl ToString) -> Self {
        Self(what.to_string().into())
    }
}

/// Where the first fatal error is kept.
#[derive(Clone, Debug)]
pub struct FatalCell(watch::Sender<Option<FatalError>>);

impl FatalCell {
    pub fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// The first error stays: later ones follow from it.
    pub fn set(&self, error: FatalError) {
        self.0.send_if_modified(|first| {
            if first.is_some() {
                return false;
            }
            tracing::error!("this node stops: {error}");
            *first = Some(error);
            true
        });
    }

    pub fn get(&self) -> Option<FatalError> {
        self.0.borrow().clone()
    }

    pub fn subscribe(&self) -> watch::Receiver<Option<FatalError>> {
        self.0.subscribe()
    }
}
