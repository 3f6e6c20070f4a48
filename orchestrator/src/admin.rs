//! `SagaAdminService`: what operators see of sagas.

use crate::answer::with_message;
use crate::calls::{Caller, Participants};
use crate::service::{Orchestrator, unavailable};
use crate::{kind, record};
use api::saga::v1::saga_admin_service_server::SagaAdminService;
use api::saga::v1::{
    AbortSagaRequest, AbortSagaResponse, GetSagaRequest, GetSagaResponse, ListSagasRequest,
    ListSagasResponse, ResolveSagaRequest, ResolveSagaResponse, RetrySagaRequest,
    RetrySagaResponse, Saga, SagaFailure, SagaState, SagaStep, SagaStepState, StepFound,
    StepRecord,
};
use api::{Check, Reason, Refusal, RequestId, coupon, order, product, wallet};
use chrono::{TimeDelta, Utc};
use participant::{SagaId, StepNo};
use platform::page::{PageSize, PageToken};
use saga::journal::{EndedAs, Filter, Record, RunningState, Start};
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// How long a participant may take to tell its rows.
const BUDGET: Duration = Duration::from_secs(1);

/// The operators' service of one replica.
pub struct Admin {
    orchestrator: Orchestrator,
}

impl Admin {
    pub(crate) fn new(orchestrator: Orchestrator) -> Self {
        Self { orchestrator }
    }

    async fn steps(&self, start: &Start) -> Result<Vec<SagaStep>, Status> {
        let script = self.orchestrator.engine.script(start).map_err(|unreadable| {
            tracing::error!(%unreadable, saga = %start.saga, "saga not readable");
            Refusal::new(Reason::Internal)
        })?;
        let rows = Rows::read(&self.orchestrator.participants, start).await;
        let shape = script.shape();
        let applying = script.steps().iter().filter(|info| shape.steps().any(|s| s == info.step));
        let steps = applying.map(|info| {
            let (state, at) = rows.of(info.participant, info.step);
            SagaStep {
                step: i32::from(info.step.0),
                name: info.name.to_owned(),
                participant: info.participant.to_owned(),
                state: state.into(),
                at,
            }
        });
        Ok(steps.collect())
    }
}

/// What the participants have on record of one saga; none for one that could not be asked.
struct Rows(BTreeMap<&'static str, Option<Vec<StepRecord>>>);

impl Rows {
    async fn read(participants: &Participants, start: &Start) -> Self {
        let caller = Caller::new(start);
        let ids = vec![start.saga.0.to_vec()];
        let product = product::v1::GetStepsRequest { saga_ids: ids.clone() };
        let coupon = coupon::v1::GetStepsRequest { saga_ids: ids.clone() };
        let wallet = wallet::v1::GetStepsRequest { saga_ids: ids.clone() };
        let order = order::v1::GetStepsRequest { saga_ids: ids };
        let (product, coupon, wallet, order) = tokio::join!(
            caller.call(BUDGET, participants.product.get_steps(Request::new(product))),
            caller.call(BUDGET, participants.coupon.get_steps(Request::new(coupon))),
            caller.call(BUDGET, participants.wallet.get_steps(Request::new(wallet))),
            caller.call(BUDGET, participants.order.get_steps(Request::new(order))),
        );
        Self(BTreeMap::from([
            ("product", product.ok().map(|answer| answer.into_inner().records)),
            ("coupon", coupon.ok().map(|answer| answer.into_inner().records)),
            ("wallet", wallet.ok().map(|answer| answer.into_inner().records)),
            ("order", order.ok().map(|answer| answer.into_inner().records)),
        ]))
    }

    fn of(
        &self,
        participant: &str,
        step: StepNo,
    ) -> (SagaStepState, Option<prost_types::Timestamp>) {
        let Some(Some(records)) = self.0.get(participant) else {
            return (SagaStepState::Unreachable, None);
        };
        let of_step = |record: &&StepRecord| {
            record.key.as_ref().is_some_and(|key| key.step == i32::from(step.0))
        };
        match records.iter().find(of_step) {
            Some(record) => (state_of(record.state()), record.at),
            None => (SagaStepState::Nothing, None),
        }
    }
}

fn state_of(found: StepFound) -> SagaStepState {
    match found {
        StepFound::Unspecified | StepFound::Nothing => SagaStepState::Nothing,
        StepFound::Done => SagaStepState::Done,
        StepFound::Rejected => SagaStepState::Rejected,
        StepFound::Compensated => SagaStepState::Compensated,
        StepFound::Tombstone => SagaStepState::Tombstone,
        StepFound::Purged => SagaStepState::Purged,
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
        let age = request.min_age.as_ref().map_or(0, |age| age.seconds);
        let filters = (request.state, &request.kind, age);
        let size = PageSize::from_request(request.page_size);
        let below = PageToken::decode("ListSagas", &filters, &request.page_token)?.map(SagaId);
        let (running, ended) = states(request.state());
        let filter = Filter {
            subject: None,
            kind: kind_of(&request.kind)?,
            running,
            ended,
            placed_before: (age > 0).then(|| Utc::now() - TimeDelta::seconds(age)),
            below,
        };
        let journal = self.orchestrator.engine.journal();
        let records = journal.list(filter, size.rows_to_read()).await;
        let token =
            |record: &Record| PageToken::encode("ListSagas", &filters, &record.start().saga.0);
        let records = records.map_err(|error| unavailable(&error))?;
        let (records, next_page_token) = size.cut(records, token);
        let sagas = records.iter().map(saga_of).collect();
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
        Ok(Response::new(GetSagaResponse { saga: Some(saga_of(&record)), steps }))
    }

    async fn retry_saga(
        &self,
        _: Request<RetrySagaRequest>,
    ) -> Result<Response<RetrySagaResponse>, Status> {
        Err(Refusal::new(Reason::Unimplemented).into())
    }

    async fn abort_saga(
        &self,
        _: Request<AbortSagaRequest>,
    ) -> Result<Response<AbortSagaResponse>, Status> {
        Err(Refusal::new(Reason::Unimplemented).into())
    }

    async fn resolve_saga(
        &self,
        _: Request<ResolveSagaRequest>,
    ) -> Result<Response<ResolveSagaResponse>, Status> {
        Err(Refusal::new(Reason::Unimplemented).into())
    }
}

fn kind_of(name: &str) -> Result<Option<i8>, Refusal> {
    match name {
        "" => Ok(None),
        "checkout" => Ok(Some(kind::CHECKOUT)),
        "cancel" => Ok(Some(kind::CANCEL)),
        _ => Err(Refusal::invalid_field("kind", "must be checkout or cancel, or empty")),
    }
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

fn saga_of(record: &Record) -> Saga {
    let start = record.start();
    let mut saga = Saga {
        saga_id: start.saga.to_string(),
        kind: if start.plan.kind == kind::CHECKOUT { "checkout" } else { "cancel" }.to_owned(),
        plan_version: i32::from(start.plan.version),
        user_id: start.subject,
        order_id: start.object,
        weight: start.weight,
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
            saga.failure =
                record::read(&ended.result).failure.map(with_message).map(|failure| SagaFailure {
                    step: failure.step,
                    reason: failure.reason,
                    message: failure.message,
                    metadata: failure.metadata,
                });
        }
    }
    saga
}
