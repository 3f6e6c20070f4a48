//! One orchestrator replica in a runtime of its own: it dies as a process does, with everything that it is doing.

use crate::shop::{lanes, open};
use crate::snapshot::until;
use api::checkout::v1::checkout_service_client::CheckoutServiceClient;
use api::checkout::v1::get_checkout_request::Key;
use api::checkout::v1::{
    CancelOrderRequest, CancelOrderResponse, Checkout, CheckoutState, GetCheckoutRequest,
    PlaceOrderRequest, PlaceOrderResponse, PlacedOrder, RequestKey,
};
use api::outcome::{IDEMPOTENCY_REPLAYED, X_TRACE_ID};
use api::saga::v1::saga_admin_service_client::SagaAdminServiceClient;
use api::saga::v1::{
    AbortSagaRequest, GetRecoveryRequest, GetSagaRequest, GetSagaResponse, ListSagasRequest,
    PauseRecoveryRequest, ResolveSagaRequest, ResumeRecoveryRequest, RetrySagaRequest, Saga,
    SagaState, StepState,
};
use http::Request;
use orchestrator::Orchestrator;
use participant::Steps;
use platform::{Chassis, Limits, Services, Transport};
use saga::journal::PlanId;
use saga::runtime::{Options, StepInfo};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tower::{Layer, ServiceExt};
use uuid::Uuid;

/// How long a client waits for its answer.
const PATIENCE: Duration = Duration::from_secs(50);

/// A service that runs in another runtime, as if in another process: what it has begun there goes on when its caller is
/// gone.
pub(crate) fn far(service: Transport, runtime: Handle) -> Transport {
    Transport::new(tower::service_fn(move |request: Request<Body>| {
        let task = runtime.spawn(service.clone().oneshot(request));
        async move {
            let gone = || Status::unavailable("the process is gone").into_http();
            Ok(task.await.map_or_else(|_| gone(), |Ok(response)| response))
        }
    }))
}

/// What a client asks of the orchestrator.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Place(PlaceOrderRequest),
    Cancel(CancelOrderRequest),
}

impl Ask {
    pub(crate) fn request_id(&self) -> &str {
        match self {
            Self::Place(request) => &request.request_id,
            Self::Cancel(request) => &request.request_id,
        }
    }

    pub(crate) fn user_id(&self) -> i64 {
        match self {
            Self::Place(request) => request.user_id,
            Self::Cancel(request) => request.user_id,
        }
    }
}

/// What a client is told that is no error.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) checkout_id: String,
    pub(crate) state: CheckoutState,
    pub(crate) order: Option<PlacedOrder>,
    pub(crate) replayed: bool,
}

/// What an operator can do to a saga.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verb {
    Retry,
    Abort,
    Resolve,
}

impl Verb {
    pub(crate) const ALL: [Self; 3] = [Self::Retry, Self::Abort, Self::Resolve];
}

/// What an operator is told.
#[derive(Debug)]
pub(crate) struct Operated {
    pub(crate) saga: Saga,
    pub(crate) replayed: bool,
}

/// Whether an answer is marked as that of an earlier call.
pub(crate) fn is_replayed(metadata: &MetadataMap) -> bool {
    metadata.get(IDEMPOTENCY_REPLAYED).is_some_and(|value| value == "true")
}

/// An orchestrator replica.
pub(crate) struct Node {
    runtime: Option<Runtime>,
    plans: Vec<(PlanId, Vec<StepInfo>)>,
    orchestrator: Orchestrator,
    checkout: CheckoutServiceClient<Transport>,
    admin: SagaAdminServiceClient<Transport>,
}

