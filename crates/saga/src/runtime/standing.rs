//! How a saga stands, as callers are told.

use super::engine::NotAccepted;
use super::live::Progress;
use crate::journal::{Ended, EndedAs, Record};
use participant::SagaId;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// How a saga stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Not decided, or not finished.
    Running,
    /// It has ended, and nothing else will ever be told.
    Ended {
        /// How.
        outcome: EndedAs,
        /// The plan's record of the result.
        result: Arc<[u8]>,
    },
}

/// What became of a client's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its saga.
    pub saga: SagaId,
    /// How that stands.
    pub standing: Standing,
    /// Whether an earlier request began it.
    pub joined: bool,
}

/// Why nothing can be told of a saga or a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoStanding {
    /// No such saga is recorded.
    #[error("no such saga is recorded")]
    NotFound,
    /// Nothing happened: there is too much to do.
    #[error("too many sagas in flight")]
    Overloaded {
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// The request id was used for other content.
    #[error("the request id was used for other content")]
    Reused,
    /// The journal or a participant cannot be asked, or the outcome of a commit is not known yet: ask again.
    #[error("the outcome is not known; ask again")]
    Unavailable,
    /// Something that was recorded does not decode.
    #[error("a record of saga {0} does not decode")]
    Unreadable(SagaId),
}

impl Standing {
    /// As the journal has it.
    pub fn recorded(record: &Record) -> Self {
        match record {
            Record::Running(_) => Self::Running,
            Record::Ended(Ended { outcome, result, .. }) => {
                Self::Ended { outcome: *outcome, result: result.as_slice().into() }
            }
        }
    }

    /// The end that an executor has told; `None` where it has told none.
    pub(super) fn told(progress: &Progress) -> Option<Self> {
        match progress {
            Progress::Decided { outcome, result, .. } => {
                Some(Self::Ended { outcome: *outcome, result: Arc::clone(result) })
            }
            _ => None,
        }
    }
}

impl From<NotAccepted> for NoStanding {
    fn from(error: NotAccepted) -> Self {
        match error {
            NotAccepted::Overloaded { retry_after } => Self::Overloaded { retry_after },
            NotAccepted::Reused => Self::Reused,
        }
    }
}

impl From<db::Error> for NoStanding {
    fn from(error: db::Error) -> Self {
        warn!(%error, "journal not readable");
        Self::Unavailable
    }
}
