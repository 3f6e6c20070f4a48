//! `CheckoutService`: accepting sagas, and answering for them.

use crate::admin;
use crate::answer::{self, Standing};
use crate::calls::Participants;
use crate::cancel::{self, CancelPlan};
use crate::checkout::{self, CheckoutPlan};
use crate::order_ids::OrderIds;
use crate::request::{CancelOrder, PlaceOrder};
use crate::unfinished::ByRows;
use api::checkout::v1::checkout_service_server::{CheckoutService, CheckoutServiceServer};
use api::checkout::v1::get_checkout_request::Key;
use api::checkout::v1::{
    CancelOrderRequest, CancelOrderResponse, CheckoutState, GetCheckoutRequest,
    GetCheckoutResponse, ListCheckoutsRequest, ListCheckoutsResponse, PlaceOrderRequest,
    PlaceOrderResponse, PlacedOrder,
};
use api::saga::v1::saga_admin_service_server::SagaAdminServiceServer;
use api::{Check, Reason, Refusal, RequestId};
use db::Db;
use participant::{RequestHash, RequestKey, SagaId, Trace};
use platform::page::{PageSize, PageToken};
use prost::Message;
use saga::journal::{
    Ended, EndedAs, Filter, Journal, NewSaga, PlanId, Record, RunningState, Start,
};
use saga::runtime::{Accepted, Engine, NotAccepted, Options, Progress, StepInfo};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

/// The calls, in the journal's request table; stable for ever.
const PLACE_ORDER: i8 = 1;
const CANCEL_ORDER: i8 = 2;
/// How often a saga that another replica runs is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One orchestrator replica. Cheap to clone.
#[derive(Clone)]
pub struct Orchestrator {
    pub(crate) engine: Engine,
    pub(crate) participants: Participants,
    order_ids: Arc<OrderIds>,
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
    /// Starts the engine with its plans, and its recovery.
    pub fn start(
        db: Db,
        participants: Participants,
        options: Options,
        lane: lane::Options,
        tasks: &TaskTracker,
    ) -> Self {
        let journal = Journal::open(db.clone(), lane, tasks);
        let checkout = CheckoutPlan { participants: participants.clone() };
        let cancel = CancelPlan { participants: participants.clone() };
        let engine =
            Engine::start(journal, vec![Arc::new(checkout), Arc::new(cancel)], options, tasks);
        Self { engine, participants, order_ids: Arc::new(OrderIds::new(db)) }
    }

    /// The public service.
    pub fn checkout(&self) -> CheckoutServiceServer<Self> {
        platform::served!(CheckoutServiceServer::new(self.clone()))
    }

    /// The operators' service.
    pub fn admin(&self) -> SagaAdminServiceServer<admin::Admin> {
        platform::served!(SagaAdminServiceServer::new(admin::Admin::new(self.clone())))
    }

    /// The plans that this program knows, by kind and version, with all their steps.
    pub fn plans(&self) -> Vec<(PlanId, &'static [StepInfo])> {
        self.engine.plans().map(|plan| (plan.id(), plan.steps())).collect()
    }

    /// Whether a saga is in flight here.
    pub fn is_driving(&self, saga: SagaId) -> bool {
        self.engine.watch(saga).is_some()
    }

    /// Sagas in flight here.
    pub fn live(&self) -> usize {
        self.engine.live()
    }

    /// What the journal's lanes last achieved.
    pub fn health(&self) -> Vec<lane::Health> {
        self.engine.journal().health()
    }

    /// Lets the sagas in flight end, for `patience` at most, and leaves the rest to others.
    pub async fn stop(&self, patience: Duration) {
        self.engine.stop(patience).await;
    }