impl Node {
    /// A replica on the journal at `url`.
    pub(crate) async fn start(
        url: String,
        participants: Vec<Arc<dyn Steps>>,
        options: Options,
    ) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let tasks = TaskTracker::new();
        let chassis = Chassis::new(Limits::default(), tasks.clone());
        let started = runtime.spawn(async move {
            let db = open(url).await;
            Orchestrator::start(db, participants, options, lanes(), &tasks)
        });
        let orchestrator = started.await.unwrap();
        let services = Services::default().with(orchestrator.checkout()).with(orchestrator.admin());
        let service = Transport::new(chassis.layer(Routes::from(services)));
        let transport = far(service, runtime.handle().clone());
        // That of submitted sagas has no steps of its own.
        let plans = orchestrator.engine().plans().filter(|plan| !plan.steps().is_empty());
        Self {
            plans: plans.map(|plan| (plan.id(), plan.steps().to_vec())).collect(),
            orchestrator,
            checkout: CheckoutServiceClient::new(transport.clone()),
            admin: SagaAdminServiceClient::new(transport),
            runtime: Some(runtime),
        }
    }

    /// Forgets all that has ended. Tells how many sagas that were.
    pub(crate) async fn forget(&self) -> usize {
        let engine = self.orchestrator.engine().clone();
        let forgetting = async move { engine.forget(Duration::ZERO).await };
        let runtime = self.runtime.as_ref().unwrap();
        runtime.spawn(forgetting).await.unwrap().unwrap()
    }

    /// Whether the replica works on a saga.
    pub(crate) fn is_driving(&self, saga: &str) -> bool {
        let saga = Uuid::parse_str(saga).unwrap();
        self.orchestrator.engine().watch(saga.into()).is_some()
    }

    /// The plans that the replica knows, with all their steps.
    pub(crate) fn plans(&self) -> &[(PlanId, Vec<StepInfo>)] {
        &self.plans
    }

    /// Sends a client's request and waits for the answer. The saga carries this trace id.
    pub(crate) async fn ask(&self, trace: &str, ask: Ask) -> Result<Told, Status> {
        self.ask_within(trace, ask, PATIENCE).await
    }

    /// The same, by somebody who waits so long.
    pub(crate) async fn ask_within(
        &self,
        trace: &str,
        ask: Ask,
        patience: Duration,
    ) -> Result<Told, Status> {
        ask_on(self.checkout.clone(), trace.to_owned(), ask, patience).await
    }

    /// Sends a client's request and lets nobody wait for it.
    pub(crate) fn ask_and_leave(&self, trace: &str, ask: Ask) {
        tokio::spawn(ask_on(self.checkout.clone(), trace.to_owned(), ask, PATIENCE));
    }

    /// A checkout, named by its id.
    pub(crate) async fn checkout(&self, id: &str) -> Checkout {
        self.get(Key::CheckoutId(id.to_owned())).await.unwrap()
    }

    /// The same, where it may not be told.
    pub(crate) async fn try_checkout(&self, id: &str) -> Result<Checkout, Status> {
        self.get(Key::CheckoutId(id.to_owned())).await
    }

    /// A checkout, named by its request; none before START.
    pub(crate) async fn checkout_of(&self, ask: &Ask) -> Result<Checkout, Status> {
        let request_id = ask.request_id().to_owned();
        self.get(Key::Request(RequestKey { user_id: ask.user_id(), request_id })).await
    }

    /// The same, by somebody who waits so long.
    pub(crate) async fn checkout_within(
        &self,
        ask: &Ask,
        patience: Duration,
    ) -> Result<Checkout, Status> {
        let request_id = ask.request_id().to_owned();
        let key = Key::Request(RequestKey { user_id: ask.user_id(), request_id });
        let mut request = tonic::Request::new(GetCheckoutRequest { key: Some(key) });
        request.set_timeout(patience);
        let answer = self.checkout.clone().get_checkout(request).await?;
        Ok(answer.into_inner().checkout.unwrap())
    }

    /// Sagas in flight here.
    pub(crate) fn live(&self) -> usize {
        self.orchestrator.engine().live()
    }

    async fn get(&self, key: Key) -> Result<Checkout, Status> {
        let request = GetCheckoutRequest { key: Some(key) };
        let answer = self.checkout.clone().get_checkout(request).await?;
        Ok(answer.into_inner().checkout.unwrap())
    }

    /// A saga and what its participants have on record.
    pub(crate) async fn saga(&self, id: &str) -> GetSagaResponse {
        let request = GetSagaRequest { saga_id: id.to_owned() };
        self.admin.clone().get_saga(request).await.unwrap().into_inner()
    }

    /// What is on record of each step that applies to a saga, by name.
    pub(crate) async fn steps(&self, id: &str) -> BTreeMap<String, StepState> {
        let steps = self.saga(id).await.steps.into_iter();
        steps.map(|step| (step.name.clone(), step.state())).collect()
    }

    /// Ann does something to a saga for ticket 17.
    pub(crate) async fn operate(
        &self,
        verb: Verb,
        request_id: &str,
        saga_id: &str,
    ) -> Result<Operated, Status> {
        self.operate_for(verb, request_id, saga_id, "ticket 17").await
    }

    /// Ann wants a saga aborted, and does not wait for its end.
    pub(crate) async fn want_abort(&self, saga_id: &str) {
        let mut request = tonic::Request::new(AbortSagaRequest {
            request_id: testkit::request_id(),
            saga_id: saga_id.to_owned(),
            actor: "ann".to_owned(),
            reason: "ticket 17".to_owned(),
        });
        request.set_timeout(Duration::from_secs(1));
        let told = self.admin.clone().abort_saga(request).await.unwrap().into_inner();
        assert_eq!(told.saga.unwrap().state(), SagaState::Running);
    }

    /// Ann does something to a saga for this reason.
    pub(crate) async fn operate_for(
        &self,
        verb: Verb,
        request_id: &str,
        saga_id: &str,
        reason: &str,
    ) -> Result<Operated, Status> {
        let mut admin = self.admin.clone();
        let [request_id, saga_id, reason] = [request_id, saga_id, reason].map(str::to_owned);
        let actor = "ann".to_owned();
        let answer = match verb {
            Verb::Retry => {
                let request = RetrySagaRequest { request_id, saga_id, actor, reason };
                admin.retry_saga(patiently(request)).await?.map(|it| it.saga)
            }
            Verb::Abort => {
                let request = AbortSagaRequest { request_id, saga_id, actor, reason };
                admin.abort_saga(patiently(request)).await?.map(|it| it.saga)
            }
            Verb::Resolve => {
                let request = ResolveSagaRequest { request_id, saga_id, actor, reason };
                admin.resolve_saga(patiently(request)).await?.map(|it| it.saga)
            }
        };
        let replayed = is_replayed(answer.metadata());
        Ok(Operated { saga: answer.into_inner().unwrap(), replayed })
    }

    /// Ann pauses recovery on all replicas, or resumes it.
    pub(crate) async fn pause_recovery(&self, pause: bool) {
        let (request_id, actor) = (testkit::request_id(), "ann".to_owned());
        let reason = "ticket 17".to_owned();
        let mut admin = self.admin.clone();
        if pause {
            let request = PauseRecoveryRequest { request_id, actor, reason };
            admin.pause_recovery(request).await.unwrap();
        } else {
            let request = ResumeRecoveryRequest { request_id, actor, reason };
            admin.resume_recovery(request).await.unwrap();
        }
        let state = admin.get_recovery(GetRecoveryRequest {}).await.unwrap().into_inner();
        assert_eq!((state.paused, state.actor.as_str()), (pause, "ann"));
    }

    /// The sagas that wait for a person, all pages.
    pub(crate) async fn needing_attention(&self) -> Vec<Saga> {
        self.listed(SagaState::NeedsAttention).await
    }

    /// The sagas in a state, all pages.
    pub(crate) async fn listed(&self, state: SagaState) -> Vec<Saga> {
        let mut request = ListSagasRequest { page_size: 7, ..ListSagasRequest::default() };
        request.set_state(state);
        let mut all = Vec::new();
        loop {
            let page = self.admin.clone().list_sagas(request.clone()).await.unwrap().into_inner();
            all.extend(page.sagas);
            if page.next_page_token.is_empty() {
                return all;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Waits until the saga of a request is known, and tells its id.
    pub(crate) async fn started(&self, ask: &Ask) -> String {
        let checkout = || async { self.checkout_of(ask).await.ok() };
        until("the saga has started", checkout).await.checkout_id
    }

    /// Ends everything that the replica is doing, in the middle of it.
    pub(crate) fn kill(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shut_down();
    }
}

async fn ask_on(
    mut checkout: CheckoutServiceClient<Transport>,
    trace: String,
    ask: Ask,
    patience: Duration,
) -> Result<Told, Status> {
    match ask {
        Ask::Place(request) => {
            let answer = checkout.place_order(with_trace(request, &trace, patience)).await?;
            let replayed = is_replayed(answer.metadata());
            let answer = answer.into_inner();
            let state = answer.state();
            let PlaceOrderResponse { checkout_id, order, .. } = answer;
            Ok(Told { checkout_id, state, order, replayed })
        }
        Ask::Cancel(request) => {
            let answer = checkout.cancel_order(with_trace(request, &trace, patience)).await?;
            let replayed = is_replayed(answer.metadata());
            let answer = answer.into_inner();
            let state = answer.state();
            let CancelOrderResponse { checkout_id, order, .. } = answer;
            Ok(Told { checkout_id, state, order, replayed })
        }
    }
}

fn with_trace<T>(message: T, trace: &str, patience: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(patience);
    request.metadata_mut().insert(X_TRACE_ID, trace.parse().unwrap());
    request
}

fn patiently<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(PATIENCE);
    request
}
