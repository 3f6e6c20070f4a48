//! `CheckoutService`: accepting sagas, and answering for them.

use crate::admin;
use crate::answer::{self, CheckoutStatus};
use crate::cancel::{self, CancelPlan};
use crate::checkout::{self, CheckoutPlan};
use crate::kind;
use crate::order_ids::OrderIds;
use crate::request::{CancelOrder, PlaceOrder};
use crate::submit::{self, Submit};
use api::checkout::v1::checkout_service_server::{CheckoutService, CheckoutServiceServer};
use api::checkout::v1::get_checkout_request::Key;
use api::checkout::v1::{
    CancelOrderRequest, CancelOrderResponse, CheckoutState, GetCheckoutRequest,
    GetCheckoutResponse, ListCheckoutsRequest, ListCheckoutsResponse, PlaceOrderRequest,
    PlaceOrderResponse, PlacedOrder,
};
use api::saga::v1::saga_admin_service_server::SagaAdminServiceServer;
use api::saga::v1::saga_service_server::SagaServiceServer;
use api::{Check, Reason, Refusal, RequestId};
use db::Db;
use participant::{Name, RequestHash, RequestKey, SagaId, Steps, Trace};
use platform::page::{PageSize, PageToken};
use prost::Message;
use saga::journal::{EndedAs, Filter, Journal, NewSaga, Page, PlanId, Record, RunningState, Start};
use saga::runtime::{Answer, Engine, NoStanding, Options, Plan, Standing};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// The calls, in the journal's request table; stable for ever.
const PLACE_ORDER: i8 = 1;
const CANCEL_ORDER: i8 = 2;
/// One orchestrator replica. Cheap to clone.
#[derive(Clone)]
pub struct Orchestrator {
    pub(crate) engine: Engine,
    order_ids: Arc<OrderIds>,
    submittable: Arc<BTreeSet<String>>,
}

/// What a client's request asks for, ready for START.
struct Asked {
    plan: PlanId,
    user_id: i64,
    order_id: i64,
    weight: i64,
    content: Vec<u8>,
    request: RequestKey,
    hash: RequestHash,
}

/// What a client is told.
struct Told {
    saga: SagaId,
    state: CheckoutState,
    order: Option<PlacedOrder>,
    replayed: bool,
}

impl Orchestrator {
    /// Starts the engine with its plans and those whom they call, and its recovery.
    pub fn start(
        db: Db,
        participants: Vec<Arc<dyn Steps>>,
        options: Options,
        lane: lane::Options,
        tasks: &TaskTracker,
    ) -> Self {
        let journal = Journal::open(db.clone(), lane, tasks);
        let plans: Vec<Arc<dyn Plan>> =
            vec![Arc::new(CheckoutPlan), Arc::new(CancelPlan), Arc::new(submit::plan())];
        let engine = Engine::start(journal, plans, participants, options, tasks);
        let order_ids = Arc::new(OrderIds::new(db));
        Self { engine, order_ids, submittable: Arc::default() }
    }

    /// The public service.
    pub fn checkout(&self) -> CheckoutServiceServer<Self> {
        platform::served!(CheckoutServiceServer::new(self.clone()))
    }

    /// The operators' service.
    pub fn admin(&self) -> SagaAdminServiceServer<admin::Admin> {
        platform::served!(SagaAdminServiceServer::new(admin::Admin::new(self.clone())))
    }

    /// The same, with these actions allowed in submitted sagas; without it none is.
    #[must_use]
    pub fn with_submittable(mut self, methods: BTreeSet<String>) -> Self {
        self.submittable = Arc::new(methods);
        self
    }

    /// The service of submitted sagas.
    pub fn submit(&self) -> SagaServiceServer<Submit> {
        let submit = Submit::new(self.clone(), Arc::clone(&self.submittable));
        platform::served!(SagaServiceServer::new(submit))
    }

