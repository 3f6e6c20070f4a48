//! Steps and their answers in the words of the contract, read and written by participants and by those who call them.

use crate::barrier::{Found, RequestHash, RowState, SagaId, StepNo};
use crate::steps::{ActReply, ActionInfo, CallKind, StepAnswer, StepCall};
use crate::{StepRow, Trace};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use prost::Message;
use prost_types::Timestamp;
use saga_api::v1::step_answer::Answer;
use saga_api::v1::step_outcome::Outcome;
use saga_api::v1::{
    self, Action, ActionCall, CompensateResponse, CompensationCall, StepError, StepKey,
    StepOutcome, StepRecord, StepRefusal, StepRefusalReason, StepRejection, StepRole, StepState,
    VoidCall, VoidResponse, step_call,
};
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Code, Status};

/// The longest that a step of a message waits.
const LONGEST: Duration = Duration::from_mins(1);

/// The message is not one of the contract.
fn invalid(what: impl Into<String>) -> Status {
    Status::invalid_argument(what)
}

/// What a peer answered is not of the contract: nothing is known of the step.
fn unreadable(what: &str) -> Status {
    tracing::error!(what, "a participant's answer is not of the contract");
    Status::unknown(format!("the participant's answer is not of the contract: {what}"))
}

/// What is recorded of a step has 4,096 bytes at most; with what is around it in a message, a few more.
const RECORDED_BYTES: usize = 4_096 + 64;

fn fits(bytes: usize) -> Result<(), Status> {
    if bytes > RECORDED_BYTES { Err(unreadable("more than 4096 bytes recorded")) } else { Ok(()) }
}

/// The key of a step in a message.
pub fn key(saga: SagaId, step: StepNo, digest: Option<RequestHash>) -> StepKey {
    StepKey {
        saga_id: saga.0.to_vec(),
        step: i32::from(step.0),
        content_digest: digest.map(|digest| digest.0.to_vec()).unwrap_or_default(),
    }
}

/// A saga's id in a message.
///
/// # Errors
/// `INVALID_ARGUMENT` where it has not 16 bytes.
pub fn saga_id(field: &str, bytes: &[u8]) -> Result<SagaId, Status> {
    let bytes = bytes.try_into();
    bytes.map(SagaId).map_err(|_| invalid(format!("{field} must be 16 bytes")))
}

/// The saga and step of a key.
///
/// # Errors
/// `INVALID_ARGUMENT` where the key is missing or outside its ranges.
pub(crate) fn step_of(key: Option<&StepKey>) -> Result<(SagaId, StepNo), Status> {
    let key = key.ok_or_else(|| invalid("key is required"))?;
    let step = i16::try_from(key.step).ok().filter(|step| *step > 0);
    let step = step.ok_or_else(|| invalid("key.step must be 1 to 32767"))?;
    Ok((saga_id("key.saga_id", &key.saga_id)?, StepNo(step)))
}

/// The action of a key, and its payload.
pub(crate) fn action(key: &StepKey, method: String, payload: Vec<u8>) -> Result<CallKind, Status> {
    let digest = key.content_digest.as_slice().try_into();
    let digest = digest.map_err(|_| invalid("key.content_digest must be 8 bytes"))?;
    Ok(CallKind::Act { method, payload: Bytes::from(payload), digest: RequestHash(digest) })
}

/// A void's reason.
pub(crate) fn void(reason: String) -> Result<CallKind, Status> {
    if reason.is_empty() || reason.len() > 64 {
        return Err(invalid("reason must be 1 to 64 characters"));
    }
    Ok(CallKind::Void(reason.into_bytes()))
}

