//! What is forgotten stays over: whoever is late finds that nothing happens any more.

use crate::node::{Ask, Node};
use crate::scenarios::{Case, cases};
use crate::shop::{Shop, Stage, World, lanes, patient};
use crate::snapshot::{Snapshot, until};
use crate::wire::{Delivered, Fault};
use api::checkout::v1::CheckoutState;
use api::saga::v1::{SagaStepState, StepFound};
use api::{Reason, Refusal};
use db::{Chore, Conn, Db, Script};
use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use orchestrator::Housekeeper;
use participant::{RequestHash, RequestKey, SagaId, Trace, floor};
use saga::journal::{Journal, NewSaga, PlanId, Retention, Start, Started};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// Everything that ended is old.
const AT_ONCE: Duration = Duration::ZERO;
/// Longer than any batch holds a floor.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

async fn count(db: &Db, what: &'static str) -> i64 {
    let sql = format!("SELECT COUNT(*) AS count FROM {what}");
    let read = async move |conn: &mut Conn| -> db::Result<Count> {
        Ok(diesel::sql_query(sql).get_result(conn).await?)
    };
    db.read(read).await.unwrap().count
}

impl Shop {
    /// Waits until every saga has ended, and forgets them all.
    async fn forget_all(&self) {
        let journal = self.journal().await;
        let ended = || async { (count(&journal, "saga").await == 0).then_some(()) };
        until("all sagas have ended", ended).await;
        Housekeeper::new(Retention::new(journal.clone(), AT_ONCE), self.participants())
            .round()
            .await
            .unwrap();
        self.purge().await;
    }

    /// Has every participant delete what its floor allows.
    async fn purge(&self) {
        for db in self.schemas() {
            participant::Housekeeper::new(db.clone(), AT_ONCE).round().await.unwrap();
        }
    }

    fn schemas(&self) -> [&Db; 4] {
        [&self.product, &self.coupon, &self.wallet, &self.order]
    }

    async fn barrier_rows(&self) -> i64 {
        let mut rows = 0;
        for db in self.schemas() {
            rows += count(db, "saga_op").await;
        }
        rows
    }
}

fn saga_id(text: &str) -> SagaId {
    SagaId::from(text.parse::<Uuid>().unwrap())
}

/// The answer of every compensation and void, as far as they are alike.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct Undone {
    #[prost(enumeration = "StepFound", tag = "1")]
    found: i32,
}