    /// The engine that runs its sagas.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Begins or joins the saga of a request and waits for its outcome, as long as the caller does.
    async fn run(&self, asked: Asked) -> Result<Told, Status> {
        let context = platform::context::current();
        let placed_at = db::now_micros();
        let deadline_at = placed_at + self.engine.deadline(asked.plan);
        let start = Start {
            saga: SagaId::from(db::new_id()),
            plan: asked.plan,
            subject: asked.user_id.into(),
            object: asked.order_id.into(),
            weight: asked.weight,
            request: asked.content,
            placed_at,
            deadline_at,
            trace: Trace { trace_id: context.trace_id.clone(), traceparent: context.traceparent() },
            request_id: Some(asked.request.request_id),
        };
        let request_id = asked.request.request_id;
        let owns_object = asked.plan == checkout::ID;
        let saga = NewSaga { start, owns_object, request: asked.request, hash: asked.hash };
        let answer = self.engine.run(saga, context.answer_by()).await;
        let Answer { saga, standing, joined } = answer.map_err(|error| match error {
            NoStanding::Reused => reused(request_id),
            other => not_told(&other),
        })?;
        tell(saga, CheckoutStatus::new(saga, &standing)?, joined)
    }

    /// A saga's record, and how it stands.
    ///
    /// # Errors
    /// `CHECKOUT_NOT_FOUND`; UNAVAILABLE where the journal or a participant that matters cannot be reached.
    async fn look_up(&self, saga: SagaId) -> Result<(Record, CheckoutStatus), Status> {
        let not_found = || Refusal::new(Reason::CheckoutNotFound).with("checkout_id", saga);
        let answer_by = platform::context::current().answer_by();
        let found = self.engine.look_up(saga, answer_by).await;
        let (record, standing) = found.map_err(|error| match error {
            NoStanding::NotFound => not_found(),
            other => not_told(&other),
        })?;
        if record.start().plan.kind == kind::SUBMITTED {
            return Err(not_found().into());
        }
        Ok((record, CheckoutStatus::new(saga, &standing)?))
    }

    /// The saga of a client's request, as far as it is recorded.
    async fn saga_of_request(&self, key: RequestKey) -> Result<Option<SagaId>, Status> {
        let answer_by = platform::context::current().answer_by();
        let found = self.engine.saga_of_request(key, answer_by).await;
        Ok(found.map_err(|error| not_told(&error))?)
    }
}

#[tonic::async_trait]
impl CheckoutService for Orchestrator {
    async fn place_order(
        &self,
        request: Request<PlaceOrderRequest>,
    ) -> Result<Response<PlaceOrderResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let content = PlaceOrder::new(&request);
        let order_id = self.order_ids.next().await.map_err(|error| unavailable(&error))?;
        let told = self
            .run(Asked {
                plan: checkout::ID,
                user_id: request.user_id,
                order_id,
                weight: content.weight_won(),
                content: content.encode_to_vec(),
                request: request_key(&request.request_id, request.user_id, PLACE_ORDER)?,
                hash: content.hash(),
            })
            .await?;
        let Told { saga, state, order, replayed } = told;
        let checkout_id = saga.to_string();
        Ok(respond(PlaceOrderResponse { checkout_id, state: state.into(), order }, replayed))
    }

    async fn cancel_order(
        &self,
        request: Request<CancelOrderRequest>,
    ) -> Result<Response<CancelOrderResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let content = CancelOrder::new(&request);
        let told = self
            .run(Asked {
                plan: cancel::ID,
                user_id: request.user_id,
                order_id: request.order_id,
                weight: 0,
                content: content.encode_to_vec(),
                request: request_key(&request.request_id, request.user_id, CANCEL_ORDER)?,
                hash: content.hash(),
            })
            .await?;
        let Told { saga, state, order, replayed } = told;
        let checkout_id = saga.to_string();
        Ok(respond(CancelOrderResponse { checkout_id, state: state.into(), order }, replayed))
    }

    async fn get_checkout(
        &self,
        request: Request<GetCheckoutRequest>,
    ) -> Result<Response<GetCheckoutResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let saga = match request.key {
            Some(Key::CheckoutId(id)) => Some(SagaId(*RequestId::parse(&id)?.as_bytes())),
            Some(Key::Request(named)) => {
                let mut found = None;
                for method in [PLACE_ORDER, CANCEL_ORDER] {
                    let key = request_key(&named.request_id, named.user_id, method)?;
                    found = self.saga_of_request(key).await?;
                    if found.is_some() {
                        break;
                    }
                }
                found
            }
            None => None,
        };
        let saga = saga.ok_or_else(|| Refusal::new(Reason::CheckoutNotFound))?;
        let (record, status) = self.look_up(saga).await?;
        let checkout = Some(answer::checkout(&record, status)?);
        Ok(Response::new(GetCheckoutResponse { checkout }))
    }

    async fn list_checkouts(
        &self,
        request: Request<ListCheckoutsRequest>,
    ) -> Result<Response<ListCheckoutsResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let filters = (request.user_id, request.state);
        let size = PageSize::from_request(request.page_size);
        let below = PageToken::decode("ListCheckouts", &filters, &request.page_token)?.map(SagaId);
        let (running, ended) = states(request.state());
        let subject = Some(Name::from(request.user_id));
        let filter = Filter { subject, running, ended, below, ..Filter::default() };
        let page = self.engine.journal().list(filter, size.get()).await;
        let Page { records, next } = page.map_err(|error| unavailable(&error))?;
        let token = |next: SagaId| PageToken::encode("ListCheckouts", &filters, &next.0);
        let next_page_token = next.map_or_else(String::new, token);
        let mut checkouts = Vec::with_capacity(records.len());
        for record in records {
            let (record, status) = self.listed(record).await?;
            checkouts.push(answer::checkout(&record, status)?);
        }
        Ok(Response::new(ListCheckoutsResponse { checkouts, next_page_token }))
    }
}

