//! What a call of a lane came to. Told only after the commit.

use crate::StepAnswer;
use tonic::{Code, Status};

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Of a saga's.
    Step(StepAnswer),
    /// Of a client's.
    Request(Told),
}

/// What a client is told of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Done, now or (`replayed`) before.
    Done {
        /// The recorded reply.
        reply: Vec<u8>,
        /// Whether an earlier call did it.
        replayed: bool,
    },
    /// Rejected by a business rule, now or (`replayed`) before; recorded either way.
    Rejected {
        /// The encoded [`saga_api::v1::StepRejection`].
        rejection: Vec<u8>,
        /// Whether an earlier call was.
        replayed: bool,
    },
    /// The client used the request id for other content before.
    RequestIdReused([u8; 16]),
}

impl Outcome {
    /// The answer of a step.
    ///
    /// # Errors
    /// INTERNAL when the call was a client's.
    pub fn into_step(self) -> Result<StepAnswer, Status> {
        match self {
            Self::Step(answer) => Ok(answer),
            Self::Request(_) => Err(Status::internal("a step was answered as a request")),
        }
    }

    /// The answer of a client's request.
    ///
    /// # Errors
    /// INTERNAL when the call was a step's.
    pub fn into_request(self) -> Result<Told, Status> {
        match self {
            Self::Request(told) => Ok(told),
            Self::Step(_) => Err(Status::internal("a request was answered as a step")),
        }
    }
}

/// Whether no retry heals an error with this code.
pub fn never_heals(code: Code) -> bool {
    matches!(
        code,
        Code::Unimplemented
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::InvalidArgument
            | Code::OutOfRange
    )
}

/// Why a lane did not answer.
pub(crate) fn of_lane(error: &lane::Error) -> Status {
    let text = error.to_string();
    match error {
        lane::Error::Overloaded { .. } => Status::resource_exhausted(text),
        lane::Error::DeadlineExceeded(_) => Status::deadline_exceeded(text),
        lane::Error::Closed(_) | lane::Error::Unknown(_) => Status::unavailable(text),
        _ => {
            tracing::error!(%error, "a lane could not run a step");
            Status::internal("the step could not be run")
        }
    }
}

/// A fault of the database, told without its words.
pub(crate) fn of_db(error: &db::Error) -> Status {
    tracing::error!(%error, "the database failed a call");
    if error.is_passing() {
        Status::unavailable("the database is not available")
    } else {
        Status::internal("the database failed the call")
    }
}
