//! A participant's steps as a test asks for them.
#![expect(clippy::panic, reason = "a test that cannot go on has failed")]

use api::Refusal;
use participant::{
    ActReply, CallKind, Found, SagaId, StepAnswer, StepCall, StepNo, StepRow, Steps, Trace,
    content_digest,
};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// How long a test waits for a step.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks a participant for steps, in process. Cheap to clone.
#[derive(Clone)]
pub struct Stepper {
    steps: Arc<dyn Steps>,
    trace: Trace,
}

/// What became of an action.
#[derive(Debug, Clone, PartialEq)]
pub enum Acted<R> {
    /// It is done.
    Done(R),
    /// A business rule rejected it.
    Rejected(Refusal),
    /// It was undone or closed before.
    Tombstoned,
    /// It is known with other content.
    OtherContent,
    /// Its saga is over.
    Purged,
}

impl<R: std::fmt::Debug> Acted<R> {
    /// The reply.
    ///
    /// # Panics
    /// Where it is not done.
    pub fn done(self) -> R {
        match self {
            Self::Done(reply) => reply,
            other => panic!("not done: {other:?}"),
        }
    }

    /// The rejection.
    ///
    /// # Panics
    /// Where it is not rejected.
    pub fn rejection(self) -> Refusal {
        match self {
            Self::Rejected(refusal) => refusal,
            other => panic!("not rejected: {other:?}"),
        }
    }
}

impl Stepper {
    /// Of these steps.
    pub fn new(steps: Arc<dyn Steps>) -> Self {
        Self { steps, trace: Trace::default() }
    }

    /// Runs an action, by its name.
    ///
    /// # Errors
    /// Where nothing is known of the step.
    pub async fn act<R: Message + Default>(
        &self,
        action: &str,
        saga: Uuid,
        step: i16,
        payload: &impl Message,
    ) -> Result<Acted<R>, tonic::Status> {
        let payload = payload.encode_to_vec();
        let method = self.method(action).await;
        let digest = content_digest(&method, &payload);
        let kind = CallKind::Act { method, payload: payload.into(), digest };
        Ok(match self.run(saga, step, kind).await? {
            StepAnswer::Acted(ActReply::Done(reply)) => {
                Acted::Done(R::decode(reply.as_slice()).expect("a reply decodes"))
            }
            StepAnswer::Acted(ActReply::Rejected(rejection)) => {
                Acted::Rejected(Refusal::decode(&rejection).expect("a rejection decodes"))
            }
            StepAnswer::Acted(ActReply::Tombstoned) => Acted::Tombstoned,
            StepAnswer::Acted(ActReply::OtherContent) => Acted::OtherContent,
            StepAnswer::Acted(ActReply::Purged) => Acted::Purged,
            StepAnswer::Found { .. } => panic!("an action was answered as an undoing"),
        })
    }

    /// Undoes a step: what was found, and what stands in the row.
    pub async fn compensate(&self, saga: Uuid, step: i16) -> (Found, Vec<u8>) {
        self.found(saga, step, CallKind::Compensate).await
    }

    /// Closes a pivot: what was found, and what stands in the row.
    pub async fn void(&self, saga: Uuid, step: i16, reason: &str) -> (Found, Vec<u8>) {
        self.found(saga, step, CallKind::Void(reason.as_bytes().to_vec())).await
    }

    /// Everything on record for a saga.
    pub async fn recorded(&self, saga: Uuid) -> Vec<StepRow> {
        let deadline = Instant::now() + PATIENCE;
        self.steps.recorded(SagaId::from(saga), deadline).await.expect("rows are read")
    }

    /// Raises the watermark.
    pub async fn raise_watermark(&self, to: Uuid) -> Uuid {
        let deadline = Instant::now() + PATIENCE;
        let raised = self.steps.raise_watermark(SagaId::from(to), deadline).await;
        raised.expect("the watermark is raised").into()
    }

    async fn found(&self, saga: Uuid, step: i16, kind: CallKind) -> (Found, Vec<u8>) {
        match self.run(saga, step, kind).await.expect("it is answered") {
            StepAnswer::Found { found, recorded } => (found, recorded),
            StepAnswer::Acted(_) => panic!("an undoing was answered as an action"),
        }
    }

    async fn run(
        &self,
        saga: Uuid,
        step: i16,
        kind: CallKind,
    ) -> Result<StepAnswer, tonic::Status> {
        let call = StepCall {
            saga: SagaId::from(saga),
            step: StepNo(step),
            kind,
            closing: false,
            deadline: Instant::now() + PATIENCE,
            trace: self.trace.clone(),
        };
        self.steps.run(call).await
    }

    async fn method(&self, action: &str) -> String {
        let actions = self.steps.describe(Instant::now() + PATIENCE).await.expect("it describes");
        let ending = format!("/{action}");
        let found = actions.into_iter().find(|it| it.method.ends_with(&ending));
        found.unwrap_or_else(|| panic!("no action {action}")).method
    }
}
