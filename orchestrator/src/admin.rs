//! `SagaAdminService`: what operators see of sagas.

use crate::answer::{self, told};
use crate::operate;
use crate::request::Ids;
use crate::service::{Orchestrator, unavailable};
use crate::{kind, record, submit};
use api::saga::v1::saga_admin_service_server::SagaAdminService;
use api::saga::v1::{
    AbortSagaRequest, AbortSagaResponse, GetRecoveryRequest, GetRecoveryResponse, GetSagaRequest,
    GetSagaResponse, ListSagasRequest, ListSagasResponse, PauseRecoveryRequest,
    PauseRecoveryResponse, ResolveSagaRequest, ResolveSagaResponse, ResumeRecoveryRequest,
    ResumeRecoveryResponse, RetrySagaRequest, RetrySagaResponse, Saga, SagaFailure, SagaResolution,
    SagaState, SagaStep, SagaTrouble, StepState,
};
use api::{Check, Reason, Refusal, RequestId};
use participant::{Name, SagaId, wire};
use platform::page::{PageSize, PageToken};
use prost::Message;
use prost_types::Timestamp;
use saga::journal::{
    EndedAs, Filter, Page, Record, Recovery, RunningState, Start, Switch, Switched,
};
use saga::recorded::Found;
use saga::runtime::{SagaInstance, Trouble};
use std::collections::HashMap;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Recorded decisions about sagas that a person closed.
type Decisions = HashMap<SagaId, Vec<u8>>;

/// The operators' service of one replica.
pub struct Admin {
    pub(crate) orchestrator: Orchestrator,
}

impl Admin {
    pub(crate) fn new(orchestrator: Orchestrator) -> Self {
        Self { orchestrator }
    }

    /// A record as operators see it.
    pub(crate) async fn saga_of(&self, record: &Record) -> Result<Saga, Status> {
        let decisions = self.decisions(std::slice::from_ref(record)).await?;
        Ok(saga_with_decision(record, &decisions)?)
    }

    /// The decisions about those of these sagas that a person closed.
    async fn decisions(&self, records: &[Record]) -> Result<Decisions, Status> {
        let resolved = |record: &&Record| matches!(record, Record::Ended(ended) if ended.outcome == EndedAs::Resolved);
        let resolved = records.iter().filter(resolved).map(|record| record.start().saga).collect();
        let decisions = self.orchestrator.engine.journal().decisions(resolved).await;
        decisions.map_err(|error| unavailable(&error))
    }

    /// Pauses or resumes recovery. Answers whether an earlier call did.
    async fn switch(
        &self,
        request_id: &str,
        pause: bool,
        actor: String,
        reason: String,
    ) -> Result<bool, Status> {
        let hash = operate::hash(&actor, &reason);
        let id = *RequestId::parse(request_id)?.as_bytes();
        let asked = Switch { request_id: id, hash, pause, actor, reason };
        let switched = self.orchestrator.engine.journal().switch(asked).await;
        match switched.map_err(|error| unavailable(&error))? {
            Switched::Now => Ok(false),
            Switched::Earlier => Ok(true),
            Switched::Reused => {
                Err(Refusal::new(Reason::RequestIdReused).with("request_id", request_id).into())
            }
        }
    }

    /// What the plan of a saga says of it.
    pub(crate) fn instance(&self, start: &Start) -> Result<Arc<dyn SagaInstance>, Refusal> {
        self.orchestrator.engine.instance(start).map_err(|unreadable| {
            tracing::error!(%unreadable, saga = %start.saga, "saga not readable");
            answer::unreadable(start.saga)
        })
    }

    async fn steps(&self, start: &Start) -> Result<Vec<SagaStep>, Status> {
        if !self.orchestrator.engine.knows(start.plan) {
            // Only a newer program knows what its steps are.
            return Ok(Vec::new());
        }
        let instance = self.instance(start)?;
        let watermark = self.orchestrator.engine.journal().watermark().await;
        let forgotten = start.saga <= watermark.map_err(|error| unavailable(&error))?;
        let answer_by = platform::context::current().answer_by();
        let rows = self.orchestrator.engine.rows(start, &*instance, answer_by).await;
        let shape = instance.shape();
        let applying = instance.steps().iter().filter(|info| shape.steps().any(|s| s == info.step));
        let steps = applying.map(|info| {
            let state = match rows.found(info) {
                Found::Unreachable => StepState::Unreachable,
                Found::Nothing if forgotten => StepState::Purged,
                Found::Nothing => StepState::Nothing,
                Found::Row(state, _) => wire::state(state.into()),
            };
            SagaStep {
                step: i32::from(info.step.0),
                name: info.name.to_string(),
                participant: info.participant.to_string(),
                state: state.into(),
                at: rows.row(info).map(|row| crate::request::timestamp(row.at)),
            }
        });
        Ok(steps.collect())
    }
}