/// A step as it is sent with others.
pub fn to_call(call: StepCall) -> v1::StepCall {
    let StepCall { saga, step, kind, deadline, trace, .. } = call;
    let remaining = deadline.saturating_duration_since(Instant::now()).min(LONGEST);
    let mut digest = None;
    let kind = match kind {
        CallKind::Act { method, payload, digest: of_payload } => {
            digest = Some(of_payload);
            step_call::Call::Action(ActionCall { method, payload: Some(payload.to_vec()) })
        }
        CallKind::Compensate => step_call::Call::Compensation(CompensationCall {}),
        CallKind::Void(reason) => step_call::Call::Void(VoidCall { reason: text(&reason) }),
    };
    v1::StepCall {
        key: Some(key(saga, step, digest)),
        call: Some(kind),
        remaining_millis: i32::try_from(remaining.as_millis()).unwrap_or(i32::MAX).max(1),
        trace_id: trace.trace_id,
        traceparent: trace.traceparent,
    }
}

/// A step that came with others.
pub(crate) fn of_call(call: v1::StepCall) -> Result<StepCall, Status> {
    let (saga, step) = step_of(call.key.as_ref())?;
    let kind =
        match call.call.ok_or_else(|| invalid("a call has an action, compensation or void"))? {
            step_call::Call::Action(ActionCall { method, payload }) => {
                let payload = payload.ok_or_else(|| invalid("payload is required"))?;
                action(&call.key.unwrap_or_default(), method, payload)?
            }
            step_call::Call::Compensation(_) => CallKind::Compensate,
            step_call::Call::Void(VoidCall { reason }) => void(reason)?,
        };
    let remaining = u64::try_from(call.remaining_millis).ok().filter(|millis| *millis > 0);
    let remaining = remaining.ok_or_else(|| invalid("remaining_millis must be 1 to 60000"))?;
    let deadline = Instant::now() + Duration::from_millis(remaining).min(LONGEST);
    let trace = trace(saga, &call.trace_id, &call.traceparent);
    let closing = !matches!(kind, CallKind::Act { .. });
    Ok(StepCall { saga, step, kind, closing, deadline, trace })
}

/// The trace of a step's events. What is missing or malformed is left out, and the saga's own id stands for the trace id.
pub(crate) fn trace(saga: SagaId, trace_id: &str, traceparent: &str) -> Trace {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_valid = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(is_plain);
    let trace_id = if is_valid(trace_id) { trace_id.to_owned() } else { saga.to_string() };
    let traceparent = if is_valid(traceparent) { traceparent.to_owned() } else { String::new() };
    Trace { trace_id, traceparent }
}

/// What became of an action, as its own call answers it.
pub(crate) fn to_outcome(reply: ActReply) -> StepOutcome {
    let refused =
        |reason: StepRefusalReason| Outcome::Refused(StepRefusal { reason: reason.into() });
    let outcome = match reply {
        ActReply::Done(reply) => Outcome::Done(reply),
        ActReply::Rejected(recorded) => Outcome::Rejected(rejection(&recorded)),
        ActReply::Tombstoned => refused(StepRefusalReason::Tombstoned),
        ActReply::OtherContent => refused(StepRefusalReason::OtherContent),
        ActReply::Purged => refused(StepRefusalReason::Purged),
    };
    StepOutcome { outcome: Some(outcome) }
}

/// What became of an action, by its answer.
///
/// # Errors
/// UNKNOWN where the answer says nothing.
pub fn of_outcome(outcome: StepOutcome) -> Result<StepAnswer, Status> {
    fits(outcome.encoded_len())?;
    let reply = match outcome.outcome.ok_or_else(|| unreadable("no outcome"))? {
        Outcome::Done(reply) => ActReply::Done(reply),
        Outcome::Rejected(rejection) => ActReply::Rejected(rejection.encode_to_vec()),
        Outcome::Refused(refusal) => match refusal.reason() {
            StepRefusalReason::Tombstoned => ActReply::Tombstoned,
            StepRefusalReason::OtherContent => ActReply::OtherContent,
            StepRefusalReason::Purged => ActReply::Purged,
            StepRefusalReason::Unspecified => return Err(unreadable("a refusal without reason")),
        },
    };
    Ok(StepAnswer::Acted(reply))
}

