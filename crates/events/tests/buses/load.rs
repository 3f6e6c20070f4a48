//! Writers who change aggregates all the time, and what must have been heard of it.

use crate::support::{append, event, everything};
use db::{Db, Script};
use events::Bus;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use tokio::task::JoinSet;

const WRITERS: i64 = 4;
const AGGREGATES: i64 = 5;
/// The version that an event tells of whose transaction is rolled back.
const NEVER: i64 = -1;

/// Versions by aggregate, in the order in which they came.
pub(crate) type Versions = BTreeMap<i64, Vec<i64>>;

/// Writers at work.
pub(crate) struct Load {
    writers: JoinSet<(i64, i64)>,
    is_over: Arc<AtomicBool>,
    committed: Arc<AtomicI64>,
}

impl Load {
    pub(crate) fn begin(db: &Db) -> Self {
        let (is_over, committed) = (Arc::new(AtomicBool::new(false)), Arc::<AtomicI64>::default());
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (db, is_over, committed) = (db.clone(), is_over.clone(), committed.clone());
            writers.spawn(async move {
                let aggregates = writer * AGGREGATES + 1..=(writer + 1) * AGGREGATES;
                let mut version = 0;
                while !is_over.load(Ordering::SeqCst) {
                    version += 1;
                    let of = |version| aggregates.clone().map(move |id| event(id, version));
                    if version % 5 == 0 {
                        take_back(&db, of(NEVER).collect()).await;
                    }
                    append(&db, of(version).collect()).await;
                    committed.fetch_add(AGGREGATES, Ordering::SeqCst);
                }
                (writer, version)
            });
        }
        Self { writers, is_over, committed }
    }

    /// Waits until so many more events were committed.
    pub(crate) async fn committed(&self, more: i64) {
        let target = self.committed.load(Ordering::SeqCst) + more;
        crate::support::until(async || self.committed.load(Ordering::SeqCst) >= target).await;
    }

    /// Ends the writing. What must have been heard of it.
    pub(crate) async fn end(self) -> Versions {
        self.is_over.store(true, Ordering::SeqCst);
        let mut all = Versions::new();
        for (writer, version) in self.writers.join_all().await {
            for id in writer * AGGREGATES + 1..=(writer + 1) * AGGREGATES {
                all.insert(id, (1..=version).collect());
            }
        }
        all
    }
}

/// Writes events in a transaction that is rolled back.
async fn take_back(db: &Db, events: Vec<events::Event>) {
    let mut session = db.session().await.unwrap();
    let mut writes = Script::default();
    events::outbox::append(&mut writes, &events).unwrap();
    writes.run(session.conn()).await.unwrap();
    session.rollback().await.unwrap();
}

/// What the streams hold, which must be numbered without a hole.
pub(crate) async fn on_the_bus(bus: &dyn Bus) -> Versions {
    let mut all = Versions::new();
    for (shard, messages) in everything(bus).await {
        for (message, position) in messages.iter().zip(1..) {
            assert_eq!(message.position, position, "in shard {shard}");
            for envelope in events::message::unpack(&message.envelope).unwrap() {
                all.entry(envelope.aggregate_id).or_default().push(envelope.version);
            }
        }
    }
    all
}
