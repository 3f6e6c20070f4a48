//! The travel example on real databases: what its saga promises, also when its engine is killed at any step.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../examples/travel/agency.rs"]
mod agency;
#[path = "../examples/travel/booking.rs"]
mod booking;
#[path = "../examples/travel/payment.rs"]
mod payment;
#[path = "../examples/travel/seat.rs"]
mod seat;

use async_trait::async_trait;
use booking::Booking;
use db::{Conn, Db};
use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use participant::{ActionInfo, SagaId, StepAnswer, StepCall, StepNo, StepRow, Steps};
use payment::Payment;
use saga::journal::EndedAs;
use saga::runtime::{Engine, NoStanding, Options, Standing};
use seat::Seat;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tonic::Status;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_mins(1);

/// The counter of the replica that began last, and how many sagas it has.
const BEATS: &str = "SELECT beat AS number FROM heartbeat ORDER BY started_at DESC LIMIT 1";
const TAKEN: &str = "SELECT COUNT(*) AS number FROM saga \
    WHERE owner = (SELECT owner FROM heartbeat ORDER BY started_at DESC LIMIT 1)";

/// The databases and services of a travel agency.
struct Agency {
    seats: (Db, Arc<dyn Steps>),
    payments: (Db, Arc<dyn Steps>),
    journal: String,
}

impl Agency {
    async fn open() -> Self {
        let tasks = TaskTracker::new();
        let url = testkit::fresh_database("seat").await;
        let seats = agency::seats(&url, &tasks).await.unwrap();
        let url = testkit::fresh_database("payment").await;
        let payments = agency::payments(&url, &tasks).await.unwrap();
        run(&seats.0, "INSERT INTO seat (name, state) VALUES ('KE1/12A', 0)").await;
        run(&payments.0, "INSERT INTO account (name, balance) VALUES ('kim', 50000)").await;
        Self { seats, payments, journal: testkit::fresh_database("journal").await }
    }

    fn participants(&self) -> Vec<Arc<dyn Steps>> {
        vec![Arc::clone(&self.seats.1), Arc::clone(&self.payments.1)]
    }

    async fn engine(&self, participants: Vec<Arc<dyn Steps>>) -> Engine {
        let options = Options { heartbeat: Duration::from_millis(50), ..Options::default() };
        let tasks = TaskTracker::new();
        agency::engine(&self.journal, participants, options, &tasks).await.unwrap()
    }

