//! Consumers: each event once, poison aside, lost events noticed.

use crate::bench::{Bench, on_every_bus};
use crate::support::{
    acknowledge, append, append_together, event, everything, published, relay, schema, until,
};
use api::events::v1::EventEnvelope;
use async_trait::async_trait;
use events::{Batch, Bell, Bus, Consumer, Failure, Handler, Positions, Purge, Shard};
use prost::Message as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Remembers versions; trips over version 13, and over its own feet once.
#[derive(Default)]
pub(crate) struct Notes(pub(crate) Mutex<Noted>);

#[derive(Default)]
pub(crate) struct Noted {
    pub(crate) positions: Positions,
    pub(crate) versions: Vec<i64>,
    stumbled: bool,
    pub(crate) started_over: usize,
}

#[async_trait]
impl Handler for Notes {
    async fn positions(&self) -> Result<Positions, Failure> {
        Ok(self.0.lock().unwrap().positions)
    }

    async fn apply(&self, batches: &[Batch]) -> Result<(), Failure> {
        let mut noted = self.0.lock().unwrap();
        for Batch { shard, after, events, .. } in batches {
            if *after != noted.positions[*shard] {
                return Err(Failure::Moved);
            }
            if let Some(event) = events.iter().find(|event| event.envelope.version == 13) {
                let (shard, position, index) = (*shard, event.position, event.index);
                let reason = "thirteen".to_owned();
                return Err(Failure::Poison { shard, position, index, reason });
            }
        }
        if !std::mem::replace(&mut noted.stumbled, true) {
            return Err(Failure::Later("stumbled".to_owned()));
        }
        for batch in batches {
            noted.positions[batch.shard] = batch.through;
            noted.versions.extend(batch.events.iter().map(|event| event.envelope.version));
        }
        Ok(())
    }

    async fn start_over(&self) -> Result<(), Failure> {
        let mut noted = self.0.lock().unwrap();
        *noted = Noted { started_over: noted.started_over + 1, stumbled: true, ..Noted::default() };
        Ok(())
    }
}

pub(crate) fn consume(bus: &Arc<dyn Bus>, notes: &Arc<Notes>) -> DropGuard {
    let cancel = CancellationToken::new();
    let consumer = Consumer::new("notes", bus.clone(), notes.clone());
    tokio::spawn(consumer.run(cancel.clone()));
    cancel.drop_guard()
}

async fn every_event_has_its_effect_once_and_poison_is_put_aside<B: Bench>() {
    let Some(bench) = B::start(&["notes"]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    let notes = Arc::new(Notes::default());
    let relay = relay(&db, bus.clone(), &Bell::default());
    append(&db, (1..=20).map(|version| event(1, version)).collect()).await;
    let consumer = consume(&bus, &notes);
    let expected: Vec<i64> = (1..=20).filter(|version| *version != 13).collect();
    until(async || notes.0.lock().unwrap().versions == expected).await;

    let letters = bus.dead_letters("notes").await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].position, letters[0].reason.as_str()), (13, "thirteen"));
    let shard = Shard::of("order", 1);
    let acknowledged = async || bus.state().await.unwrap().shards[shard].acknowledged;
    until(async || acknowledged().await == Some(20)).await;

    // Bytes that are no envelope are put aside, too.
    // The relay would refill a bus that has what was never numbered.
    drop((consumer, relay));
    bench.add(shard, 21, &[0xff, 0xff]).await;
    let _consumer = consume(&bus, &notes);
    until(async || bus.dead_letters("notes").await.unwrap().len() == 2).await;
    assert_eq!(bus.dead_letters("notes").await.unwrap()[1].envelope, [0xff, 0xff]);
}

async fn poison_is_put_aside_and_the_events_that_share_its_message_have_their_effect<B: Bench>() {
    let Some(bench) = B::start(&["notes"]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    let notes = Arc::new(Notes::default());
    let _relay = relay(&db, bus.clone(), &Bell::default());
    append_together(&db, (1..=9).map(|version| event(1, version)).collect()).await;
    append_together(&db, (10..=20).map(|version| event(1, version)).collect()).await;
    let _consumer = consume(&bus, &notes);
    let expected: Vec<i64> = (1..=20).filter(|version| *version != 13).collect();
    until(async || notes.0.lock().unwrap().versions == expected).await;
    let letters = bus.dead_letters("notes").await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].position, letters[0].index), (2, 3));
    let letter = EventEnvelope::decode(letters[0].envelope.as_slice()).unwrap();
    assert_eq!(letter.version, 13);
}

