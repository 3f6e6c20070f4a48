//! `SagaService`: sagas that are submitted as data.

use crate::kind;
use crate::record::ABORTED;
use crate::service::{Orchestrator, not_told, request_key, reused};
use api::saga::v1::saga_service_server::SagaService;
use api::saga::v1::{
    GetSubmittedSagaRequest, GetSubmittedSagaResponse, SagaFailure, StepRejection,
    SubmitSagaRequest, SubmitSagaResponse, SubmittedSaga, SubmittedSagaState,
};
use api::{Check, Reason, Refusal, RequestId, Violation};
use participant::{Name, SagaId, Trace, content_hash};
use platform::context;
use prost::Message;
use saga::journal::{EndedAs, NewSaga, PlanId, Start};
use saga::runtime::{Answer, NoStanding, Standing};
use saga::submitted::{self, Fault, SubmittedPlan, SubmittedResult, SubmittedStage, SubmittedStep};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

/// The call, in the journal's request table; the number never changes.
const SUBMIT_SAGA: i8 = 3;
/// Version of the digest of what is submitted.
const VERSION: u8 = 1;
/// The plan of all submitted sagas.
pub(crate) const ID: PlanId = PlanId { kind: kind::SUBMITTED, version: 1 };

/// The plan of all submitted sagas.
pub(crate) fn plan() -> SubmittedPlan {
    SubmittedPlan::new(kind::SUBMITTED)
}

/// The service of one replica.
#[derive(Clone)]
pub struct Submit {
    orchestrator: Orchestrator,
    allowed: Arc<BTreeSet<String>>,
}

impl Submit {
    /// Lets these methods be submitted, and no others.
    pub(crate) fn new(orchestrator: Orchestrator, allowed: Arc<BTreeSet<String>>) -> Self {
        Self { orchestrator, allowed }
    }

    /// Refuses what does not fit what the participants describe.
    async fn check(&self, saga: &submitted::SubmittedSaga, until: Instant) -> Result<(), Refusal> {
        let names = saga.stages.iter().flat_map(|stage| &stage.steps);
        let names: BTreeSet<&str> = names.map(|step| &*step.participant).collect();
        let described = self.orchestrator.engine.describe(&names, until).await;
        let described = described.map_err(|error| not_told(&error))?;
        let is_allowed = |method: &str| self.allowed.contains(method);
        submitted::check(saga, &described, is_allowed).map_err(refused)
    }
}

#[tonic::async_trait]
impl SagaService for Submit {
    async fn submit_saga(
        &self,
        request: Request<SubmitSagaRequest>,
    ) -> Result<Response<SubmitSagaResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let context = context::current();
        let answer_by = context.answer_by();
        let key = request_key(&request.request_id, Name::default(), SUBMIT_SAGA)?;
        let request_id = key.request_id;
        let saga = saga_of(request);
        let engine = &self.orchestrator.engine;
        // What was accepted is answered whatever its participants say today.
        let known = engine.saga_of_request(key.clone(), answer_by).await;
        if known.map_err(|error| not_told(&error))?.is_none() {
            self.check(&saga, answer_by).await?;
        }
        let placed_at = db::now_micros();
        let start = Start {
            saga: SagaId::from(db::new_id()),
            plan: ID,
            subject: Name::default(),
            object: Name::default(),
            weight: 0,
            request: saga.encode_to_vec(),
            placed_at,
            deadline_at: placed_at + engine.deadline(ID),
            trace: Trace { trace_id: context.trace_id.clone(), traceparent: context.traceparent() },
            request_id: Some(request_id),
        };
        let hash = content_hash(VERSION, &saga);
        let new = NewSaga { start, owns_object: false, request: key, hash };
        let answer = engine.run(new, answer_by).await.map_err(|error| match error {
            NoStanding::Reused => reused(request_id),
            NoStanding::NotFound => Refusal::new(Reason::SagaNotFound),
            other => not_told(&other),
        })?;
        let Answer { saga, standing, joined } = answer;
        let response = Response::new(SubmitSagaResponse { saga: Some(told(saga, &standing)?) });
        Ok(if joined { platform::replayed(response) } else { response })
    }

    async fn get_submitted_saga(
        &self,
        request: Request<GetSubmittedSagaRequest>,
    ) -> Result<Response<GetSubmittedSagaResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let saga = SagaId(*RequestId::parse(&request.saga_id)?.as_bytes());
        let not_found = || Refusal::new(Reason::SagaNotFound).with("saga_id", saga);
        let found = self.orchestrator.engine.look_up(saga, context::current().answer_by()).await;
        let (record, standing) = found.map_err(|error| match error {
            NoStanding::NotFound => not_found(),
            other => not_told(&other),
        })?;
        if record.start().plan.kind != kind::SUBMITTED {
            return Err(not_found().into());
        }
        Ok(Response::new(GetSubmittedSagaResponse { saga: Some(told(saga, &standing)?) }))
    }
}

fn saga_of(request: SubmitSagaRequest) -> submitted::SubmittedSaga {
    let stages = request.stages.into_iter().map(|stage| {
        let steps = stage.steps.into_iter().map(|step| SubmittedStep {
            participant: step.participant,
            method: step.method,
            payload: step.payload,
        });
        SubmittedStage { steps: steps.collect() }
    });
    let pivot_stage = request.pivot_stage.and_then(|place| u32::try_from(place).ok());
    submitted::SubmittedSaga { stages: stages.collect(), pivot_stage }
}

fn refused(faults: Vec<Fault>) -> Refusal {
    let first = faults.first().map(|fault| fault.field.clone()).unwrap_or_default();
    let violations = faults
        .into_iter()
        .map(|Fault { field, must }| Violation { field, description: must })
        .collect();
    Refusal { violations, ..Refusal::new(Reason::InvalidField) }.with("field", first)
}

/// What END records of a submitted saga, as operators see it: the failure, if it failed.
pub(crate) fn failure(result: &[u8]) -> Option<SagaFailure> {
    let result = SubmittedResult::decode(result).ok()?;
    let step = if result.failed_step == 0 { String::new() } else { result.failed_step.to_string() };
    if let Some(StepRejection { reason, metadata, message }) = result.rejection {
        // The code belongs to the participants' reasons, which only they know.
        return Some(SagaFailure { step, reason, message, metadata, ..SagaFailure::default() });
    }
    let metadata = [("cause".to_owned(), result.aborted)].into();
    let code = Reason::SagaAborted.code().into();
    Some(SagaFailure { step, reason: ABORTED.to_owned(), message: String::new(), metadata, code })
}

/// # Errors
/// INTERNAL where the record does not decode.
fn told(saga: SagaId, standing: &Standing) -> Result<SubmittedSaga, Refusal> {
    let mut told = SubmittedSaga { saga_id: saga.to_string(), ..SubmittedSaga::default() };
    let Standing::Ended { outcome, result } = standing else {
        told.set_state(SubmittedSagaState::Running);
        return Ok(told);
    };
    let result = SubmittedResult::decode(&**result).map_err(|_| crate::answer::unreadable(saga))?;
    told.set_state(match outcome {
        EndedAs::Succeeded => SubmittedSagaState::Succeeded,
        EndedAs::Failed | EndedAs::Resolved => SubmittedSagaState::Failed,
    });
    told.replies = result.replies;
    told.failed_step = result.failed_step;
    told.rejection = result.rejection;
    told.aborted = result.aborted;
    Ok(told)
}