#[tonic::async_trait]
impl SagaAdminService for Admin {
    async fn list_sagas(
        &self,
        request: Request<ListSagasRequest>,
    ) -> Result<Response<ListSagasResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let instant = |at: Option<&Timestamp>| at.map(|at| (at.seconds, at.nanos));
        let (from, to) = (request.created_from.as_ref(), request.created_to.as_ref());
        let filters = (
            (request.state, &request.kind, &request.trace_id),
            (request.user_id, request.order_id, instant(from), instant(to)),
        );
        let size = PageSize::from_request(request.page_size);
        let below = PageToken::decode("ListSagas", &filters, &request.page_token)?.map(SagaId);
        let (running, ended) = states(request.state());
        let filter = Filter {
            subject: request.user_id.map(Name::from),
            object: request.order_id.map(Name::from),
            kind: kind_of(&request.kind)?,
            trace_id: Some(request.trace_id.clone()).filter(|trace| !trace.is_empty()),
            running,
            ended,
            from: from.map(first_at),
            below: below.or_else(|| to.map(first_at)),
        };
        let journal = self.orchestrator.engine.journal();
        let page = journal.list(filter, size.get()).await;
        let Page { records, next } = page.map_err(|error| unavailable(&error))?;
        let token = |next: SagaId| PageToken::encode("ListSagas", &filters, &next.0);
        let next_page_token = next.map_or_else(String::new, token);
        let decisions = self.decisions(&records).await?;
        // One that does not decode must not hide the others.
        let sagas = records.iter().filter_map(|record| saga_with_decision(record, &decisions).ok());
        let sagas = sagas.collect();
        Ok(Response::new(ListSagasResponse { sagas, next_page_token }))
    }

    async fn get_saga(
        &self,
        request: Request<GetSagaRequest>,
    ) -> Result<Response<GetSagaResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let saga = SagaId(*RequestId::parse(&request.saga_id)?.as_bytes());
        let found = self.orchestrator.engine.find(saga).await.map_err(|e| unavailable(&e))?;
        let record =
            found.ok_or_else(|| Refusal::new(Reason::SagaNotFound).with("saga_id", saga))?;
        let steps = self.steps(record.start()).await?;
        let trouble = self.orchestrator.engine.trouble(saga).map(trouble_of);
        let saga = self.saga_of(&record).await?;
        Ok(Response::new(GetSagaResponse { saga: Some(saga), steps, trouble }))
    }

    async fn retry_saga(
        &self,
        request: Request<RetrySagaRequest>,
    ) -> Result<Response<RetrySagaResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let RetrySagaRequest { request_id, saga_id, actor, reason } = request;
        let asked = operate::Asked { request_id, saga_id, actor, reason };
        let (saga, replayed) = operate::retry(self, asked).await?;
        Ok(respond(RetrySagaResponse { saga: Some(saga) }, replayed))
    }

    async fn abort_saga(
        &self,
        request: Request<AbortSagaRequest>,
    ) -> Result<Response<AbortSagaResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let AbortSagaRequest { request_id, saga_id, actor, reason } = request;
        let asked = operate::Asked { request_id, saga_id, actor, reason };
        let (saga, replayed) = operate::abort(self, asked).await?;
        Ok(respond(AbortSagaResponse { saga: Some(saga) }, replayed))
    }

    async fn resolve_saga(
        &self,
        request: Request<ResolveSagaRequest>,
    ) -> Result<Response<ResolveSagaResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let ResolveSagaRequest { request_id, saga_id, actor, reason } = request;
        let asked = operate::Asked { request_id, saga_id, actor, reason };
        let (saga, replayed) = operate::resolve(self, asked).await?;
        Ok(respond(ResolveSagaResponse { saga: Some(saga) }, replayed))
    }

    async fn get_recovery(
        &self,
        request: Request<GetRecoveryRequest>,
    ) -> Result<Response<GetRecoveryResponse>, Status> {
        request.into_inner().check()?;
        let recovery = self.orchestrator.engine.journal().recovery().await;
        let Recovery { paused, actor, reason, changed_at } =
            recovery.map_err(|error| unavailable(&error))?;
        let changed_at = changed_at.map(crate::request::timestamp);
        Ok(Response::new(GetRecoveryResponse { paused, actor, reason, changed_at }))
    }

    async fn pause_recovery(
        &self,
        request: Request<PauseRecoveryRequest>,
    ) -> Result<Response<PauseRecoveryResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let PauseRecoveryRequest { request_id, actor, reason } = request;
        let replayed = self.switch(&request_id, true, actor, reason).await?;
        Ok(respond(PauseRecoveryResponse {}, replayed))
    }

    async fn resume_recovery(
        &self,
        request: Request<ResumeRecoveryRequest>,
    ) -> Result<Response<ResumeRecoveryResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let ResumeRecoveryRequest { request_id, actor, reason } = request;
        let replayed = self.switch(&request_id, false, actor, reason).await?;
        Ok(respond(ResumeRecoveryResponse {}, replayed))
    }
}

fn respond<T>(message: T, replayed: bool) -> Response<T> {
    let response = Response::new(message);
    if replayed { platform::replayed(response) } else { response }
}

