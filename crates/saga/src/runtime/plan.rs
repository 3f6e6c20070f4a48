//! What a plan tells the engine.

use crate::backoff::Backoff;
use crate::decide::Known;
use crate::journal::{PlanId, Start};
use crate::outcome::Failure;
use crate::shape::Shape;
use participant::StepNo;
use prost::Message;
use saga_api::v1::StepRejection;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// One version of one kind of saga. Versions stay registered as long as a saga of theirs may be unfinished.
///
/// A plan does no I/O: it says what its sagas send and what their ends mean, and the engine does the rest. It is tested by
/// calling it.
pub trait Plan: Send + Sync + 'static {
    /// The kind and version that START pins.
    fn id(&self) -> PlanId;

    /// All steps that a saga of this plan may have, for people and tests.
    fn steps(&self) -> &[StepInfo];

    /// How long a saga may take until its pivot is done; `None` for the engine's own limit. Part of START.
    fn deadline(&self) -> Option<Duration> {
        None
    }

    /// The saga of this START.
    ///
    /// # Errors
    /// [`Unreadable`] when the request does not decode; the saga is parked.
    fn instance(&self, start: &Start) -> Result<Arc<dyn SagaInstance>, Unreadable>;
}

/// A step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepInfo {
    /// Its stable number.
    pub step: StepNo,
    /// Its name, for operators and failures; unique in its plan.
    pub name: Cow<'static, str>,
    /// The participant that runs it, such as `wallet`.
    pub participant: Cow<'static, str>,
    /// The full method of its action, such as `commerce.wallet.v1.WalletParticipantService/DebitWallet`.
    pub method: Cow<'static, str>,
    /// How long one attempt may take; `None` for the engine's own limit.
    pub attempt: Option<Duration>,
    /// How long to wait between attempts of its action; `None` for [`Backoff::FORWARD`].
    pub backoff: Option<Backoff>,
}

impl StepInfo {
    /// A step with the engine's own limits.
    pub const fn new(
        step: StepNo,
        name: &'static str,
        participant: &'static str,
        method: &'static str,
    ) -> Self {
        Self {
            step,
            name: Cow::Borrowed(name),
            participant: Cow::Borrowed(participant),
            method: Cow::Borrowed(method),
            attempt: None,
            backoff: None,
        }
    }
}

/// Something that was recorded does not decode, or contradicts what else is known. The saga is parked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// Reads the rejection of a step that a participant recorded.
///
/// # Errors
/// [`Unreadable`] where it does not decode, or names no reason: that is how a participant tells one that it cannot read.
pub fn rejection(step: StepNo, recorded: &[u8]) -> Result<StepRejection, Unreadable> {
    let rejection = StepRejection::decode(recorded)
        .map_err(|error| Unreadable(format!("the rejection of step {step}: {error}")))?;
    if rejection.reason.is_empty() {
        return Err(Unreadable(format!("the rejection of step {step} names no reason")));
    }
    Ok(rejection)
}

/// What a step sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToSend {
    /// This encoded payload.
    Payload(Vec<u8>),
    /// Nothing: the step does not apply to this saga, and counts as done with an empty reply, without a row. Only for steps
    /// after the pivot; a step before it that does not apply is left out of the shape.
    Nothing,
}

/// One saga. Everything that it says is a function of START and of earlier replies, so that every executor of the saga
/// sends the same and tells the same.
pub trait SagaInstance: Send + Sync {
    /// The steps that apply to this saga, in their order.
    fn shape(&self) -> &Shape;

    /// All steps of its plan.
    fn steps(&self) -> &[StepInfo];

    /// What a step sends, given the replies of the stages before it.
    ///
    /// # Errors
    /// [`Unreadable`] where a reply does not decode.
    fn request(&self, step: StepNo, known: &Known) -> Result<ToSend, Unreadable>;

    /// What END records of a success.
    ///
    /// # Errors
    /// [`Unreadable`] where a reply does not decode.
    fn succeeded(&self, known: &Known) -> Result<Vec<u8>, Unreadable>;

    /// What END records of a failure.
    ///
    /// # Errors
    /// [`Unreadable`] where the rejection does not decode.
    fn failed(&self, failure: &Failure) -> Result<Vec<u8>, Unreadable>;

    /// A step of the plan.
    fn info(&self, step: StepNo) -> Option<&StepInfo> {
        self.steps().iter().find(|info| info.step == step)
    }

    /// A step's name, for operators and failures.
    fn name(&self, step: StepNo) -> &str {
        self.info(step).map_or("unknown", |info| &info.name)
    }

    /// Whether a step is taken at all, given the replies of those before it.
    fn applies(&self, step: StepNo, known: &Known) -> bool {
        !matches!(self.request(step, known), Ok(ToSend::Nothing))
    }
}
