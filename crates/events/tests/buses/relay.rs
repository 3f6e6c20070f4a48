//! The relay against real servers: nothing lost, nothing doubled, order kept.

use crate::bench::{Bench, OnRedis, on_every_bus};
use crate::support::{
    acknowledge, append, append_together, bus, client, event, everything, published, relay, schema,
    until,
};
use api::events::v1::EventEnvelope;
use db::{Conn, Db, Script};
use diesel_async::RunQueryDsl;
use events::message::{BATCH, type_of};
use events::{Bell, Bus, Purge, Shard, bus::Append, bus::Message};
use lock::{Locks, Turn};
use prost::Message as _;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn decode(message: &Message) -> EventEnvelope {
    EventEnvelope::decode(message.envelope.as_slice()).unwrap()
}

/// Checks that each shard is numbered 1, 2, 3, … and returns the versions of each aggregate as they come.
async fn versions(bus: &dyn Bus) -> BTreeMap<i64, Vec<i64>> {
    let mut versions: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    let mut ids = HashSet::new();
    for (shard, messages) in everything(bus).await {
        for (message, position) in messages.iter().zip(1..) {
            assert_eq!(message.position, position, "in shard {shard}");
            for envelope in events::message::unpack(&message.envelope).unwrap() {
                assert!(ids.insert(envelope.event_id.clone()), "twice: {envelope:?}");
                assert_eq!(Shard::of(&envelope.aggregate_kind, envelope.aggregate_id), shard);
                versions.entry(envelope.aggregate_id).or_default().push(envelope.version);
            }
        }
    }
    versions
}

async fn execute(db: &Db, sql: &'static str) {
    let run = async move |conn: &mut Conn| -> db::Result<usize> {
        Ok(diesel::sql_query(sql).execute(conn).await?)
    };
    db.tx(run).await.unwrap();
}

fn expected(aggregates: i64, count: i64) -> BTreeMap<i64, Vec<i64>> {
    (1..=aggregates).map(|id| (id, (1..=count).collect())).collect()
}

