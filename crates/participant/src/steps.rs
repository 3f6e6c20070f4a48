//! The one way to a participant, whether it runs in this process or in another.

use crate::barrier::{Found, SagaId, StepNo};
use crate::{RequestHash, StepRow, Trace};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use tonic::Status;

/// A participant of sagas.
///
/// An error says that nothing is known of what was asked, never that it did not happen: ask again with the same key. The
/// codes that asking again cannot heal are those of [`crate::never_heals`].
#[async_trait]
pub trait Steps: Send + Sync + 'static {
    /// Its name, such as `wallet`.
    fn name(&self) -> &str;

    /// Its actions, by method.
    ///
    /// # Errors
    /// Where it cannot be asked.
    async fn describe(&self, deadline: Instant) -> Result<Vec<ActionInfo>, Status>;

    /// Runs, undoes or closes a step, and answers when that is committed.
    ///
    /// # Errors
    /// Where nothing is known of the step.
    async fn run(&self, call: StepCall) -> Result<StepAnswer, Status>;

    /// Everything on record for a saga, by step.
    ///
    /// # Errors
    /// Where it cannot be asked.
    async fn recorded(&self, saga: SagaId, deadline: Instant) -> Result<Vec<StepRow>, Status>;

    /// Raises the watermark, and tells where it is then.
    ///
    /// # Errors
    /// Where nothing is known of it.
    async fn raise_watermark(&self, to: SagaId, deadline: Instant) -> Result<SagaId, Status>;
}

/// An action of a participant, as it describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionInfo {
    /// Its full method, such as `commerce.wallet.v1.WalletParticipantService/DebitWallet`.
    pub method: String,
    /// What it is to its saga.
    pub role: saga_api::v1::StepRole,
    /// The reasons with which it may be rejected.
    pub rejections: Vec<String>,
}

/// What a participant is to do with a step.
#[derive(Debug, Clone)]
pub struct StepCall {
    /// The saga.
    pub saga: SagaId,
    /// The step's stable number; a compensation and a void have that of their action.
    pub step: StepNo,
    /// What to do.
    pub kind: CallKind,
    /// Whether it ends something begun: a compensation, a void, a step after the pivot. It goes before what begins something.
    pub closing: bool,
    /// When nobody waits for the answer any more.
    pub deadline: Instant,
    /// The saga's trace.
    pub trace: Trace,
}

/// What to do with a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallKind {
    /// Run its action.
    Act {
        /// The full method.
        method: String,
        /// The encoded payload.
        payload: Bytes,
        /// The digest of the method and the payload.
        digest: RequestHash,
    },
    /// Undo its action.
    Compensate,
    /// Close it, if it is still open, with this reason.
    Void(Vec<u8>),
}

/// What a participant answers of a step: always from a row that is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepAnswer {
    /// What became of the action.
    Acted(ActReply),
    /// What a compensation or a void found.
    Found {
        /// The row's state before.
        found: Found,
        /// The reply, rejection or reason that stands in the row.
        recorded: Vec<u8>,
    },
}

/// The answer of an action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ActReply {
    /// Done, now or before; the recorded reply.
    Done(Vec<u8>),
    /// Rejected by a business rule, now or before; the recorded rejection.
    Rejected(Vec<u8>),
    /// Refused: somebody has undone the step or closed it.
    Tombstoned,
    /// Refused: the step is known with other content.
    OtherContent,
    /// Refused: the saga's rows are gone.
    Purged,
}

impl CallKind {
    /// What it is called in logs and counts: an action by its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Act { method, .. } => method.rsplit('/').next().unwrap_or(method),
            Self::Compensate => "Compensate",
            Self::Void(_) => "Void",
        }
    }
}
