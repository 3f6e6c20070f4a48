//! Calling participants, and telling what their answers mean for a saga.

use api::coupon::v1::coupon_participant_service_client::CouponParticipantServiceClient;
use api::order::v1::order_participant_service_client::OrderParticipantServiceClient;
use api::outcome::{SAGA_OUTCOME, TRACEPARENT, X_TRACE_ID};
use api::product::v1::product_participant_service_client::ProductParticipantServiceClient;
use api::saga::v1::{StepFound, StepKey, StepRejection};
use api::wallet::v1::wallet_participant_service_client::WalletParticipantServiceClient;
use api::{Reason, Refusal};
use participant::{Found, SagaId, StepNo, Trace, marks};
use platform::Transport;
use prost::Message;
use saga::decide::{ActReply, UndoReply, VoidReply};
use saga::journal::Start;
use saga::runtime::StepError;
use std::time::Duration;
use tonic::{Code, Request, Response, Status};

/// The participants' clients, in process or over the wire.
#[derive(Clone)]
pub struct Participants {
    /// Stock.
    pub product: ProductParticipantServiceClient<Transport>,
    /// Coupons.
    pub coupon: CouponParticipantServiceClient<Transport>,
    /// Money.
    pub wallet: WalletParticipantServiceClient<Transport>,
    /// Orders: the registers.
    pub order: OrderParticipantServiceClient<Transport>,
}

/// One saga's calls: its id and its trace go with each.
#[derive(Clone)]
pub(crate) struct Caller {
    saga: SagaId,
    trace: Trace,
}

impl Caller {
    pub(crate) fn new(start: &Start) -> Self {
        Self { saga: start.saga, trace: start.trace.clone() }
    }

    pub(crate) fn key(&self, step: StepNo) -> StepKey {
        StepKey { saga_id: self.saga.0.to_vec(), step: i32::from(step.0) }
    }

    /// A request that gives up after `budget` and carries the saga's trace.
    pub(crate) fn request<T>(&self, message: T, budget: Duration) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(budget);
        let headers = [(X_TRACE_ID, &self.trace.trace_id), (TRACEPARENT, &self.trace.traceparent)];
        for (name, value) in headers {
            if let Ok(value) = value.parse() {
                request.metadata_mut().insert(name, value);
            }
        }
        request
    }
}

/// What the answer to an action means. `rejections` are the reasons that the step may give.
pub(crate) fn acted<R: Message>(
    answer: Result<Response<R>, Status>,
    rejections: &[Reason],
) -> Result<ActReply, StepError> {
    let status = match answer {
        Ok(response) => return Ok(ActReply::Done(response.get_ref().encode_to_vec())),
        Err(status) => status,
    };
    let refusal = Refusal::from_status(&status);
    let reason = refusal.as_ref().map(|refusal| refusal.reason);
    let marked = status.metadata().get(SAGA_OUTCOME).and_then(|value| value.to_str().ok());
    match (marked, refusal) {
        (Some(marks::REJECTED), Some(refusal)) if rejections.contains(&refusal.reason) => {
            return Ok(ActReply::Rejected(refusal.encode()));
        }
        (Some(marks::OTHER_CONTENT), _) => return Ok(ActReply::OtherContent),
        _ => {}
    }
    match reason {
        Some(Reason::SagaStepTombstoned) => Ok(ActReply::Tombstoned),
        Some(Reason::SagaPurged) => Ok(ActReply::Purged),
        _ => Err(unanswered(&status)),
    }
}

/// What the answer to a compensation means.
pub(crate) fn undone(
    found: StepFound,
    rejection: Option<&StepRejection>,
) -> Result<UndoReply, StepError> {
    let found = found_of(found)?;
    Ok(UndoReply::new(found, rejection.map(refusal_bytes).unwrap_or_default()))
}

/// What the answer to a void means; `done` is the register's encoded reply.
pub(crate) fn voided(
    found: StepFound,
    reason: String,
    rejection: Option<&StepRejection>,
    done: Vec<u8>,
) -> Result<VoidReply, StepError> {
    let found = found_of(found)?;
    let reply = match found {
        Found::Done => done,
        Found::Rejected => rejection.map(refusal_bytes).unwrap_or_default(),
        _ => reason.into_bytes(),
    };
    Ok(VoidReply::new(found, reply))
}

/// Why a call says nothing about its outcome: every code but those that no retry can heal.
pub(crate) fn unanswered(status: &Status) -> StepError {
    let text = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::Unimplemented
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::InvalidArgument
        | Code::OutOfRange => StepError::NeverHeals { code: i32::from(status.code()), text },
        _ => StepError::Unknown(text),
    }
}

fn refusal_bytes(rejection: &StepRejection) -> Vec<u8> {
    rejection.encode_to_vec()
}

fn found_of(found: StepFound) -> Result<Found, StepError> {
    match found {
        StepFound::Nothing => Ok(Found::Nothing),
        StepFound::Done => Ok(Found::Done),
        StepFound::Rejected => Ok(Found::Rejected),
        StepFound::Compensated => Ok(Found::Compensated),
        StepFound::Tombstone => Ok(Found::Tombstone),
        StepFound::Purged => Ok(Found::Purged),
        StepFound::Unspecified => {
            Err(StepError::Unknown("the answer names nothing found".to_owned()))
        }
    }
}

/// The reason that a void sends: one always stands in a closed register.
pub(crate) fn void_reason(reason: Option<saga::outcome::AbortReason>) -> String {
    match reason {
        Some(reason) => String::from_utf8_lossy(&reason.encode()).into_owned(),
        None => "UNDOING".to_owned(),
    }
}