/// What a compensation found, as its own call answers it.
pub(crate) fn to_compensated(found: Found, recorded: &[u8]) -> CompensateResponse {
    let rejection = (found == Found::Rejected).then(|| rejection(recorded));
    CompensateResponse { found: state(found).into(), rejection }
}

/// What a compensation found, by its answer.
///
/// # Errors
/// UNKNOWN where the answer says nothing.
pub fn of_compensated(answer: CompensateResponse) -> Result<StepAnswer, Status> {
    fits(answer.encoded_len())?;
    let found = found(answer.found())?;
    let recorded = match (found, answer.rejection) {
        (Found::Rejected, Some(rejection)) => rejection.encode_to_vec(),
        (Found::Rejected, None) => return Err(unreadable("a rejection without reason")),
        _ => Vec::new(),
    };
    Ok(StepAnswer::Found { found, recorded })
}

/// What a void found, as its own call answers it.
pub(crate) fn to_voided(found: Found, recorded: Vec<u8>) -> VoidResponse {
    let mut answer = VoidResponse { found: state(found).into(), ..VoidResponse::default() };
    match found {
        Found::Nothing | Found::Tombstone => answer.reason = text(&recorded),
        Found::Rejected => answer.rejection = Some(rejection(&recorded)),
        Found::Done => answer.reply = recorded,
        Found::Compensated | Found::Purged => {}
    }
    answer
}

/// What a void found, by its answer.
///
/// # Errors
/// UNKNOWN where the answer says nothing.
pub fn of_voided(answer: VoidResponse) -> Result<StepAnswer, Status> {
    fits(answer.encoded_len())?;
    let found = found(answer.found())?;
    let recorded = match found {
        Found::Done => answer.reply,
        Found::Rejected => {
            let rejection = answer.rejection;
            rejection.ok_or_else(|| unreadable("a rejection without reason"))?.encode_to_vec()
        }
        _ => answer.reason.into_bytes(),
    };
    Ok(StepAnswer::Found { found, recorded })
}

/// The answer of one of many steps. A void finds more than a compensation, so it is told which this was.
pub(crate) fn to_answer(
    call: usize,
    is_void: bool,
    answer: Result<StepAnswer, Status>,
) -> v1::StepAnswer {
    let answer = match answer {
        Ok(StepAnswer::Acted(reply)) => Answer::Outcome(to_outcome(reply)),
        Ok(StepAnswer::Found { found, recorded }) if is_void => {
            Answer::Void(to_voided(found, recorded))
        }
        Ok(StepAnswer::Found { found, recorded }) => {
            Answer::Compensation(to_compensated(found, &recorded))
        }
        Err(status) => Answer::Error(StepError {
            code: i32::from(status.code()),
            message: status.message().to_owned(),
        }),
    };
    v1::StepAnswer { call: i32::try_from(call).unwrap_or(i32::MAX), answer: Some(answer) }
}

/// The answer of one of many steps.
///
/// # Errors
/// That of the step; UNKNOWN where the answer says nothing.
pub fn of_answer(answer: v1::StepAnswer) -> Result<StepAnswer, Status> {
    match answer.answer.ok_or_else(|| unreadable("an answer without content"))? {
        Answer::Outcome(outcome) => of_outcome(outcome),
        Answer::Compensation(answer) => of_compensated(answer),
        Answer::Void(answer) => of_voided(answer),
        Answer::Error(error) => Err(Status::new(Code::from_i32(error.code), error.message)),
    }
}

/// An action as it is described.
pub(crate) fn to_action(action: ActionInfo) -> Action {
    let ActionInfo { method, role, rejections } = action;
    Action { method, role: role.into(), rejections }
}

/// An action by its description.
pub fn of_action(action: Action) -> ActionInfo {
    let role: StepRole = action.role();
    ActionInfo { method: action.method, role, rejections: action.rejections }
}