async fn an_event_arrives_as_it_was_appended<B: Bench>() {
    let Some(bench) = B::start(&[]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    let _relay = relay(&db, bus.clone(), &Bell::default());
    let mut appended = event(7, 3);
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".clone_into(&mut appended.traceparent);
    append(&db, vec![appended.clone()]).await;
    published(&db).await;
    let all = everything(&*bus).await;
    let (shard, messages) = &all[0];
    assert_eq!((all.len(), messages.len()), (1, 1));
    assert_eq!(*shard, Shard::of("order", 7));
    let envelope = decode(&messages[0]);
    assert_eq!(uuid::Uuid::try_parse(&envelope.event_id).unwrap().get_version_num(), 7);
    let at = envelope.occurred_at.unwrap();
    let received = events::Event {
        event_type: type_of(&envelope).to_owned(),
        aggregate_kind: if envelope.aggregate_kind == "order" { "order" } else { "" },
        aggregate_id: envelope.aggregate_id,
        version: envelope.version,
        occurred_at: chrono::DateTime::from_timestamp(at.seconds, at.nanos.try_into().unwrap())
            .unwrap(),
        trace_id: envelope.trace_id,
        traceparent: envelope.traceparent,
        payload: envelope.payload.unwrap().value,
    };
    assert_eq!(received, appended);
}

async fn each_aggregate_keeps_its_order_when_many_write_at_once_and_two_relays_run<B: Bench>() {
    let Some(bench) = B::start(&[]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    let bell = Bell::default();
    let _first = relay(&db, bus.clone(), &bell);
    let _second = relay(&db, bus.clone(), &Bell::default());
    let writers = (0..8).map(|writer| {
        let (db, bell) = (db.clone(), bell.clone());
        tokio::spawn(async move {
            for version in 1..=20 {
                // Aggregates of this writer alone, as if their rows were locked.
                let events = (1..=5).map(|n| event(writer * 5 + n, version)).collect();
                append(&db, events).await;
                bell.ring();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    published(&db).await;
    assert_eq!(versions(&*bus).await, expected(40, 20));
}

async fn events_of_one_transaction_and_shard_share_messages_in_their_order<B: Bench>() {
    let Some(bench) = B::start(&[]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    let _relay = relay(&db, bus.clone(), &Bell::default());
    let mut events: Vec<_> = (1..=130).map(|version| event(1, version)).collect();
    events.extend((1..=40).map(|id| event(100 + id, 1)));
    append_together(&db, events).await;
    published(&db).await;
    let mut all = versions(&*bus).await;
    assert_eq!(all.remove(&1), Some((1..=130).collect()));
    assert_eq!(all, (101..=140).map(|id| (id, vec![1])).collect());
    let messages: usize = everything(&*bus).await.iter().map(|(_, shard)| shard.len()).sum();
    // 16 shards, and what is above 64 events goes on in a second and a third message.
    assert!(messages <= 18, "170 events in {messages} messages");
}

async fn an_event_in_a_shared_message_arrives_as_it_was_appended<B: Bench>() {
    let Some(bench) = B::start(&[]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    let _relay = relay(&db, bus.clone(), &Bell::default());
    let mut appended = event(7, 3);
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".clone_into(&mut appended.traceparent);
    append(&db, vec![appended.clone()]).await;
    append_together(&db, vec![appended.clone(), appended]).await;
    published(&db).await;
    let all = everything(&*bus).await;
    let (alone, shared) = (decode(&all[0].1[0]), decode(&all[0].1[1]));
    assert_eq!((type_of(&shared), shared.aggregate_id), (BATCH, 0));
    let shared = events::message::unpack(&all[0].1[1].envelope).unwrap();
    assert_eq!(shared.len(), 2);
    for event in shared {
        assert_ne!(event.event_id, alone.event_id);
        assert_eq!(EventEnvelope { event_id: alone.event_id.clone(), ..event }, alone);
    }
}

async fn a_transaction_that_commits_late_with_smaller_row_ids_loses_nothing<B: Bench>() {
    let Some(bench) = B::start(&[]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    let _relay = relay(&db, bus.clone(), &Bell::default());
    // A bus that is used for the first time may take longer than a transaction may rest.
    until(async || bus.heads().await.is_ok_and(|heads| heads.is_some())).await;
    let mut late = db.session().await.unwrap();
    let events: Vec<_> = (1..=32).map(|id| event(id, 1)).collect();
    let mut writes = Script::default();
    events::outbox::append(&mut writes, &events).unwrap();
    writes.run(late.conn()).await.unwrap();
    append(&db, (33..=64).map(|id| event(id, 1)).collect()).await;
    published(&db).await;
    assert_eq!(
        versions(&*bus).await.into_keys().collect::<Vec<_>>(),
        (33..=64).collect::<Vec<_>>()
    );
    late.commit(Script::default()).await.unwrap();
    published(&db).await;
    assert_eq!(versions(&*bus).await, expected(64, 1));
}

async fn a_backlog_larger_than_a_batch_goes_out_whole<B: Bench>() {
    let Some(bench) = B::start(&["reader"]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    let events = (1..=1_500).map(|version| event(1, version)).collect();
    append(&db, events).await;
    let _relay = relay(&db, bus.clone(), &Bell::default());
    published(&db).await;
    assert_eq!(versions(&*bus).await, expected(1, 1_500));
}

async fn a_publication_that_is_repeated_or_late_adds_nothing<B: Bench>() {
    let Some(bench) = B::start(&[]).await else { return };
    let bus = bench.bus();
    let shard = Shard::of("order", 1);
    let message = |position| Message { position, envelope: vec![u8::try_from(position).unwrap()] };
    let of = |after: i64, through: i64| Append {
        shard,
        after,
        through,
        head: through,
        messages: (after + 1..=through).map(message).collect(),
    };
    let generation = bus.state().await.unwrap().generation;
    let twice = || bus.publish(&generation, vec![of(0, 2)]);
    twice().await.unwrap();
    twice().await.unwrap();
    bus.publish(&generation, vec![of(2, 4)]).await.unwrap();
    bus.publish(&generation, vec![of(1, 3)]).await.unwrap();
    bus.publish(&generation, vec![of(9, 10)]).await.unwrap();
    assert_eq!(everything(&*bus).await, vec![(shard, (1..=4).map(message).collect::<Vec<_>>())]);
    bus.reset(&generation).await.unwrap();
    bus.publish(&generation, vec![of(0, 1)]).await.unwrap();
    assert_eq!(everything(&*bus).await, vec![], "a late publication of the generation before");
}

async fn a_bus_that_lost_everything_is_refilled_with_the_same_numbers<B: Bench>() {
    let Some(bench) = B::start(&["reader"]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    let _relay = relay(&db, bus.clone(), &Bell::default());
    append(&db, (1..=100).map(|id| event(id, 1)).collect()).await;
    published(&db).await;
    let before = everything(&*bus).await;
    bench.lose_everything().await;
    until(async || everything(&*bus).await == before).await;
}

async fn a_stream_that_lost_its_end_gets_it_again<B: Bench>() {
    let shard = Shard::of("order", 1);
    let Some(bench) = B::start(&["reader"]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    append(&db, (1..=10).map(|version| event(1, version)).collect()).await;
    {
        let _relay = relay(&db, bus.clone(), &Bell::default());
        published(&db).await;
    }
    let before = everything(&*bus).await;
    bench.lose_end(shard, 4).await;
    let _relay = relay(&db, bus.clone(), &Bell::default());
    until(async || everything(&*bus).await == before).await;
}

async fn a_bus_of_another_outbox_is_emptied_and_its_numbers_are_not_given_again<B: Bench>() {
    let Some(bench) = B::start(&["reader"]).await else { return };
    let (bus, stranger, db) = (bench.bus(), schema().await, schema().await);
    {
        let _relay = relay(&stranger, bus.clone(), &Bell::default());
        append(&stranger, (1..=5).map(|version| event(1, version)).collect()).await;
        published(&stranger).await;
    }
    append(&db, vec![event(1, 1)]).await;
    let _relay = relay(&db, bus.clone(), &Bell::default());
    // A message that says so has the first new number.
    let positions = async || -> Vec<i64> {
        let all = everything(&*bus).await.into_iter().flat_map(|(_, messages)| messages);
        all.map(|message| message.position).collect()
    };
    until(async || positions().await == [6, 7]).await;
}

async fn events_that_were_purged_leave_the_numbers_of_the_others_as_they_were<B: Bench>() {
    let Some(bench) = B::start(&["reader"]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    let shard = Shard::of("order", 1);
    append(&db, (1..=6).map(|version| event(1, version)).collect()).await;
    {
        let _relay = relay(&db, bus.clone(), &Bell::default());
        published(&db).await;
    }
    execute(&db, "DELETE FROM outbox WHERE position <= 4").await;
    bus.reset(&bus.state().await.unwrap().generation).await.unwrap();
    let _relay = relay(&db, bus.clone(), &Bell::default());
    let positions = async || -> Vec<i64> {
        let all = everything(&*bus).await;
        all.iter().flat_map(|(_, messages)| messages).map(|message| message.position).collect()
    };
    until(async || positions().await == [5, 6]).await;
    execute(&db, "DELETE FROM outbox").await;
    bus.reset(&bus.state().await.unwrap().generation).await.unwrap();
    until(async || bus.state().await.unwrap().shards[shard].top == 6).await;
    append(&db, vec![event(1, 7)]).await;
    until(async || positions().await == [7]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_trimmed_below_its_slowest_consumer_and_waits_for_it() {
    let Some(bench) = OnRedis::start(&["fast", "slow"]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    let shard = Shard::of("order", 1);
    let _relay = relay(&db, bus.clone(), &Bell::default());
    for chunk in 0..4 {
        append(&db, (1..=1_000).map(|n| event(1, chunk * 1_000 + n)).collect()).await;
    }
    // 4,000 are there, and 2,000 may wait for a consumer.
    until(async || bus.state().await.unwrap().shards[shard].top == 2_000).await;
    acknowledge(&*bus, "fast", shard, 2_000).await;
    acknowledge(&*bus, "slow", shard, 1_500).await;
    until(async || bus.state().await.unwrap().shards[shard].top == 3_500).await;
    let first = everything(&*bus).await[0].1[0].position;
    assert!((2..=1_501).contains(&first), "trimmed up to {first}");
    acknowledge(&*bus, "slow", shard, 2_000).await;
    until(async || bus.state().await.unwrap().shards[shard].top == 4_000).await;
}

async fn events_that_everybody_has_had_are_deleted_and_the_numbers_go_on<B: Bench>() {
    let Some(bench) = B::start(&["counter"]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    let running = relay(&db, bus.clone(), &Bell::default());
    append(&db, (1..=10).map(|version| event(7, version)).collect()).await;
    published(&db).await;
    let purge = Purge::new(db.clone(), bus.clone(), Duration::ZERO);
    let shard = Shard::of("order", 7);
    assert_eq!(purge.round().await.unwrap(), 0, "the consumer has had none");

    acknowledge(&*bus, "counter", shard, 6).await;
    assert_eq!(purge.round().await.unwrap(), 6);
    let patient = Purge::new(db.clone(), bus.clone(), Duration::from_hours(1));
    acknowledge(&*bus, "counter", shard, 10).await;
    assert_eq!(patient.round().await.unwrap(), 0, "none is old");
    assert_eq!(purge.round().await.unwrap(), 4);

    append(&db, vec![event(7, 11)]).await;
    published(&db).await;
    let last = everything(&*bus).await.pop().unwrap().1.pop().unwrap();
    assert_eq!((last.position, decode(&last).version), (11, 11));
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_take_turns_at_deleting_events() {
    let (db, (redis, bus)) = (schema().await, bus(&[]).await);
    let _relay = relay(&db, bus.clone(), &Bell::default());
    append(&db, (1..=3).map(|version| event(7, version)).collect()).await;
    published(&db).await;
    let locks = Locks::new(client(&redis), "test").unwrap();
    let elsewhere = locks.acquire("purge", Duration::ZERO).await.unwrap();

    let purge = Purge::new(db.clone(), bus.clone(), Duration::ZERO);
    let (turn, cancel) = (Turn::new(Some(locks), "purge"), CancellationToken::new());
    let interval = Duration::from_millis(1);
    let _running = cancel.clone().drop_guard();
    tokio::spawn(purge.run(interval, turn, cancel));
    // Once it has asked for the lock twice, it has left out a round.
    let asked = takes(&redis).await;
    until(async || takes(&redis).await >= asked + 2).await;
    assert_eq!(rows(&db).await, 3);
    elsewhere.release().await.unwrap();
    until(async || rows(&db).await == 0).await;
}

/// How often somebody asked how long a lock is still taken.
async fn takes(redis: &embedded::Redis) -> u64 {
    let mut connection = client(redis).get_multiplexed_async_connection().await.unwrap();
    let mut info = redis::cmd("INFO");
    let text: String = info.arg("commandstats").query_async(&mut connection).await.unwrap();
    let pttl = text.lines().find_map(|line| line.strip_prefix("cmdstat_pttl:calls="));
    pttl.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

async fn rows(db: &Db) -> i64 {
    let count = async |conn: &mut Conn| -> db::Result<i64> {
        let sql = diesel::dsl::sql::<diesel::sql_types::BigInt>("SELECT COUNT(*) FROM outbox");
        Ok(sql.get_result(conn).await?)
    };
    db.read(count).await.unwrap()
}

on_every_bus! {
    an_event_arrives_as_it_was_appended
    each_aggregate_keeps_its_order_when_many_write_at_once_and_two_relays_run
    events_of_one_transaction_and_shard_share_messages_in_their_order
    an_event_in_a_shared_message_arrives_as_it_was_appended
    a_transaction_that_commits_late_with_smaller_row_ids_loses_nothing
    a_backlog_larger_than_a_batch_goes_out_whole
    a_publication_that_is_repeated_or_late_adds_nothing
    a_bus_that_lost_everything_is_refilled_with_the_same_numbers
    a_stream_that_lost_its_end_gets_it_again
    a_bus_of_another_outbox_is_emptied_and_its_numbers_are_not_given_again
    events_that_were_purged_leave_the_numbers_of_the_others_as_they_were
    events_that_everybody_has_had_are_deleted_and_the_numbers_go_on
}
