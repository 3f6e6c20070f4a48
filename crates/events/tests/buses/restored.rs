//! A database that was put back to an earlier state, or may have been: no number is given twice, and every new event
//! arrives once.

use crate::bench::{Bench, OnRedis, on_every_bus};
use crate::consumer::{Notes, consume};
use crate::rows::Rows;
use crate::support::{append, event, everything, published, relay, schema, until};
use db::{Conn, Db};
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use events::{Bell, Bus, Shard};
use std::sync::Arc;

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// Puts the outbox back to where each shard had given so many numbers.
async fn put_back(db: &Db, to: i64) {
    for sql in [
        format!("DELETE FROM outbox WHERE position IS NULL OR position > {to}"),
        format!(
            "UPDATE outbox_shard SET last_position = LEAST(last_position, {to}), \
            published_position = LEAST(published_position, {to})"
        ),
    ] {
        let run = async move |conn: &mut Conn| -> db::Result<usize> {
            Ok(sql_query(sql.clone()).execute(conn).await?)
        };
        db.tx(run).await.unwrap();
    }
}

async fn number(db: &Db, sql: &'static str) -> i64 {
    let read = async move |conn: &mut Conn| -> db::Result<Number> {
        Ok(sql_query(sql).get_result(conn).await?)
    };
    db.read(read).await.unwrap().number
}

async fn highest(db: &Db) -> i64 {
    number(db, "SELECT MAX(last_position) AS number FROM outbox_shard").await
}

/// The versions of the aggregate that the bus tells of, in their order.
async fn heard(bus: &dyn Bus) -> Vec<i64> {
    let mut heard = Vec::new();
    for (_, messages) in everything(bus).await {
        for message in messages {
            let events = events::message::unpack(&message.envelope).unwrap();
            let events = events.iter().filter(|event| event.aggregate_kind == "order");
            heard.extend(events.map(|event| event.version));
        }
    }
    heard
}

/// Versions of one aggregate.
fn versions(range: std::ops::RangeInclusive<i64>) -> Vec<events::Event> {
    range.map(|version| event(1, version)).collect()
}

async fn after_a_restore_every_new_event_has_its_effect_once<B: Bench>() {
    let Some(bench) = B::start(&[Rows::NAME]).await else { return };
    let (db, effects, bus) = (schema().await, schema().await, bench.bus());
    // The effects are in another database, which is not put back.
    let rows = Rows::open(effects).await;
    {
        let _relay = relay(&db, bus.clone(), &Bell::default());
        let _rows = rows.consume(bus.clone());
        append(&db, versions(1..=20)).await;
        until(async || rows.effects().await.get(&1).is_some_and(|all| all.len() == 20)).await;
    }
    put_back(&db, 12).await;
    append(&db, versions(101..=105)).await;
    let _relay = relay(&db, bus.clone(), &Bell::default());
    let _rows = rows.consume(bus.clone());
    append(&db, versions(106..=112)).await;
    let expected: Vec<i64> = (1..=20).chain(101..=112).collect();
    until(async || rows.effects().await.get(&1).is_some_and(|all| all.len() >= 32)).await;
    assert_eq!(rows.effects().await, [(1, expected)].into());
    // What was lost is not on the bus any more either, for those who come later.
    let kept: Vec<i64> = (1..=12).chain(101..=112).collect();
    until(async || heard(&*bus).await == kept).await;
}

async fn a_consumer_that_was_ahead_of_a_database_and_a_bus_that_were_both_put_back_misses_nothing<
    B: Bench,
>() {
    let Some(bench) = B::start(&["notes"]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    let (diary, shard) = (Arc::new(Notes::default()), Shard::of("order", 1));
    {
        let _relay = relay(&db, bus.clone(), &Bell::default());
        append(&db, versions(1..=5)).await;
        published(&db).await;
        bench.lose_everything().await;
    }
    // It has had 15 more, of which neither knows.
    diary.0.lock().unwrap().positions[shard] = 20;
    let consumer = consume(&bus, &diary);
    let _relay = relay(&db, bus.clone(), &Bell::default());
    append(&db, versions(101..=104)).await;
    until(async || {
        let noted = diary.0.lock().unwrap();
        (101..=104).all(|version| noted.versions.contains(&version))
    })
    .await;
    drop(consumer);
    let noted = diary.0.lock().unwrap();
    let new: Vec<i64> = noted.versions.iter().copied().filter(|version| *version > 100).collect();
    assert_eq!(new, [101, 102, 103, 104]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_numbered_while_the_bus_is_away_and_published_when_it_is_back() {
    let Some(bench) = OnRedis::start(&[]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    append(&db, versions(1..=3)).await;
    let _relay = relay(&db, bus.clone(), &Bell::default());
    published(&db).await;
    bench.redis().kill().await.unwrap();
    append(&db, versions(4..=7)).await;
    until(async || highest(&db).await == 7).await;
    bench.redis().restart().await.unwrap();
    published(&db).await;
    let expected: Vec<i64> = (1..=7).collect();
    until(async || heard(&*bus).await == expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_starts_without_its_bus_gives_no_number_that_the_bus_may_know() {
    let Some(bench) = OnRedis::start(&[]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    append(&db, versions(1..=20)).await;
    {
        let _relay = relay(&db, bus.clone(), &Bell::default());
        published(&db).await;
    }
    bench.redis().kill().await.unwrap();
    put_back(&db, 12).await;
    append(&db, versions(101..=112)).await;
    let _relay = relay(&db, bus.clone(), &Bell::default());
    let unnumbered = "SELECT COUNT(*) AS number FROM outbox WHERE position IS NULL";
    until(async || number(&db, unnumbered).await == 0).await;
    let reused = "SELECT COUNT(*) AS number FROM outbox WHERE position > 12 AND position <= 20";
    assert_eq!(number(&db, reused).await, 0);
    bench.redis().restart().await.unwrap();
    let expected: Vec<i64> = (1..=20).chain(101..=112).collect();
    until(async || heard(&*bus).await == expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_shop_that_starts_without_its_bus_counts_from_one() {
    let Some(bench) = OnRedis::start(&[]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    bench.redis().kill().await.unwrap();
    let _relay = relay(&db, bus.clone(), &Bell::default());
    append(&db, versions(1..=3)).await;
    until(async || highest(&db).await == 3).await;
    bench.redis().restart().await.unwrap();
    published(&db).await;
    assert_eq!(everything(&*bus).await[0].1.len(), 3);
}

on_every_bus! {
    after_a_restore_every_new_event_has_its_effect_once
    a_consumer_that_was_ahead_of_a_database_and_a_bus_that_were_both_put_back_misses_nothing
}