fn trouble_of(Trouble { call, attempts, error }: Trouble) -> SagaTrouble {
    let attempts = i32::try_from(attempts).unwrap_or(i32::MAX);
    SagaTrouble { call, attempts, last_error: error }
}

fn kind_of(name: &str) -> Result<Option<i8>, Refusal> {
    match name {
        "" => Ok(None),
        "checkout" => Ok(Some(kind::CHECKOUT)),
        "cancel" => Ok(Some(kind::CANCEL)),
        "submitted" => Ok(Some(kind::SUBMITTED)),
        _ => Err(Refusal::invalid_field("kind", "must be checkout, cancel or submitted, or empty")),
    }
}

fn name_of(kind: i8) -> &'static str {
    match kind {
        kind::CHECKOUT => "checkout",
        kind::CANCEL => "cancel",
        kind::SUBMITTED => "submitted",
        _ => "unknown",
    }
}

/// The smallest id of a saga that begins at this instant, which is at or after 1970, or later. Ids tell milliseconds.
fn first_at(at: &Timestamp) -> SagaId {
    const NANOS: u64 = 1_000_000;
    let nanos = u64::try_from(at.nanos).unwrap_or(0).div_ceil(NANOS);
    let millis = u64::try_from(at.seconds).unwrap_or(0).saturating_mul(1_000);
    SagaId::at_millis(millis.saturating_add(nanos))
}

fn states(state: SagaState) -> (Vec<RunningState>, Vec<EndedAs>) {
    match state {
        SagaState::Unspecified => (
            vec![RunningState::Running, RunningState::NeedsAttention, RunningState::Parked],
            vec![EndedAs::Succeeded, EndedAs::Failed, EndedAs::Resolved],
        ),
        SagaState::Running => (vec![RunningState::Running], Vec::new()),
        SagaState::NeedsAttention => {
            (vec![RunningState::NeedsAttention, RunningState::Parked], Vec::new())
        }
        SagaState::Succeeded => (Vec::new(), vec![EndedAs::Succeeded]),
        SagaState::Failed => (Vec::new(), vec![EndedAs::Failed]),
        SagaState::Resolved => (Vec::new(), vec![EndedAs::Resolved]),
    }
}

/// A record with the decision of the person who closed it, if one did.
fn saga_with_decision(record: &Record, decisions: &Decisions) -> Result<Saga, Refusal> {
    let mut saga = saga_of(record)?;
    let decision = decisions.get(&record.start().saga);
    saga.resolution = decision.and_then(|it| SagaResolution::decode(it.as_slice()).ok());
    Ok(saga)
}

/// # Errors
/// INTERNAL where the record does not name a user and an order, and should.
pub(crate) fn saga_of(record: &Record) -> Result<Saga, Refusal> {
    let start = record.start();
    let Ids { user_id, order_id } = match start.plan.kind {
        kind::CHECKOUT | kind::CANCEL => answer::ids(start)?,
        // Other sagas are about no order.
        _ => Ids { user_id: 0, order_id: 0 },
    };
    let mut saga = Saga {
        saga_id: start.saga.to_string(),
        kind: name_of(start.plan.kind).to_owned(),
        plan_version: i32::from(start.plan.version),
        user_id,
        order_id,
        weight_won: start.weight,
        created_at: Some(crate::request::timestamp(start.placed_at)),
        trace_id: start.trace.trace_id.clone(),
        ..Saga::default()
    };
    match record {
        Record::Running(running) => {
            saga.deadline = Some(crate::request::timestamp(start.deadline_at));
            saga.owner = running.owner.to_string();
            saga.set_state(match running.state {
                RunningState::Running => SagaState::Running,
                RunningState::NeedsAttention | RunningState::Parked => SagaState::NeedsAttention,
            });
            saga.attention = running
                .attention
                .clone()
                .map(|message| SagaFailure { message, ..SagaFailure::default() });
        }
        Record::Ended(ended) => {
            saga.ended_at = Some(crate::request::timestamp(ended.ended_at));
            saga.set_state(match ended.outcome {
                EndedAs::Succeeded => SagaState::Succeeded,
                EndedAs::Failed => SagaState::Failed,
                EndedAs::Resolved => SagaState::Resolved,
            });
            let unreadable = || SagaFailure {
                message: "the recorded result is not readable".to_owned(),
                ..SagaFailure::default()
            };
            saga.failure = match (start.plan.kind, ended.outcome) {
                (kind::SUBMITTED, EndedAs::Succeeded) => None,
                (kind::SUBMITTED, _) => {
                    Some(submit::failure(&ended.result).unwrap_or_else(unreadable))
                }
                _ => match record::read(&ended.result) {
                    Some(result) => result.failure.map(|failure| {
                        let failure = told(start.saga, failure);
                        SagaFailure {
                            step: failure.step,
                            reason: failure.reason,
                            message: failure.message,
                            metadata: failure.metadata,
                            code: failure.code,
                        }
                    }),
                    None => Some(unreadable()),
                },
            };
        }
    }
    Ok(saga)
}
