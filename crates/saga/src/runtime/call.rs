//! One attempt of one call of a participant, and what its answer means.

use super::engine::Inner;
use super::plan::{SagaInstance, StepInfo, ToSend, Unreadable};
use crate::decide::{ActReply, Call, Event, Known, UndoReply, VoidReply};
use crate::journal::Start;
use crate::outcome::AbortReason;
use futures_util::FutureExt;
use participant::{CallKind, StepAnswer, StepCall, StepNo, Steps, content_digest, never_heals};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;
use tracing::error;

/// How much later than its deadline a call is given up whose participant does not heed it.
const GRACE: Duration = Duration::from_millis(100);

/// Why an answer does not say what became of a step.
#[derive(Debug, Clone)]
pub(super) enum NoAnswer {
    /// Ask again with the same key.
    Unknown(String),
    /// Asking again will never help.
    NeverHeals { code: i32, text: String },
}

/// A call that is ready to be made, any number of times.
pub(super) struct Request<'a> {
    call: Call,
    step: StepNo,
    /// None where the step does not apply: then nothing is sent.
    kind: Option<CallKind>,
    start: &'a Start,
    participant: Option<Arc<dyn Steps>>,
    closing: bool,
    attempt: Duration,
}

impl<'a> Request<'a> {
    /// # Errors
    /// Where the plan cannot tell what to send.
    pub(super) fn new(
        inner: &Inner,
        start: &'a Start,
        instance: &dyn SagaInstance,
        call: Call,
        known: &Known,
    ) -> Result<Self, Unreadable> {
        let step = step_of(call, instance);
        let info = instance.info(step);
        let info = info.ok_or_else(|| Unreadable(format!("the plan has no step {step}")))?;
        let kind = match call {
            Call::Act(step) => match instance.request(step, known)? {
                ToSend::Payload(payload) => Some(act(info, payload)),
                ToSend::Nothing => None,
            },
            Call::Undo(_) => Some(CallKind::Compensate),
            Call::Void(reason) => Some(CallKind::Void(void_reason(reason))),
        };
        let participant = inner.participants.get(&*info.participant).cloned();
        let attempt = info.attempt.unwrap_or(inner.options.attempt);
        let is_act = matches!(call, Call::Act(_));
        let closing = !is_act || known.is_past_pivot(instance.shape());
        Ok(Self { call, step, kind, start, participant, closing, attempt })
    }

    /// Makes the call once. One that panics says nothing about its outcome, and ends no saga.
    pub(super) async fn attempt(&self) -> Result<Event, NoAnswer> {
        let Some(kind) = self.kind.clone() else {
            return Ok(Event::Acted(self.step, ActReply::Done(Vec::new())));
        };
        let Some(participant) = &self.participant else {
            return Err(NoAnswer::Unknown("this program does not know its participant".to_owned()));
        };
        let deadline = Instant::now() + self.attempt;
        let Start { saga, trace, .. } = self.start;
        let call = StepCall {
            saga: *saga,
            step: self.step,
            kind,
            closing: self.closing,
            deadline,
            trace: trace.clone(),
        };
        let run = AssertUnwindSafe(participant.run(call)).catch_unwind();
        // The call carries its own deadline; this one is for a transport that hangs.
        match tokio::time::timeout_at(deadline + GRACE, run).await {
            Ok(Ok(Ok(answer))) => self.event(answer),
            Ok(Ok(Err(status))) => Err(unanswered(&status)),
            Ok(Err(_)) => {
                error!("a step panicked");
                Err(NoAnswer::Unknown("the step panicked".to_owned()))
            }
            Err(_) => Err(NoAnswer::Unknown("no answer in time".to_owned())),
        }
    }

    fn event(&self, answer: StepAnswer) -> Result<Event, NoAnswer> {
        match (self.call, answer) {
            (Call::Act(step), StepAnswer::Acted(reply)) => Ok(Event::Acted(step, reply)),
            (Call::Undo(step), StepAnswer::Found { found, recorded }) => {
                Ok(Event::Undone(step, UndoReply::new(found, recorded)))
            }
            (Call::Void(_), StepAnswer::Found { found, recorded }) => {
                Ok(Event::Voided(VoidReply::new(found, recorded)))
            }
            (_, answer) => {
                Err(NoAnswer::Unknown(format!("the answer is of another call: {answer:?}")))
            }
        }
    }
}

/// The step that a call is about.
pub(super) fn step_of(call: Call, instance: &dyn SagaInstance) -> StepNo {
    match call {
        Call::Act(step) | Call::Undo(step) => step,
        Call::Void(_) => instance.shape().pivot,
    }
}

fn act(info: &StepInfo, payload: Vec<u8>) -> CallKind {
    let digest = content_digest(&info.method, &payload);
    CallKind::Act { method: info.method.to_string(), payload: payload.into(), digest }
}

/// One always stands in a closed pivot.
fn void_reason(reason: Option<AbortReason>) -> Vec<u8> {
    reason.map_or_else(|| b"UNDOING".to_vec(), AbortReason::encode)
}

fn unanswered(status: &Status) -> NoAnswer {
    let text = format!("{:?}: {}", status.code(), status.message());
    if never_heals(status.code()) {
        return NoAnswer::NeverHeals { code: i32::from(status.code()), text };
    }
    NoAnswer::Unknown(text)
}
