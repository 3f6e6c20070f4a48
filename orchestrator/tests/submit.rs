//! Sagas that are submitted as data, over the services of the travel example.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../crates/saga/examples/travel/payment.rs"]
mod payment;
#[path = "../../crates/saga/examples/travel/seat.rs"]
mod seat;

use api::checkout::v1::GetCheckoutRequest;
use api::checkout::v1::checkout_service_client::CheckoutServiceClient;
use api::checkout::v1::get_checkout_request::Key;
use api::outcome::IDEMPOTENCY_REPLAYED;
use api::saga::v1::saga_admin_service_client::SagaAdminServiceClient;
use api::saga::v1::saga_service_client::SagaServiceClient;
use api::saga::v1::{
    GetSagaRequest, GetSubmittedSagaRequest, RetrySagaRequest, SagaState, StepState,
    SubmitSagaRequest, SubmitSagaResponse, SubmittedSaga, SubmittedSagaState, SubmittedStage,
    SubmittedStep,
};
use api::{Reason, Refusal};
use db::{Conn, Db, Migration};
use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use migrations::Schema;
use orchestrator::Orchestrator;
use participant::{
    ActionInfo, Actions, CallKind, Lanes, Options, SagaId, ServiceSteps, StepAnswer, StepCall,
    StepRow, Steps,
};
use payment::{PAY, Payment};
use platform::{Chassis, Limits, Services, Transport, transport};
use prost::Message;
use seat::{RESERVE, Seat, TICKET};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use testkit::request_id;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};

const SEAT: &str = "KE1/12A";

/// The travel services, and an orchestrator that lets their actions be submitted.
struct Agency {
    seats: Db,
    payments: Db,
    journal: Db,
    replica: Replica,
}

/// The calls of one orchestrator.
struct Replica {
    sagas: SagaServiceClient<Transport>,
    admin: SagaAdminServiceClient<Transport>,
    checkouts: CheckoutServiceClient<Transport>,
}

impl Replica {
    fn start(journal: Db, participants: Vec<Arc<dyn Steps>>, submittable: &[&str]) -> Self {
        let tasks = TaskTracker::new();
        let options = saga::runtime::Options::default();
        let lane = lane::Options::default();
        let orchestrator = Orchestrator::start(journal, participants, options, lane, &tasks);
        let submittable: BTreeSet<String> = submittable.iter().map(|&it| it.to_owned()).collect();
        let orchestrator = orchestrator.with_submittable(submittable);
        let services = Services::default()
            .with(orchestrator.submit())
            .with(orchestrator.admin())
            .with(orchestrator.checkout());
        let way = transport::local(services, &Chassis::new(Limits::default(), tasks));
        Self {
            sagas: SagaServiceClient::new(way.clone()),
            admin: SagaAdminServiceClient::new(way.clone()),
            checkouts: CheckoutServiceClient::new(way),
        }
    }
}

/// A participant that never answers an action.
struct Silent {
    steps: Arc<dyn Steps>,
    action: &'static str,
}

#[tonic::async_trait]
impl Steps for Silent {
    fn name(&self) -> &str {
        self.steps.name()
    }

    async fn describe(&self, deadline: Instant) -> Result<Vec<ActionInfo>, Status> {
        self.steps.describe(deadline).await
    }

    async fn run(&self, call: StepCall) -> Result<StepAnswer, Status> {
        match &call.kind {
            CallKind::Act { method, .. } if method == self.action => std::future::pending().await,
            _ => self.steps.run(call).await,
        }
    }

    async fn recorded(&self, saga: SagaId, deadline: Instant) -> Result<Vec<StepRow>, Status> {
        self.steps.recorded(saga, deadline).await
    }

    async fn raise_watermark(&self, to: SagaId, deadline: Instant) -> Result<SagaId, Status> {
        self.steps.raise_watermark(to, deadline).await
    }
}