    /// Begins or joins the saga of a request and waits for its outcome, as long as the caller does.
    async fn run(&self, asked: Asked) -> Result<Told, Status> {
        let context = platform::context::current();
        let answer_by = context.answer_by();
        let placed_at = db::now_micros();
        let deadline_at = placed_at + self.engine.options().deadline;
        let start = Start {
            saga: SagaId::from(db::new_id()),
            plan: asked.plan,
            subject: asked.user_id,
            object: asked.order_id,
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
        let Accepted { progress, joined } =
            self.engine.submit(saga).map_err(|error| not_accepted(&error, request_id))?;
        self.await_outcome(progress, joined, request_id, answer_by).await
    }

    async fn await_outcome(
        &self,
        mut progress: watch::Receiver<Progress>,
        joined: bool,
        request_id: [u8; 16],
        answer_by: Instant,
    ) -> Result<Told, Status> {
        let open =
            |progress: &Progress| matches!(progress, Progress::Starting | Progress::Running(_));
        // Whether it came, or the time did, or the executor is gone: what counts is what stands there now.
        let _ = tokio::time::timeout_at(answer_by, progress.wait_for(|p| !open(p))).await;
        let seen = progress.borrow().clone();
        match seen {
            Progress::Decided { saga, outcome, result } => {
                tell(saga, Standing::of_result(saga, outcome, &result)?, joined)
            }
            Progress::Running(saga) => self.tell_running(saga, joined).await,
            Progress::Elsewhere(saga) => self.await_elsewhere(saga, answer_by).await,
            Progress::Reused => Err(reused(request_id)),
            Progress::Overloaded(retry_after) => Err(Refusal::overloaded(retry_after).into()),
            // Not known to be durable: neither failed nor running may be told.
            Progress::Starting | Progress::Unknown => Err(Refusal::new(Reason::Unavailable).into()),
        }
    }

    /// The answer of a saga whose executor here is not at its end when the caller's time is up. Another replica may have
    /// told the end already, where it took the saga over or read its rows. A participant that cannot be reached from here
    /// is what the executor waits for: then the saga is on its way.
    async fn tell_running(&self, saga: SagaId, replayed: bool) -> Result<Told, Status> {
        // Half of the time that is kept for the answer's way.
        let patience = platform::context::current().time_left() / 2;
        let known = tokio::time::timeout(patience, self.look_up(saga)).await;
        let standing = match known {
            Ok(Ok((_, standing))) => standing,
            Ok(Err(_)) | Err(_) => Standing::Running,
        };
        tell(saga, standing, replayed)
    }

    /// The outcome of a saga that an earlier request began and that does not run here.
    async fn await_elsewhere(&self, saga: SagaId, answer_by: Instant) -> Result<Told, Status> {
        loop {
            let known = tokio::time::timeout_at(answer_by, self.look_up(saga)).await;
            let known = known.unwrap_or_else(|_| Err(Refusal::new(Reason::Unavailable).into()));
            let is_last = Instant::now() + LOOK_EVERY >= answer_by;
            match known {
                Ok((_, Standing::Running)) if !is_last => {}
                Ok((_, standing)) => return tell(saga, standing, true),
                Err(status) if is_last || status.code() != Code::Unavailable => return Err(status),
                Err(_) => {}
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A saga's record, and how it stands: by END, or an operator's decision, in the journal; by what its executor here
    /// has told; by its rows. Never running after anybody was told its end.
    ///
    /// # Errors
    /// `CHECKOUT_NOT_FOUND`; UNAVAILABLE where the journal or a participant that matters cannot be reached.
    async fn look_up(&self, saga: SagaId) -> Result<(Record, Standing), Status> {
        // Before the journal: a saga is forgotten here only after its END is written, so that one of the two tells.
        let here = self.told_here(saga).transpose()?;
        let start = match self.find(saga).await? {
            Record::Ended(ended) => return Ok(of_end(ended)?),
            running @ Record::Running(_) => match here {
                Some(standing) => return Ok((running, standing)),
                None => running.start().clone(),
            },
        };
        let by_rows = self.by_rows(&start).await?;
        // The rows go when END has been written for long; and an operator's decision stands above them.
        let record = match self.find(saga).await? {
            Record::Ended(ended) => return Ok(of_end(ended)?),
            running @ Record::Running(_) => running,
        };
        match by_rows {
            ByRows::Ended(standing) => Ok((record, standing)),
            ByRows::Open => Ok((record, Standing::Running)),
            ByRows::Unknown if self.engine.watch(saga).is_some() => Ok((record, Standing::Running)),
            ByRows::Unknown => Err(Refusal::new(Reason::Unavailable).into()),
        }
    }

    async fn find(&self, saga: SagaId) -> Result<Record, Status> {
        let found = self.engine.find(saga).await.map_err(|error| unavailable(&error))?;
        let not_found = || Refusal::new(Reason::CheckoutNotFound).with("checkout_id", saga);
        Ok(found.ok_or_else(not_found)?)
    }

    /// What the executor of a saga has told on this replica; it counts though END is not written yet.
    fn told_here(&self, saga: SagaId) -> Option<Result<Standing, Refusal>> {
        match &*self.engine.watch(saga)?.borrow() {
            Progress::Decided { outcome, result, .. } => {
                Some(Standing::of_result(saga, *outcome, result))
            }
            _ => None,
        }
    }

    /// The saga of a client's request, as far as it is recorded.
    ///
    /// # Errors
    /// UNAVAILABLE where the journal cannot be asked, or where the request's own commit is still under way here when the
    /// caller's time is up: it may be recorded any moment.
    async fn saga_of_request(&self, key: RequestKey) -> Result<Option<SagaId>, Status> {
        if let Some(mut progress) = self.engine.request(key) {
            let answer_by = platform::context::current().answer_by();
            let is_known = |progress: &Progress| !matches!(progress, Progress::Starting);
            match tokio::time::timeout_at(answer_by, progress.wait_for(is_known)).await {
                // Known, or its task is gone: what it committed can be read.
                Ok(_) => {}
                Err(_) => return Err(Refusal::new(Reason::Unavailable).into()),
            }
        }
        self.engine.of_request(key).await.map_err(|error| unavailable(&error))
    }
}

fn of_end(ended: Ended) -> Result<(Record, Standing), Refusal> {
    let standing = Standing::of_result(ended.start.saga, ended.outcome, &ended.result)?;
    Ok((Record::Ended(ended), standing))
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
                weight: content.weight(),
                content: content.encode_to_vec(),
                request: key(&request.request_id, request.user_id, PLACE_ORDER)?,
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
                request: key(&request.request_id, request.user_id, CANCEL_ORDER)?,
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
                    let key = key(&named.request_id, named.user_id, method)?;
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
        let (record, standing) = self.look_up(saga).await?;
        let checkout = Some(answer::checkout(&record, standing));
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
        let filter =
            Filter { subject: Some(request.user_id), running, ended, below, ..Filter::default() };
        let records = self.engine.journal().list(filter, size.rows_to_read()).await;
        let token =
            |record: &Record| PageToken::encode("ListCheckouts", &filters, &record.start().saga.0);
        let records = records.map_err(|error| unavailable(&error))?;
        let (records, next_page_token) = size.cut(records, token);
        let mut checkouts = Vec::with_capacity(records.len());
        for record in records {
            let (record, standing) = self.listed(record).await?;
            checkouts.push(answer::checkout(&record, standing));
        }
        Ok(Response::new(ListCheckoutsResponse { checkouts, next_page_token }))
    }
}

impl Orchestrator {
    /// How a saga of a list stands. One that was unfinished is looked up: it may have ended since it was read.
    async fn listed(&self, record: Record) -> Result<(Record, Standing), Status> {
        match record {
            Record::Ended(ended) => Ok(of_end(ended)?),
            Record::Running(running) => self.look_up(running.start.saga).await,
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

fn key(request_id: &str, user_id: i64, method: i8) -> Result<RequestKey, Refusal> {
    let request_id = *RequestId::parse(request_id)?.as_bytes();
    Ok(RequestKey { request_id, user_id, method })
}

fn tell(saga: SagaId, standing: Standing, replayed: bool) -> Result<Told, Status> {
    let state = standing.state();
    match standing.into_order(saga) {
        Ok(order) => Ok(Told { saga, state, order, replayed }),
        Err(refusal) if replayed => Err(platform::replayed_refusal(refusal)),
        Err(refusal) => Err(refusal.into()),
    }
}

fn respond<T>(message: T, replayed: bool) -> Response<T> {
    let response = Response::new(message);
    if replayed { platform::replayed(response) } else { response }
}

fn reused(request_id: [u8; 16]) -> Status {
    let request_id = Uuid::from_bytes(request_id);
    Refusal::new(Reason::RequestIdReused).with("request_id", request_id).into()
}

fn not_accepted(error: &NotAccepted, request_id: [u8; 16]) -> Status {
    match error {
        NotAccepted::Overloaded { retry_after } => Refusal::overloaded(*retry_after).into(),
        NotAccepted::Reused => reused(request_id),
    }
}

/// The journal could not be asked: the caller may repeat the same request.
pub(crate) fn unavailable(error: &db::Error) -> Status {
    tracing::warn!(%error, "journal not readable");
    Refusal::new(Reason::Unavailable).into()
}
