//! What only Kafka does: records as integrators see them, groups that move shards, a broker that goes away.

use crate::bench::kafka::header;
use crate::bench::{Bench, OnKafka};
use crate::consumer::{Notes, consume};
use crate::load::Load;
use crate::rows::Rows;
use crate::support::{append, append_together, event, published, relay, schema, until};
use api::events::v1::EventEnvelope;
use events::{Bell, Shard};
use prost::Message as _;
use rdkafka::Message as _;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_one_event_keyed_by_its_aggregate_in_its_shards_partition() {
    let Some(bench) = OnKafka::start(&[]).await else { return };
    let db = schema().await;
    let _relay = relay(&db, bench.bus(), &Bell::default());
    let mut traced = event(7, 1);
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".clone_into(&mut traced.traceparent);
    append(&db, vec![traced]).await;
    append_together(&db, vec![event(7, 2), event(7, 3)]).await;
    published(&db).await;
    let records = bench.records(&bench.topic(), 16).await;
    let partition = i32::from(Shard::of("order", 7).number());
    assert_eq!(records.len(), 3);
    let place =
        |record| ["position", "index", "count", "after"].map(|name| header(record, name).unwrap());
    let places: Vec<_> = records.iter().map(place).collect();
    assert_eq!(places, [["1", "0", "1", "0"], ["2", "0", "2", "1"], ["2", "1", "2", "1"]]);
    for (record, version) in records.iter().zip(1..) {
        let envelope = EventEnvelope::decode(record.payload().unwrap()).unwrap();
        assert_eq!((envelope.aggregate_id, envelope.version), (7, version));
        assert_eq!((record.partition(), record.key()), (partition, Some(&b"7"[..])));
        assert_eq!(header(record, "type").unwrap(), "commerce.order.v1.OrderConfirmed");
        assert_eq!(header(record, "trace-id").unwrap(), "trace");
    }
    let parent = header(&records[0], "traceparent").unwrap();
    assert!(parent.contains("0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(header(&records[1], "traceparent"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_move_between_replicas_and_every_event_has_its_effect_once() {
    let Some(bench) = OnKafka::start(&["notes"]).await else { return };
    let db = schema().await;
    let _relay = relay(&db, bench.bus(), &Bell::default());
    let notes = Arc::new(Notes::default());
    let first = consume(&bench.bus(), &notes);
    append(&db, (1..=100).map(|id| event(id, 1)).collect()).await;
    until(async || notes.0.lock().unwrap().versions.len() == 100).await;
    // A second replica takes some of the shards while events come, and then the first one goes.
    let _second = consume(&bench.replica(&["notes"]), &notes);
    append(&db, (101..=200).map(|id| event(id, 1)).collect()).await;
    until(async || notes.0.lock().unwrap().versions.len() >= 200).await;
    drop(first);
    append(&db, (201..=300).map(|id| event(id, 1)).collect()).await;
    until(async || notes.0.lock().unwrap().versions.len() >= 300).await;
    let bus = bench.bus();
    let lag = async || bus.lag("notes").await.unwrap();
    until(async || lag().await.is_some_and(|lag| lag.iter().all(|(_, behind)| *behind == 0))).await;
    let seen = notes.0.lock().unwrap();
    assert_eq!((seen.versions.len(), seen.started_over), (300, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_under_load_loses_and_doubles_nothing() {
    let Some(kafka) = testkit::kafka_alone().await else { return };
    let bench = OnKafka::on(kafka.brokers(), &[Rows::NAME]);
    let db = schema().await;
    let rows = Rows::open(db.clone()).await;
    let _relay = relay(&db, bench.bus(), &Bell::default());
    let _other = relay(&db, bench.replica(&[Rows::NAME]), &Bell::default());
    let _consumer = rows.consume(bench.bus());
    let load = Load::begin(&db);
    load.committed(500).await;
    kafka.kill().await.unwrap();
    load.committed(1_000).await;
    let waiting = db.read(async |conn| events::pending(conn).await).await.unwrap();
    assert!(waiting >= 1_000, "{waiting} events wait in the outbox");
    let mut expected = load.end().await;
    kafka.restart().await.unwrap();
    append(&db, (1..=50).map(|version| event(1_000, version)).collect()).await;
    expected.insert(1_000, (1..=50).collect());
    let count: usize = expected.values().map(Vec::len).sum();
    until(async || rows.effects().await.values().map(Vec::len).sum::<usize>() >= count).await;
    assert_eq!(rows.effects().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_tells_in_headers_whose_it_is_and_what_is_wrong_with_it() {
    let Some(bench) = OnKafka::start(&["notes"]).await else { return };
    let db = schema().await;
    let _relay = relay(&db, bench.bus(), &Bell::default());
    let notes = Arc::new(Notes::default());
    let _consumer = consume(&bench.bus(), &notes);
    append(&db, vec![event(1, 12), event(1, 13)]).await;
    let dead = format!("{}.dead", bench.topic());
    until(async || !bench.bus().dead_letters("notes").await.unwrap().is_empty()).await;
    let records = bench.records(&dead, 1).await;
    let shard = Shard::of("order", 1).to_string();
    for (name, value) in [
        ("consumer", "notes"),
        ("shard", &shard),
        ("position", "2"),
        ("index", "0"),
        ("reason", "thirteen"),
    ] {
        assert_eq!(header(&records[0], name).as_deref(), Some(value), "{name}");
    }
    let envelope = EventEnvelope::decode(records[0].payload().unwrap()).unwrap();
    assert_eq!((envelope.version, envelope.trace_id.as_str()), (13, "trace"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_behind_holds_up_nobody() {
    let Some(bench) = OnKafka::start(&["slow"]).await else { return };
    let db = schema().await;
    let _relay = relay(&db, bench.bus(), &Bell::default());
    append(&db, (1..=2_500).map(|version| event(1, version)).collect()).await;
    let (bus, shard) = (bench.bus(), Shard::of("order", 1));
    until(async || bus.state().await.is_ok_and(|state| state.shards[shard].top == 2_500)).await;
    assert_eq!(bus.lag("slow").await.unwrap().unwrap()[shard], 2_500);
}