/// A row as it is told.
pub(crate) fn to_record(row: StepRow) -> StepRecord {
    let mut record = StepRecord {
        key: Some(key(row.saga, row.step, None)),
        state: state(row.state.into()).into(),
        at: Some(timestamp(row.at)),
        ..StepRecord::default()
    };
    match row.state {
        RowState::Done | RowState::Compensated => record.reply = row.reply,
        RowState::Rejected => record.rejection = Some(rejection(&row.reply)),
        RowState::Tombstone => record.void_reason = text(&row.reply),
    }
    record
}

/// A row that was told.
///
/// # Errors
/// UNKNOWN where it says nothing.
pub fn of_record(record: StepRecord) -> Result<StepRow, Status> {
    let (saga, step) = step_of(record.key.as_ref()).map_err(|_| unreadable("a row without key"))?;
    let at = record.at.ok_or_else(|| unreadable("a row without time"))?;
    let at = DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).unwrap_or(u32::MAX));
    let at: DateTime<Utc> = at.ok_or_else(|| unreadable("a row with no possible time"))?;
    let (state, reply) = match record.state() {
        StepState::Done => (RowState::Done, record.reply),
        StepState::Compensated => (RowState::Compensated, record.reply),
        StepState::Tombstone => (RowState::Tombstone, record.void_reason.into_bytes()),
        StepState::Rejected => {
            let rejection =
                record.rejection.ok_or_else(|| unreadable("a rejection without reason"))?;
            (RowState::Rejected, rejection.encode_to_vec())
        }
        _ => return Err(unreadable("a row without state")),
    };
    Ok(StepRow { saga, step, state, reply, at })
}

/// The recorded rejection. One that does not decode names no reason: the saga of such a one parks, while an error would be
/// asked for again without end.
fn rejection(recorded: &[u8]) -> StepRejection {
    StepRejection::decode(recorded).unwrap_or_else(|error| {
        tracing::error!(%error, "a recorded rejection does not decode");
        StepRejection::default()
    })
}

/// The contract's word for what was found.
pub fn state(found: Found) -> StepState {
    match found {
        Found::Nothing => StepState::Nothing,
        Found::Done => StepState::Done,
        Found::Rejected => StepState::Rejected,
        Found::Compensated => StepState::Compensated,
        Found::Tombstone => StepState::Tombstone,
        Found::Purged => StepState::Purged,
    }
}

fn found(state: StepState) -> Result<Found, Status> {
    match state {
        StepState::Nothing => Ok(Found::Nothing),
        StepState::Done => Ok(Found::Done),
        StepState::Rejected => Ok(Found::Rejected),
        StepState::Compensated => Ok(Found::Compensated),
        StepState::Tombstone => Ok(Found::Tombstone),
        StepState::Purged => Ok(Found::Purged),
        StepState::Unspecified | StepState::Unreachable => Err(unreadable("nothing found")),
    }
}

/// Reasons are words of ASCII; anything else is a damaged row, and is shown as such.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: at.timestamp(),
        nanos: i32::try_from(at.timestamp_subsec_nanos()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_rejection_that_does_not_decode_is_told_as_one_without_a_reason() {
        let damaged = || vec![0xff];
        let acted = Ok(StepAnswer::Acted(ActReply::Rejected(damaged())));
        let told = of_answer(to_answer(0, false, acted)).unwrap();
        assert_eq!(told, StepAnswer::Acted(ActReply::Rejected(Vec::new())));
        for is_void in [false, true] {
            let found = |recorded: Vec<u8>| StepAnswer::Found { found: Found::Rejected, recorded };
            let told = of_answer(to_answer(0, is_void, Ok(found(damaged())))).unwrap();
            assert_eq!(told, found(Vec::new()), "{is_void}");
        }
        let (saga, at) = (SagaId([1; 16]), DateTime::UNIX_EPOCH);
        let row =
            StepRow { saga, step: StepNo(1), state: RowState::Rejected, reply: damaged(), at };
        assert!(of_record(to_record(row)).unwrap().reply.is_empty());
    }
}
