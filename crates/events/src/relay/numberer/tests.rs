//! Relays whose locks lock nothing, as on an engine that accepts a lock and does not take it.

use super::*;
use db::Db;
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use migrations::Schema;

const BATCH: usize = 100;

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    position: i64,
}

fn shard() -> Shard {
    Shard::of("order", 1)
}

async fn append(db: &Db, count: usize) {
    let event = crate::Event {
        event_type: "commerce.order.v1.OrderConfirmed".to_owned(),
        aggregate_kind: "order",
        aggregate_id: 1,
        version: 1,
        occurred_at: db::now_micros(),
        trace_id: String::new(),
        traceparent: String::new(),
        payload: Vec::new(),
    };
    let mut writes = Script::default();
    for _ in 0..count {
        crate::outbox::append(&mut writes, std::slice::from_ref(&event)).unwrap();
    }
    db.tx(async move |conn: &mut Conn| writes.run(conn).await).await.unwrap();
}

/// Where the shard stands, read without a lock.
async fn owned(session: &mut Session) -> BTreeMap<Shard, Owned> {
    let ledger = numbering::survey(session.conn()).await.unwrap()[shard()];
    let (last, published) = (ledger.last, ledger.published);
    session.rollback().await.unwrap();
    BTreeMap::from([(shard(), Owned { was: last, last, published })])
}

/// Numbers what waits, from where the shard was seen to stand.
async fn number(session: &mut Session, seen: &BTreeMap<Shard, Owned>) -> db::Result<usize> {
    let (mut owned, floors) = (seen.clone(), Positions::default());
    let taken = take(session.conn(), &mut owned, &floors, &[shard()], BATCH).await;
    match taken {
        Ok(rows) => {
            session.commit(Script::default()).await?;
            Ok(rows.values().map(Vec::len).sum())
        }
        Err(error) => {
            session.rollback().await?;
            Err(error)
        }
    }
}

async fn positions(db: &Db) -> Vec<i64> {
    let read = async |conn: &mut Conn| -> db::Result<Vec<Number>> {
        let sql = "SELECT COALESCE(position, 0) AS position FROM outbox ORDER BY position";
        Ok(sql_query(sql).load(conn).await?)
    };
    db.read(read).await.unwrap().into_iter().map(|row| row.position).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_whose_locks_lock_nothing_give_no_number_twice_and_leave_out_no_row() {
    let db = testkit::database(Schema::Order).await.0;
    let (mut one, mut other) = (db.session().await.unwrap(), db.session().await.unwrap());
    // Both see the shard at 0, and one is faster: the rows that the other finds are not those that it numbered.
    append(&db, 3).await;
    let (seen, stale) = (owned(&mut one).await, owned(&mut other).await);
    assert_eq!(number(&mut one, &seen).await.unwrap(), 3);
    append(&db, 2).await;
    let failed = number(&mut other, &stale).await.unwrap_err();
    assert!(failed.is_conflict(), "{failed}");
    assert_eq!(positions(&db).await, [0, 0, 1, 2, 3], "what failed has changed nothing");
    let seen = owned(&mut other).await;
    assert_eq!(number(&mut other, &seen).await.unwrap(), 2);
    assert_eq!(positions(&db).await, [1, 2, 3, 4, 5]);

    // Both number the same rows at once.
    append(&db, 4).await;
    let (seen, same) = (owned(&mut one).await, owned(&mut other).await);
    let (first, second) = tokio::join!(number(&mut one, &seen), number(&mut other, &same));
    assert_eq!(first.is_ok(), second.is_err(), "{first:?} {second:?}");
    assert_eq!(positions(&db).await, (1..=9).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_somebody_holds_is_passed_over_and_the_others_are_not() {
    let db = testkit::database(Schema::Order).await.0;
    let (mut holder, mut relay) = (db.session().await.unwrap(), db.session().await.unwrap());
    let held = numbering::lock(holder.conn(), &[shard()]).await.unwrap();
    assert_eq!(held.len(), 1);
    let all: Vec<Shard> = Shard::all().collect();
    let began = Instant::now();
    let owned = numbering::lock(relay.conn(), &all).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "nobody waits for a lock");
    assert_eq!(owned.len(), all.len() - 1);
    assert!(!owned.contains_key(&shard()));
    // They are held although one was not had.
    holder.rollback().await.unwrap();
    let others: Vec<Shard> = owned.keys().copied().collect();
    assert!(numbering::lock(holder.conn(), &others).await.unwrap().is_empty());
    assert_eq!(numbering::lock(holder.conn(), &[shard()]).await.unwrap().len(), 1);
}

#[test]
fn numbers_that_go_on_far_above_are_above_the_last_whatever_the_clock_says() {
    let by_clock = far_above(10);
    assert!(by_clock > 1 << 50 && by_clock < MOST, "{by_clock}");
    assert_eq!(far_above(MOST), MOST + PER_SECOND);
}