async fn service<D: Actions>(
    contract: saga_api::Participant,
    migration: Migration,
    desk: D,
    tasks: &TaskTracker,
) -> (Db, Arc<dyn Steps>) {
    let url = testkit::fresh_database(contract.name).await;
    let migrations = [db::MIGRATIONS, participant::MIGRATIONS, &[migration]].concat();
    db::migrate(&url, &migrations).await.unwrap();
    let db = Db::open(db::Options::new(url)).await.unwrap();
    let lanes = Arc::new(Lanes::start(contract.name, &db, desk, Options::default(), tasks));
    (db.clone(), Arc::new(ServiceSteps::new(contract, db, lanes)))
}

impl Agency {
    async fn open(submittable: &[&str]) -> Self {
        Self::with(submittable, |seats| seats).await
    }

    /// The same, with the steps of the seats behind something.
    async fn with(
        submittable: &[&str],
        seats_behind: impl FnOnce(Arc<dyn Steps>) -> Arc<dyn Steps>,
    ) -> Self {
        let tasks = TaskTracker::new();
        let (seats, seat_steps) =
            service(seat::CONTRACT, seat::MIGRATION, seat::Seats, &tasks).await;
        let (payments, payment_steps) =
            service(payment::CONTRACT, payment::MIGRATION, payment::Payments, &tasks).await;
        run(&seats, "INSERT INTO seat (name, state) VALUES ('KE1/12A', 0)").await;
        run(&payments, "INSERT INTO account (name, balance) VALUES ('kim', 50000)").await;
        let (journal, _) = testkit::database(Schema::Orchestrator).await;
        let participants = vec![seats_behind(seat_steps), payment_steps];
        let replica = Replica::start(journal.clone(), participants, submittable);
        Self { seats, payments, journal, replica }
    }

    async fn submit(
        &self,
        request: &SubmitSagaRequest,
    ) -> Result<Response<SubmitSagaResponse>, Status> {
        self.replica.sagas.clone().submit_saga(request.clone()).await
    }

    async fn submitted(&self, request: &SubmitSagaRequest) -> SubmittedSaga {
        self.submit(request).await.unwrap().into_inner().saga.unwrap()
    }

    /// The seat's state, and what the account has.
    async fn standing(&self) -> (i64, i64) {
        let seat = number(&self.seats, "SELECT state AS number FROM seat").await;
        (seat, number(&self.payments, "SELECT balance AS number FROM account").await)
    }
}

async fn run(db: &Db, sql: &'static str) {
    let done = db.read(async move |conn: &mut Conn| -> db::Result<()> {
        Ok(conn.batch_execute(sql).await?)
    });
    done.await.unwrap();
}

async fn number(db: &Db, sql: &'static str) -> i64 {
    #[derive(QueryableByName)]
    struct Number {
        #[diesel(sql_type = BigInt)]
        number: i64,
    }
    let read = db.read(async move |conn: &mut Conn| -> db::Result<Number> {
        Ok(diesel::sql_query(sql).get_result(conn).await?)
    });
    read.await.unwrap().number
}

fn step(participant: &str, method: &str, payload: &impl Message) -> SubmittedStep {
    let (participant, method) = (participant.to_owned(), method.to_owned());
    SubmittedStep { participant, method, payload: payload.encode_to_vec() }
}

fn stage(steps: impl IntoIterator<Item = SubmittedStep>) -> SubmittedStage {
    SubmittedStage { steps: steps.into_iter().collect() }
}

/// A seat, its payment as the pivot, and the ticket.
fn trip(amount: i64) -> SubmitSagaRequest {
    let seat = Seat { seat: SEAT.to_owned() };
    let payment = Payment { account: "kim".to_owned(), amount };
    SubmitSagaRequest {
        request_id: request_id(),
        stages: vec![
            stage([step("seat", RESERVE, &seat)]),
            stage([step("payment", PAY, &payment)]),
            stage([step("seat", TICKET, &seat)]),
        ],
        pivot_stage: Some(1),
    }
}

const ALL: [&str; 3] = [RESERVE, PAY, TICKET];

