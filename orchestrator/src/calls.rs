//! Calling participants, and telling what their answers mean for a saga.

use api::coupon::v1::coupon_participant_service_server::CouponParticipantService;
use api::order::v1::order_participant_service_server::OrderParticipantService;
use api::outcome::SAGA_OUTCOME;
use api::product::v1::product_participant_service_server::ProductParticipantService;
use api::saga::v1::{StepFound, StepKey, StepRejection};
use api::wallet::v1::wallet_participant_service_server::WalletParticipantService;
use api::{Reason, Refusal};
use futures_util::FutureExt;
use participant::{Found, SagaId, StepNo, Trace, marks};
use platform::context::{self, CallContext};
use prost::Message;
use saga::decide::{ActReply, UndoReply, VoidReply};
use saga::journal::Start;
use saga::runtime::StepError;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Response, Status};

/// Whom the sagas call: services of this process, or the generated clients of those of others.
#[derive(Clone)]
pub struct Participants {
    /// Stock.
    pub product: Arc<dyn ProductParticipantService>,
    /// Coupons.
    pub coupon: Arc<dyn CouponParticipantService>,
    /// Money.
    pub wallet: Arc<dyn WalletParticipantService>,
    /// Orders: the registers.
    pub order: Arc<dyn OrderParticipantService>,
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

    /// Calls that no saga makes; `saga` names them in logs.
    pub(crate) fn of_nobody(saga: SagaId) -> Self {
        let trace = Trace { trace_id: saga.to_string(), traceparent: String::new() };
        Self { saga, trace }
    }

    pub(crate) fn key(&self, step: StepNo) -> StepKey {
        StepKey { saga_id: self.saga.0.to_vec(), step: i32::from(step.0) }
    }

    /// Makes a call that gives up after `budget` and carries the saga's trace. One that panics says nothing about its
    /// outcome, and ends no saga.
    pub(crate) async fn call<R>(
        &self,
        budget: Duration,
        call: impl Future<Output = Result<Response<R>, Status>>,
    ) -> Result<Response<R>, Status> {
        let Trace { trace_id, traceparent } = &self.trace;
        let context = CallContext::caused_by(trace_id, traceparent, budget);
        let answer = AssertUnwindSafe(context::scope(context, call)).catch_unwind().await;
        answer.unwrap_or_else(|_| {
            tracing::error!("a step panicked");
            Err(Refusal::new(Reason::Internal).into())
        })
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