    /// The seat's state, and what the account has.
    async fn standing(&self) -> (i64, i64) {
        let seat = number(&self.seats.0, "SELECT state AS number FROM seat").await;
        (seat, number(&self.payments.0, "SELECT balance AS number FROM account").await)
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

fn booking(amount: i64) -> Booking {
    Booking {
        seat: Some(Seat { seat: "KE1/12A".to_owned() }),
        payment: Some(Payment { account: "kim".to_owned(), amount }),
    }
}

fn id() -> [u8; 16] {
    Uuid::new_v4().into_bytes()
}

/// A participant whose answer to one step is never heard: who asks is about to be killed.
struct Silent {
    steps: Arc<dyn Steps>,
    step: StepNo,
    done: Arc<Notify>,
}

#[async_trait]
impl Steps for Silent {
    fn name(&self) -> &str {
        self.steps.name()
    }

    async fn describe(&self, deadline: Instant) -> Result<Vec<ActionInfo>, Status> {
        self.steps.describe(deadline).await
    }

    async fn run(&self, call: StepCall) -> Result<StepAnswer, Status> {
        let step = call.step;
        let answer = self.steps.run(call).await;
        if step == self.step {
            self.done.notify_one();
            std::future::pending::<()>().await;
        }
        answer
    }

    async fn recorded(&self, saga: SagaId, deadline: Instant) -> Result<Vec<StepRow>, Status> {
        self.steps.recorded(saga, deadline).await
    }

    async fn raise_watermark(&self, to: SagaId, deadline: Instant) -> Result<SagaId, Status> {
        self.steps.raise_watermark(to, deadline).await
    }
}

/// A runtime of its own dies with all that it is doing, as a process does.
fn process() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trip_is_a_seat_and_its_payment() {
    let agency = Agency::open().await;
    let engine = agency.engine(agency.participants()).await;
    let answer = agency::book(&engine, id(), &booking(40_000), PATIENCE).await.unwrap();
    let succeeded = Standing::Ended { outcome: EndedAs::Succeeded, result: (*b"booked").into() };
    assert_eq!(answer.standing, succeeded);
    assert_eq!(agency.standing().await, (2, 10_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trip_that_cannot_be_paid_leaves_the_seat_free() {
    let agency = Agency::open().await;
    let engine = agency.engine(agency.participants()).await;
    let answer = agency::book(&engine, id(), &booking(60_000), PATIENCE).await.unwrap();
    let Standing::Ended { outcome, result } = answer.standing else { panic!("under way") };
    assert_eq!((outcome, &*result), (EndedAs::Failed, &b"failed at Pay"[..]));
    assert_eq!(agency.standing().await, (0, 50_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trip_whose_engine_was_killed_at_any_step_is_finished_by_another() {
    for step in [1, 2, 3] {
        let agency = Agency::open().await;
        let (done, request_id) = (Arc::new(Notify::new()), id());
        let silent = |steps: Arc<dyn Steps>| -> Arc<dyn Steps> {
            Arc::new(Silent { steps, step: StepNo(step), done: Arc::clone(&done) })
        };
        let participants = agency.participants().into_iter().map(silent).collect();
        let doomed = process();
        let (url, options) = (agency.journal.clone(), Options::default());
        doomed.spawn(async move {
            let engine = agency::engine(&url, participants, options, &TaskTracker::new()).await;
            agency::book(&engine.unwrap(), request_id, &booking(40_000), PATIENCE).await
        });
        done.notified().await;
        doomed.shutdown_background();

        let engine = agency.engine(agency.participants()).await;
        let answer = agency::book(&engine, request_id, &booking(40_000), PATIENCE).await.unwrap();
        assert!(answer.joined, "step {step}");
        let Standing::Ended { outcome, .. } = answer.standing else { panic!("under way") };
        assert_eq!((outcome, agency.standing().await), (EndedAs::Succeeded, (2, 10_000)), "{step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trip_is_left_to_an_engine_that_knows_all_its_services() {
    let agency = Agency::open().await;
    let (done, request_id) = (Arc::new(Notify::new()), id());
    let silent = |steps: Arc<dyn Steps>| -> Arc<dyn Steps> {
        Arc::new(Silent { steps, step: StepNo(1), done: Arc::clone(&done) })
    };
    let participants = agency.participants().into_iter().map(silent).collect();
    let (doomed, url) = (process(), agency.journal.clone());
    doomed.spawn(async move {
        let options = Options::default();
        let engine = agency::engine(&url, participants, options, &TaskTracker::new()).await;
        agency::book(&engine.unwrap(), request_id, &booking(40_000), PATIENCE).await
    });
    done.notified().await;
    doomed.shutdown_background();

    let lacking = agency.engine(vec![Arc::clone(&agency.seats.1)]).await;
    let journal = Db::open(db::Options::new(agency.journal.clone())).await.unwrap();
    // By then it has taken the other engine for dead, which takes 5 s of its beats, and looked for sagas ever since.
    while number(&journal, BEATS).await < 140 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(number(&journal, TAKEN).await, 0);
    let short = Duration::from_secs(1);
    let told = agency::book(&lacking, request_id, &booking(40_000), short).await;
    assert_eq!(told, Err(NoStanding::Unavailable));

    let engine = agency.engine(agency.participants()).await;
    let answer = agency::book(&engine, request_id, &booking(40_000), PATIENCE).await.unwrap();
    let Standing::Ended { outcome, .. } = answer.standing else { panic!("under way") };
    assert_eq!((outcome, agency.standing().await), (EndedAs::Succeeded, (2, 10_000)));
}