#[tokio::test(flavor = "multi_thread")]
async fn a_submitted_saga_runs_by_the_same_rules_and_once_for_a_request_id() {
    let agency = Agency::open(&ALL).await;
    let request = trip(40_000);
    let saga = agency.submitted(&request).await;
    assert_eq!(saga.state(), SubmittedSagaState::Succeeded);
    let payment = Payment { account: "kim".to_owned(), amount: 40_000 }.encode_to_vec();
    let ticket = Seat { seat: SEAT.to_owned() }.encode_to_vec();
    assert_eq!(saga.replies, [(2, payment), (3, ticket)].into());
    assert_eq!(agency.standing().await, (2, 10_000));

    let again = agency.submit(&request).await.unwrap();
    assert_eq!(again.metadata().get(IDEMPOTENCY_REPLAYED).unwrap(), "true");
    assert_eq!(again.into_inner().saga.unwrap(), saga);
    let other = SubmitSagaRequest { request_id: request.request_id, ..trip(1) };
    let reused = agency.submit(&other).await.unwrap_err();
    assert_eq!(Refusal::from_status(&reused).unwrap().reason, Reason::RequestIdReused);
    assert_eq!(agency.standing().await, (2, 10_000));

    let named = GetSubmittedSagaRequest { saga_id: saga.saga_id.clone() };
    let told = agency.replica.sagas.clone().get_submitted_saga(named).await.unwrap().into_inner();
    assert_eq!(told.saga.unwrap(), saga);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submitted_saga_that_is_rejected_is_undone_and_says_by_which_step_and_why() {
    let agency = Agency::open(&ALL).await;
    let saga = agency.submitted(&trip(60_000)).await;
    assert_eq!((saga.state(), saga.failed_step), (SubmittedSagaState::Failed, 2));
    let rejection = saga.rejection.unwrap();
    assert_eq!(rejection.reason, "NOT_ENOUGH_MONEY");
    assert_eq!(agency.standing().await, (0, 50_000));

    let shown = async || {
        let named = GetSagaRequest { saga_id: saga.saga_id.clone() };
        agency.replica.admin.clone().get_saga(named).await.unwrap().into_inner()
    };
    // END is written a moment after it was told.
    testkit::until(async || shown().await.saga.unwrap().ended_at.is_some()).await;
    let shown = shown().await;
    let (shown, steps) = (shown.saga.unwrap(), shown.steps);
    assert_eq!((shown.kind.as_str(), shown.state()), ("submitted", SagaState::Failed));
    assert_eq!(shown.failure.unwrap().reason, "NOT_ENOUGH_MONEY");
    let states: Vec<_> = steps.iter().map(|step| (step.name.as_str(), step.state())).collect();
    let expected = [
        ("1:ReserveSeat", StepState::Compensated),
        ("2:Pay", StepState::Rejected),
        ("3:IssueTicket", StepState::Nothing),
    ];
    assert_eq!(states, expected);

    let asked = GetCheckoutRequest { key: Some(Key::CheckoutId(saga.saga_id)) };
    let none = agency.replica.checkouts.clone().get_checkout(asked).await.unwrap_err();
    assert_eq!(Refusal::from_status(&none).unwrap().reason, Reason::CheckoutNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_does_not_know_the_participants_says_nothing_of_a_saga() {
    let silent = |steps| -> Arc<dyn Steps> { Arc::new(Silent { steps, action: TICKET }) };
    let agency = Agency::with(&ALL, silent).await;
    let mut call = Request::new(trip(40_000));
    call.set_timeout(Duration::from_secs(5));
    let told = agency.replica.sagas.clone().submit_saga(call).await.unwrap().into_inner();
    let saga = told.saga.unwrap();
    assert_eq!(saga.state(), SubmittedSagaState::Running);

    let Replica { mut sagas, mut admin, .. } = Replica::start(agency.journal.clone(), vec![], &[]);
    let reason = |status: Status| Refusal::from_status(&status).unwrap().reason;
    let named = GetSubmittedSagaRequest { saga_id: saga.saga_id.clone() };
    let unknown = sagas.get_submitted_saga(named).await.unwrap_err();
    assert_eq!(reason(unknown), Reason::Unavailable);
    let retry = RetrySagaRequest {
        request_id: request_id(),
        saga_id: saga.saga_id,
        actor: "ann".to_owned(),
        reason: "ticket 17".to_owned(),
    };
    assert_eq!(reason(admin.retry_saga(retry).await.unwrap_err()), Reason::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_named_pivot_it_is_the_last_stage() {
    let agency = Agency::open(&ALL).await;
    let mut request = trip(40_000);
    request.stages.pop();
    request.pivot_stage = None;
    assert_eq!(agency.submitted(&request).await.state(), SubmittedSagaState::Succeeded);
    assert_eq!(agency.standing().await, (1, 10_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_faults_are_told_at_once_and_nothing_runs() {
    let agency = Agency::open(&[RESERVE, PAY]).await;
    let nothing = Seat { seat: SEAT.to_owned() };
    let request = SubmitSagaRequest {
        request_id: request_id(),
        stages: vec![
            stage([
                step("payment", PAY, &nothing),
                step("hotel", "travel.v1.Hotels/Book", &nothing),
                step("seat", "travel.v1.SeatParticipantService/Fly", &nothing),
            ]),
            stage([step("seat", RESERVE, &nothing), step("payment", PAY, &nothing)]),
            stage([step("seat", TICKET, &nothing)]),
        ],
        pivot_stage: Some(1),
    };
    let refused = agency.submit(&request).await.unwrap_err();
    let refused = Refusal::from_status(&refused).unwrap();
    assert_eq!(refused.reason, Reason::InvalidField);
    let faults: Vec<_> = refused
        .violations
        .iter()
        .map(|fault| (fault.field.as_str(), fault.description.as_str()))
        .collect();
    let expected = [
        ("stages[1]", "must be one step: it is the pivot's"),
        ("stages[0].steps[0].method", "must be compensatable: it is a pivot"),
        ("stages[0].steps[1].participant", "must be a participant that is known here"),
        ("stages[0].steps[2].method", "must be an action of seat"),
        ("stages[1].steps[0].method", "must be a pivot: it is compensatable"),
        ("stages[2].steps[0].method", "must be on the list of what may be submitted"),
    ];
    assert_eq!(faults, expected);
    assert_eq!(agency.standing().await, (0, 50_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_may_be_submitted_unless_it_is_on_the_list() {
    let agency = Agency::open(&[]).await;
    let refused = agency.submit(&trip(1)).await.unwrap_err();
    let refused = Refusal::from_status(&refused).unwrap();
    assert_eq!((refused.reason, refused.violations.len()), (Reason::InvalidField, 3));
    assert_eq!(agency.standing().await, (0, 50_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_request_is_refused_by_the_name_of_its_field() {
    let agency = Agency::open(&ALL).await;
    let good = || trip(40_000);
    let mut bad: Vec<(&str, SubmitSagaRequest)> = vec![
        ("request_id", SubmitSagaRequest { request_id: "one".to_owned(), ..good() }),
        ("stages", SubmitSagaRequest { stages: Vec::new(), ..good() }),
        ("pivot_stage", SubmitSagaRequest { pivot_stage: Some(64), ..good() }),
        ("pivot_stage", SubmitSagaRequest { pivot_stage: Some(3), ..good() }),
    ];
    let step = |change: fn(&mut SubmittedStep)| {
        let mut request = good();
        request.stages.first_mut().unwrap().steps.iter_mut().for_each(change);
        request
    };
    bad.push(("stages[0].steps[0].participant", step(|step| step.participant.clear())));
    bad.push(("stages[0].steps[0].method", step(|step| step.method.clear())));
    bad.push(("stages[0].steps[0].payload", step(|step| step.payload = vec![0; 16_385])));
    let mut empty = good();
    empty.stages.first_mut().unwrap().steps.clear();
    bad.push(("stages[0].steps", empty));
    for (field, request) in bad {
        let refused = agency.submit(&request).await.unwrap_err();
        let refused = Refusal::from_status(&refused).unwrap();
        assert_eq!(refused.metadata.get("field").map(String::as_str), Some(field), "{refused}");
    }
    assert_eq!(agency.standing().await, (0, 50_000));
}