fn found(answer: &Delivered) -> StepFound {
    answer.ok::<Undone>().unwrap().found()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_late_beyond_the_purge_is_refused_and_has_no_effect() {
    let stage = Stage::start(patient()).await;
    let shop = &stage.shop;
    let mut over: Vec<(Case, World, Snapshot)> = Vec::new();
    for case in cases(&stage.node) {
        let world = stage.world(&case).await;
        shop.wire.next(&world.trace, case.step(), &[Fault::DELAYED]);
        let told = stage.ask(&world).await.unwrap();
        assert_eq!(told.state, CheckoutState::Succeeded, "{case}");
        let after = shop.snapshot(&world).await;
        over.push((case, world, after));
    }
    shop.forget_all().await;
    assert_eq!(shop.barrier_rows().await, 0);
    for (case, world, after) in over {
        let late = shop.deliver_late(&world, case.step()).await;
        assert_eq!(late.len(), 1, "{case}");
        assert_eq!(late[0].reason(), Some(Reason::SagaPurged), "{case}");
        assert_eq!(shop.snapshot(&world).await, after, "{case}");
    }
    assert_eq!(shop.barrier_rows().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compensation_or_void_that_is_late_beyond_the_purge_finds_it_and_writes_nothing() {
    let stage = Stage::start(patient()).await;
    let shop = &stage.shop;
    let mut over = Vec::new();
    for case in cases(&stage.node) {
        let Some(undo) = case.undo().filter(|_| !case.is_past_register()) else { continue };
        let world = stage.world(&case).await;
        shop.doom(&world, &case);
        stage.ask(&world).await.expect_err("a doomed saga fails");
        let after = shop.snapshot(&world).await;
        over.push((case, undo, world, after));
    }
    shop.forget_all().await;
    for (case, undo, world, after) in over {
        let late = shop.wire.deliver(shop.wire.first(&world.trace, undo)).await;
        assert_eq!(found(&late), StepFound::Purged, "{case}: {undo}");
        assert_eq!(shop.snapshot(&world).await, after, "{case}: {undo}");
    }
    assert_eq!(shop.barrier_rows().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_saga_holds_the_floor_for_itself_and_all_after_it() {
    let stage = Stage::start(patient()).await;
    let (shop, node) = (&stage.shop, &stage.node);
    let journal = shop.journal().await;
    let case = cases(node).into_iter().find(Case::is_register).unwrap();

    let before = stage.world(&case).await;
    let before = saga_id(&stage.ask(&before).await.unwrap().checkout_id);
    let stuck = stage.world(&case).await;
    shop.wire.always(&stuck.trace, case.step(), Fault::REQUEST_LOST);
    node.ask_and_leave(&stuck.trace, stuck.ask.clone());
    let stuck_id = saga_id(&node.started(&stuck.ask).await);
    let after = stage.world(&case).await;
    let after = saga_id(&stage.ask(&after).await.unwrap().checkout_id);

    let retention = Retention::new(journal.clone(), AT_ONCE);
    let mut housekeeper = Housekeeper::new(retention.clone(), shop.participants());
    let only_one = || async { (count(&journal, "saga").await == 1).then_some(()) };
    until("all but one have ended", only_one).await;
    housekeeper.round().await.unwrap();
    shop.purge().await;
    for db in shop.schemas() {
        let floor = db.read(async |conn: &mut Conn| floor::read(conn).await).await.unwrap();
        assert!(before <= floor && floor < stuck_id, "{floor}");
    }
    assert!(shop.barrier_rows().await > 0, "the rows of what is not over stay");

    shop.wire.heal(&stuck.trace, case.step());
    let succeeded = || async {
        let checkout = node.checkout(&stuck_id.to_string()).await;
        (checkout.state() == CheckoutState::Succeeded).then_some(())
    };
    until("the saga has succeeded", succeeded).await;
    shop.forget_all().await;
    let floor = retention.raise_floor(PATIENCE).await.unwrap();
    assert!(after <= floor, "{floor}");
    assert_eq!(shop.barrier_rows().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_within_the_retention_stays() {
    let stage = Stage::start(patient()).await;
    let shop = &stage.shop;
    let case = &cases(&stage.node)[0];
    let world = stage.world(case).await;
    let told = stage.ask(&world).await.unwrap();
    let journal = shop.journal().await;
    let ended = || async { (count(&journal, "saga").await == 0).then_some(()) };
    until("all sagas have ended", ended).await;

    let rows = shop.barrier_rows().await;
    let week = Retention::new(journal.clone(), Duration::from_hours(7 * 24));
    Housekeeper::new(week, shop.participants()).round().await.unwrap();
    shop.purge().await;
    assert_eq!(shop.barrier_rows().await, rows);
    let again = stage.ask(&world).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.checkout_id, told.checkout_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_forgotten_with_its_saga_and_begins_another() {
    let stage = Stage::start(patient()).await;
    let shop = &stage.shop;
    let case = &cases(&stage.node)[0];
    let world = stage.world(case).await;
    let first = stage.ask(&world).await.unwrap();
    shop.forget_all().await;
    let journal = shop.journal().await;
    assert_eq!(count(&journal, "request").await, 0);
    assert_eq!(count(&journal, "saga_history").await, 0);
    let forgotten = stage.node.checkout_of(&world.ask).await.unwrap_err();
    assert_eq!(Refusal::from_status(&forgotten).unwrap().reason, Reason::CheckoutNotFound);

    let second = stage.ask(&world).await.unwrap();
    assert_eq!(second.state, CheckoutState::Succeeded);
    assert!(!second.replayed);
    assert_ne!(second.checkout_id, first.checkout_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_which_steps_are_purged() {
    let stage = Stage::start(patient()).await;
    let shop = &stage.shop;
    let case = cases(&stage.node).into_iter().find(Case::is_register).unwrap();
    let world = stage.world(&case).await;
    let told = stage.ask(&world).await.unwrap();
    let saga = saga_id(&told.checkout_id);
    for db in shop.schemas() {
        assert_eq!(floor::raise(db, saga, PATIENCE).await.unwrap(), saga);
    }
    shop.purge().await;
    let steps = stage.node.steps(&told.checkout_id).await;
    assert!(!steps.is_empty());
    assert!(steps.values().all(|state| *state == SagaStepState::Purged), "{steps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_floor_is_never_lowered_and_never_waits_for_a_batch() {
    let shop = Shop::start().await;
    let (low, high) = (SagaId::from(Uuid::now_v7()), SagaId::from(Uuid::now_v7()));
    let mut batch = shop.wallet.session().await.unwrap();
    let before = floor::hold(batch.conn()).await.unwrap();
    let skipped = floor::raise(&shop.wallet, high, AT_ONCE).await.unwrap();
    assert_eq!(skipped, before, "a batch holds it");
    batch.commit(Script::default()).await.unwrap();
    assert_eq!(floor::raise(&shop.wallet, high, PATIENCE).await.unwrap(), high);
    assert_eq!(floor::raise(&shop.wallet, low, PATIENCE).await.unwrap(), high);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_beside_a_floor_that_is_being_raised_waits_and_meets_the_new_one() {
    let stage = Stage::start(patient()).await;
    let shop = &stage.shop;
    let case = cases(&stage.node).into_iter().find(|case| case.step() == "DebitWallet").unwrap();
    let world = stage.world(&case).await;
    let told = stage.ask(&world).await.unwrap();
    let after = shop.snapshot(&world).await;
    // The same debit for a saga that nobody began.
    let (of, other) = (told.checkout_id.parse().unwrap(), Uuid::now_v7());
    let packet = shop.wire.first(&world.trace, "DebitWallet").readdressed(of, other);

    let mut raising = shop.wallet.session().await.unwrap();
    let locked = floor::try_lock(raising.conn()).await.unwrap();
    assert!(locked.is_some(), "no batch is under way");
    floor::write(raising.conn(), other.into()).await.unwrap();
    let wire = shop.wire.clone();
    let late = tokio::spawn(async move { wire.deliver(packet).await });
    let waiting = "information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'";
    let waits = || async { (count(&shop.wallet, waiting).await > 0).then_some(()) };
    until("the batch waits for the floor", waits).await;
    raising.commit(Script::default()).await.unwrap();

    assert_eq!(late.await.unwrap().reason(), Some(Reason::SagaPurged));
    assert_eq!(shop.snapshot(&world).await, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_begins_above_the_floor_whatever_id_it_came_with() {
    let (db, _) = testkit::database(migrations::Schema::Orchestrator).await;
    let tasks = TaskTracker::new();
    let journal = Journal::open(db.clone(), lanes(), &tasks);
    let old = SagaId::from(Uuid::now_v7());
    assert_eq!(floor::raise(&db, old, PATIENCE).await.unwrap(), old);

    let begun = journal.start(new_saga(old), Instant::now() + PATIENCE).await.unwrap();
    let Started::New(saga) = begun else { panic!("{begun:?}") };
    assert!(saga > old, "{saga} is not above {old}");
    let above = SagaId::from(Uuid::now_v7());
    let begun = journal.start(new_saga(above), Instant::now() + PATIENCE).await.unwrap();
    assert_eq!(begun, Started::New(above));
    assert_eq!(Retention::new(db, AT_ONCE).raise_floor(PATIENCE).await.unwrap(), old);
}

fn new_saga(saga: SagaId) -> NewSaga {
    let now = db::now_micros();
    let start = Start {
        saga,
        plan: PlanId { kind: 1, version: 1 },
        subject: 1,
        object: 1,
        weight: 0,
        request: Vec::new(),
        placed_at: now,
        deadline_at: now,
        trace: Trace::default(),
    };
    let request = RequestKey { request_id: saga.0, user_id: 1, method: 1 };
    NewSaga { start, owns_object: false, request, hash: RequestHash::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_go_on_beside_housekeepers_that_forget_all_that_has_ended() {
    let stage = Stage::start(patient()).await;
    let (shop, node) = (&stage.shop, &stage.node);
    let journal = shop.journal().await;
    let case = cases(node).into_iter().find(Case::is_register).unwrap();
    let mut worlds = Vec::new();
    for _ in 0..12 {
        worlds.push(stage.world(&case).await);
    }
    let housekeeping = async {
        loop {
            let retention = Retention::new(journal.clone(), AT_ONCE);
            let mut one = Housekeeper::new(retention.clone(), shop.participants());
            let mut other = Housekeeper::new(retention, shop.participants());
            let (one, other) = tokio::join!(one.round(), other.round());
            (one.unwrap(), other.unwrap());
            tokio::join!(shop.purge(), shop.purge());
        }
    };
    let shopping = async {
        for world in &worlds {
            let told = node.ask(&world.trace, world.ask.clone()).await.unwrap();
            assert_eq!(told.state, CheckoutState::Succeeded);
        }
    };
    tokio::select! {
        () = shopping => {}
        () = housekeeping => {}
    }
    let success = stage.success(&case).await;
    for world in &worlds {
        let Ask::Place(_) = world.ask else { continue };
        assert_eq!(shop.snapshot(world).await, success);
    }
    shop.forget_all().await;
    assert_eq!(shop.barrier_rows().await, 0);
}

/// A replica is all that is needed to look at what is on record.
#[allow(dead_code, reason = "documents what the tests above stand on")]
type Replica = Node;