impl Orchestrator {
    /// How a saga of a list stands. One that was unfinished is looked up: it may have ended since it was read.
    async fn listed(&self, record: Record) -> Result<(Record, CheckoutStatus), Status> {
        let saga = record.start().saga;
        match Standing::recorded(&record) {
            Standing::Running => self.look_up(saga).await,
            ended @ Standing::Ended { .. } => Ok((record, CheckoutStatus::new(saga, &ended)?)),
        }
    }
}

fn states(state: CheckoutState) -> (Vec<RunningState>, Vec<EndedAs>) {
    let running =
        || vec![RunningState::Running, RunningState::NeedsAttention, RunningState::Parked];
    match state {
        CheckoutState::Unspecified => {
            (running(), vec![EndedAs::Succeeded, EndedAs::Failed, EndedAs::Resolved])
        }
        CheckoutState::Running => (running(), Vec::new()),
        CheckoutState::Succeeded => (Vec::new(), vec![EndedAs::Succeeded]),
        CheckoutState::Failed => (Vec::new(), vec![EndedAs::Failed, EndedAs::Resolved]),
    }
}

pub(crate) fn request_key(
    request_id: &str,
    subject: impl Into<Name>,
    method: i8,
) -> Result<RequestKey, Refusal> {
    let request_id = *RequestId::parse(request_id)?.as_bytes();
    Ok(RequestKey { request_id, subject: subject.into(), method })
}

fn tell(saga: SagaId, status: CheckoutStatus, replayed: bool) -> Result<Told, Status> {
    let state = status.state();
    match status.into_order() {
        Ok(order) => Ok(Told { saga, state, order, replayed }),
        Err(refusal) if replayed => Err(platform::replayed_refusal(refusal)),
        Err(refusal) => Err(refusal.into()),
    }
}

fn respond<T>(message: T, replayed: bool) -> Response<T> {
    let response = Response::new(message);
    if replayed { platform::replayed(response) } else { response }
}

pub(crate) fn reused(request_id: [u8; 16]) -> Refusal {
    let request_id = Uuid::from_bytes(request_id);
    Refusal::new(Reason::RequestIdReused).with("request_id", request_id)
}

/// Why nothing is told.
pub(crate) fn not_told(error: &NoStanding) -> Refusal {
    match error {
        NoStanding::NotFound => Refusal::new(Reason::CheckoutNotFound),
        NoStanding::Overloaded { retry_after } => Refusal::overloaded(*retry_after),
        NoStanding::Reused => Refusal::new(Reason::RequestIdReused),
        NoStanding::Unavailable => Refusal::new(Reason::Unavailable),
        NoStanding::Unreadable(saga) => answer::unreadable(*saga),
    }
}

/// The journal could not be asked: the caller may repeat the same request.
pub(crate) fn unavailable(error: &db::Error) -> Status {
    tracing::warn!(%error, "journal not readable");
    Refusal::new(Reason::Unavailable).into()
}
