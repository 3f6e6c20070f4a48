//! What a call of a lane came to, and how it is told over gRPC.

use crate::{Found, SagaId, StepNo};
use api::outcome::{IDEMPOTENCY_REPLAYED, SAGA_OUTCOME};
use api::saga::v1::StepFound;
use api::{Reason, Refusal};
use prost::Message;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Response, Status};

/// The values of the trailer `saga-outcome`: what a participant's answer was read from.
pub mod marks {
    /// A row that says done.
    pub const DONE: &str = "done";
    /// A row that says rejected: only so marked is a refusal final.
    pub const REJECTED: &str = "rejected";
    /// A row of the same step with other content.
    pub const OTHER_CONTENT: &str = "other-content";
}

/// What became of a call. Told only after the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done, now or (`replayed`) before.
    Done {
        /// The recorded reply.
        reply: Vec<u8>,
        /// Whether an earlier call did it.
        replayed: bool,
    },
    /// Rejected by a business rule, now or (`replayed`) before; recorded either way.
    Rejected {
        /// The encoded [`Refusal`].
        refusal: Vec<u8>,
        /// Whether an earlier call was.
        replayed: bool,
    },
    /// The step was undone or closed before it came: it never runs.
    Tombstoned(SagaId, StepNo),
    /// The step ran with other content: a defect of the caller.
    OtherContent,
    /// The saga is over and its rows may be gone.
    Purged(SagaId, StepNo),
    /// What a compensation or a void found, with the recorded reply.
    Found {
        /// The row it found.
        found: Found,
        /// The reply, refusal or reason in that row.
        reply: Vec<u8>,
    },
    /// The client used the request id for other content before.
    RequestIdReused([u8; 16]),
}

impl Outcome {
    /// The gRPC answer of a client's request.
    ///
    /// # Errors
    /// The refusal, or why the request did not run.
    pub fn into_answer<R: Message + Default>(self) -> Result<Response<R>, Status> {
        match self {
            Self::Done { reply, replayed } => {
                let reply = R::decode(reply.as_slice()).map_err(|_| unreadable())?;
                let mut response = Response::new(reply);
                mark_replayed(response.metadata_mut(), replayed);
                Ok(response)
            }
            Self::Rejected { refusal, replayed } => {
                let mut status: Status =
                    Refusal::decode(&refusal).map_err(|_| unreadable())?.into();
                mark_replayed(status.metadata_mut(), replayed);
                Err(status)
            }
            Self::Tombstoned(saga, step) => Err(of_step(Reason::SagaStepTombstoned, saga, step)),
            Self::Purged(saga, step) => Err(of_step(Reason::SagaPurged, saga, step)),
            Self::RequestIdReused(id) => {
                let id = uuid::Uuid::from_bytes(id);
                Err(Refusal::new(Reason::RequestIdReused).with("request_id", id).into())
            }
            Self::OtherContent | Self::Found { .. } => Err(Refusal::new(Reason::Internal).into()),
        }
    }

    /// The gRPC answer of a saga's action: what is on record is marked so by the trailer `saga-outcome`.
    ///
    /// # Errors
    /// The recorded refusal, or why the action did not run.
    pub fn into_response<R: Message + Default>(self) -> Result<Response<R>, Status> {
        let mark = match &self {
            Self::Done { .. } => Some(marks::DONE),
            Self::Rejected { .. } => Some(marks::REJECTED),
            Self::OtherContent => Some(marks::OTHER_CONTENT),
            _ => None,
        };
        let mut answer = self.into_answer();
        if let Some(mark) = mark.map(MetadataValue::from_static) {
            let metadata = match &mut answer {
                Ok(response) => response.metadata_mut(),
                Err(status) => status.metadata_mut(),
            };
            metadata.insert(SAGA_OUTCOME, mark);
        }
        answer
    }

    /// What a compensation or void found, with the recorded bytes.
    ///
    /// # Errors
    /// INTERNAL when the call was neither.
    pub fn into_found(self) -> Result<(StepFound, Vec<u8>), Status> {
        match self {
            Self::Found { found, reply } => Ok((found_of(found), reply)),
            _ => Err(Refusal::new(Reason::Internal).into()),
        }
    }
}

/// The contract's word for what was found.
pub fn found_of(found: Found) -> StepFound {
    match found {
        Found::Nothing => StepFound::Nothing,
        Found::Done => StepFound::Done,
        Found::Rejected => StepFound::Rejected,
        Found::Compensated => StepFound::Compensated,
        Found::Tombstone => StepFound::Tombstone,
        Found::Purged => StepFound::Purged,
    }
}

/// Why a lane did not answer, as a gRPC error.
pub fn refuse_lane(error: &lane::Error) -> Status {
    let refusal = match error {
        lane::Error::Overloaded { retry_after, .. } => Refusal::overloaded(*retry_after),
        lane::Error::DeadlineExceeded(_) => Refusal::new(Reason::DeadlineExceeded),
        lane::Error::Closed(_) | lane::Error::Unknown(_) => Refusal::new(Reason::Unavailable),
        _ => Refusal::new(Reason::Internal),
    };
    refusal.into()
}

fn of_step(reason: Reason, saga: SagaId, step: StepNo) -> Status {
    Refusal::new(reason).with("saga_id", saga).with("step", step).into()
}

fn mark_replayed(metadata: &mut MetadataMap, replayed: bool) {
    if replayed {
        metadata.insert(IDEMPOTENCY_REPLAYED, MetadataValue::from_static("true"));
    }
}

fn unreadable() -> Status {
    tracing::error!("a recorded reply does not decode");
    Refusal::new(Reason::Internal).into()
}
