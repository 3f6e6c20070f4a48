//! What a plan tells the engine.

use crate::decide::{ActReply, Known, UndoReply, VoidReply};
use crate::journal::{PlanId, Start};
use crate::outcome::{AbortReason, Failure};
use crate::shape::Shape;
use async_trait::async_trait;
use participant::StepNo;
use std::sync::Arc;
use std::time::Duration;

/// One version of one kind of saga. Versions stay registered as long as a saga of theirs may be unfinished.
pub trait Plan: Send + Sync + 'static {
    /// The kind and version that START pins.
    fn id(&self) -> PlanId;

    /// All steps that a saga of this plan may have.
    fn steps(&self) -> &'static [StepInfo];

    /// The saga of this START.
    ///
    /// # Errors
    /// [`Unreadable`] when the request does not decode; the saga is parked.
    fn script(&self, start: &Start) -> Result<Arc<dyn Script>, Unreadable>;
}

/// A step of a plan, for people and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepInfo {
    /// Its stable number.
    pub step: StepNo,
    /// The name of its action, as the participant's contract has it.
    pub name: &'static str,
    /// The name of its compensation, or of its void for the register; none after the register.
    pub undo: Option<&'static str>,
    /// The service that runs it.
    pub participant: &'static str,
}

/// The request in START does not decode.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the request in START does not decode: {0}")]
pub struct Unreadable(pub String);

/// One saga: what its steps send. Everything sent is a function of START and of earlier replies, so that every executor
/// of the saga sends the same.
#[async_trait]
pub trait Script: Send + Sync {
    /// The steps that apply to this saga.
    fn shape(&self) -> &Shape;

    /// All steps of its plan.
    fn steps(&self) -> &'static [StepInfo];

    /// A step's name, for operators and failure messages.
    fn name(&self, step: StepNo) -> &'static str {
        self.steps().iter().find(|info| info.step == step).map_or("unknown", |info| info.name)
    }

    /// Whether a step is taken at all, given the replies of those before it; one that is not counts as done, without a row.
    fn applies(&self, _step: StepNo, _known: &Known) -> bool {
        true
    }

    /// Sends a step's action; `budget` bounds this attempt.
    async fn act(
        &self,
        step: StepNo,
        known: &Known,
        budget: Duration,
    ) -> Result<ActReply, StepError>;

    /// Sends the compensation of a step before the register.
    async fn undo(&self, step: StepNo, budget: Duration) -> Result<UndoReply, StepError>;

    /// Sends the void of the register, with the reason that is to stand in it should it be the first.
    async fn void(
        &self,
        reason: Option<AbortReason>,
        budget: Duration,
    ) -> Result<VoidReply, StepError>;

    /// What END records of a success.
    fn succeeded(&self, known: &Known) -> Vec<u8>;

    /// What END records of a failure.
    fn failed(&self, failure: &Failure) -> Vec<u8>;
}

/// Why a step's answer does not say what became of it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StepError {
    /// Nobody knows whether it ran: ask again with the same key.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// Asking again will never help.
    #[error("refused for good: {text}")]
    NeverHeals {
        /// The gRPC status code.
        code: i32,
        /// For the log.
        text: String,
    },
}