async fn a_consumer_that_rests_leaves_events_to_gather<B: Bench>() {
    let Some(bench) = B::start(&["notes", "resting"]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    let (notes, gathering) = (Arc::new(Notes::default()), Arc::new(Notes::default()));
    let _relay = relay(&db, bus.clone(), &Bell::default());
    let _notes = consume(&bus, &notes);
    let cancel = CancellationToken::new();
    let resting = Consumer::new("resting", bus.clone(), gathering.clone());
    let _resting = cancel.clone().drop_guard();
    tokio::spawn(resting.resting(Duration::from_hours(1)).run(cancel));
    append(&db, vec![event(1, 1)]).await;
    let seen = |notes: &Notes| notes.0.lock().unwrap().versions.clone();
    until(async || seen(&gathering) == [1]).await;
    append(&db, vec![event(1, 2)]).await;
    until(async || seen(&notes) == [1, 2]).await;
    assert_eq!(seen(&gathering), [1]);
}

async fn a_consumer_goes_on_from_its_own_position_after_the_bus_lost_everything<B: Bench>() {
    let Some(bench) = B::start(&["notes"]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    let notes = Arc::new(Notes::default());
    let _relay = relay(&db, bus.clone(), &Bell::default());
    let _consumer = consume(&bus, &notes);
    append(&db, (1..=5).map(|version| event(1, version)).collect()).await;
    until(async || notes.0.lock().unwrap().versions.len() == 5).await;
    bench.lose_everything().await;
    append(&db, (6..=8).map(|version| event(1, version)).collect()).await;
    until(async || notes.0.lock().unwrap().versions == (1..=8).collect::<Vec<_>>()).await;
    assert_eq!(notes.0.lock().unwrap().started_over, 0);
}

async fn a_new_consumer_goes_on_where_nothing_is_retained_and_holds_up_nobody<B: Bench>() {
    let Some(bench) = B::start(&["notes"]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    let shard = Shard::of("order", 1);
    // More than the bus may hold for a consumer that has had nothing.
    for chunk in 0..3 {
        let events = (1..=1_000).map(|n| event(1, chunk * 1_000 + n)).collect();
        append(&db, events).await;
    }
    let _relay = relay(&db, bus.clone(), &Bell::default());
    for position in [1_000, 2_000, 3_000] {
        acknowledge(&*bus, "notes", shard, position).await;
    }
    published(&db).await;
    let purge = Purge::new(db.clone(), bus.clone(), Duration::ZERO);
    assert_eq!(purge.round().await.unwrap(), 3_000);
    bus.rewind("notes").await.unwrap();

    let notes = Arc::new(Notes::default());
    let _consumer = consume(&bus, &notes);
    until(async || notes.0.lock().unwrap().positions[shard] == 3_000).await;
    append(&db, vec![event(1, 3_001)]).await;
    until(async || notes.0.lock().unwrap().versions == [3_001]).await;
    assert_eq!(notes.0.lock().unwrap().started_over, 0);
}

async fn a_consumer_that_finds_all_unread_events_gone_starts_over<B: Bench>() {
    let Some(bench) = B::start(&["notes"]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    let notes = Arc::new(Notes::default());
    let shard = Shard::of("order", 1);
    append(&db, (1..=6).map(|version| event(1, version)).collect()).await;
    let _relay = relay(&db, bus.clone(), &Bell::default());
    published(&db).await;
    bench.trim(shard, 7).await;
    notes.0.lock().unwrap().positions[shard] = 1;
    let _consumer = consume(&bus, &notes);
    until(async || notes.0.lock().unwrap().started_over == 1).await;
}

async fn a_consumer_that_finds_unread_events_gone_starts_over<B: Bench>() {
    let Some(bench) = B::start(&["notes"]).await else { return };
    let (db, bus) = (schema().await, bench.bus());
    let notes = Arc::new(Notes::default());
    let shard = Shard::of("order", 1);
    append(&db, (1..=6).map(|version| event(1, version)).collect()).await;
    let _relay = relay(&db, bus.clone(), &Bell::default());
    published(&db).await;
    assert_eq!(everything(&*bus).await[0].1.len(), 6);
    bench.trim(shard, 4).await;
    notes.0.lock().unwrap().positions[shard] = 1;
    let _consumer = consume(&bus, &notes);
    until(async || notes.0.lock().unwrap().started_over == 1).await;
    until(async || notes.0.lock().unwrap().versions == [4, 5, 6]).await;
}

on_every_bus! {
    every_event_has_its_effect_once_and_poison_is_put_aside
    poison_is_put_aside_and_the_events_that_share_its_message_have_their_effect
    a_consumer_that_rests_leaves_events_to_gather
    a_consumer_goes_on_from_its_own_position_after_the_bus_lost_everything
    a_new_consumer_goes_on_where_nothing_is_retained_and_holds_up_nobody
    a_consumer_that_finds_all_unread_events_gone_starts_over
    a_consumer_that_finds_unread_events_gone_starts_over
}
