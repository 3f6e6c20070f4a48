//! The relay: from a schema's outbox to its bus, in order, each event under a number that it keeps for ever.
//!
//! Two loops. The one numbers ([`numberer`]): a transaction locks the shards that nobody else holds and numbers what was
//! committed since. It waits for no bus, so whoever reads the outbox by its numbers goes on while the bus is away. The other
//! publishes ([`publisher`]): it asks the bus what it has, and appends what it lacks. Publishing is a compare-and-append on
//! the stream's top, so two relays, a repeat or a relay that was frozen for an hour can neither double nor reorder events,
//! nor leave one out.
//!
//! What the bus has is asked of the bus each time and not remembered: a stream that lost its end or everything is
//! refilled from the outbox in the same way in which new events reach it.
//!
//! A bus that knows numbers above the outbox's last one has seen a later state of the database. The numbers go on above
//! those (see [`rewound`](crate::rewound)), and the bus is refilled without what was lost.

mod numberer;
mod publisher;

use crate::bus::{self, Bus, Message, State};
use crate::numbering::Ledger;
use crate::{PerShard, Shard};
use db::{Db, Session};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How a relay goes about it.
#[derive(Debug, Clone)]
pub struct RelayOptions {
    /// Least time between two cycles that do not follow a full one: gathers events into fewer commits.
    pub gather: Duration,
    /// How long it rests after a cycle that found something, unless the bell rings.
    pub active: Duration,
    /// How long it rests after a cycle that found nothing, unless the bell rings.
    pub idle: Duration,
    /// Rows of one shard in one cycle, 1 to 4,096. A row tells at most 64 events.
    pub batch: u16,
    /// Rows of one shard that a bus which holds back may have beyond what its slowest consumer has acknowledged.
    pub window: i64,
    /// How long a relay that has a new connection to the database waits for the bus to tell which numbers it knows. After
    /// that, numbers go on far above all that can have been given.
    pub witness: Duration,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            gather: Duration::from_millis(100),
            active: Duration::from_millis(100),
            idle: Duration::from_millis(250),
            batch: 128,
            window: 2_000,
            witness: Duration::from_secs(2),
        }
    }
}

/// Tells a relay of the same process that there are new events, so that it need not find out by itself.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// Rings; to be called after a commit. Ringing twice before the relay looks is ringing once.
    pub fn ring(&self) {
        self.0.notify_one();
    }
}

/// The relay of one schema. Cheap to clone.
#[derive(Clone)]
pub struct Relay {
    db: Db,
    bus: Arc<dyn Bus>,
    bell: Bell,
    options: RelayOptions,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Db(#[from] db::Error),
    #[error(transparent)]
    Bus(#[from] bus::Error),
}

/// What a cycle found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Something,
    AllItCouldCarry,
}

/// Pause after a failure, doubled up to [`MAX_PAUSE`] while failures go on.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// What the two loops tell each other.
struct Shared {
    /// The database, for one of them at a time.
    session: tokio::sync::Mutex<Option<Open>>,
    /// What the bus told last.
    seen: watch::Sender<Option<Seen>>,
    /// Where the shards stand.
    ledgers: watch::Sender<Option<PerShard<Ledger>>>,
    /// What was numbered last, to save the publisher from reading it.
    fresh: Mutex<BTreeMap<Shard, Fresh>>,
    /// There is something to publish.
    numbered: Notify,
    /// Something was published.
    published: Notify,
    /// The bus has events that the database lost.
    is_ahead: AtomicBool,
}

/// A session, and since when.
struct Open {
    session: Session,
    since: Instant,
}

/// What the bus told.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// When it was asked.
    asked: Instant,
    tops: PerShard<i64>,
    /// The highest numbers that it, or one of its consumers, knows.
    known: PerShard<i64>,
    /// Whether these are all numbers that anybody can know: it has lost nothing, as far as it can tell.
    is_witness: bool,
}

/// Rows that follow a position.
struct Fresh {
    after: i64,
    messages: Vec<Message>,
}

impl Relay {
    /// A relay from the schema of `db` to `bus`, woken by `bell`.
    pub fn new(db: Db, bus: Arc<dyn Bus>, bell: Bell, options: RelayOptions) -> Self {
        Self { db, bus, bell, options }
    }

    /// Relays until cancelled, over any failure of the database and the bus.
    pub async fn run(self, cancel: CancellationToken) {
        let shared = Shared::default();
        let both = async { tokio::join!(self.number(&shared), self.publish(&shared)) };
        Box::pin(cancel.run_until_cancelled(both)).await;
    }

    fn is_full(&self, rows: usize) -> bool {
        rows >= usize::from(self.options.batch)
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            session: tokio::sync::Mutex::default(),
            seen: watch::Sender::new(None),
            ledgers: watch::Sender::new(None),
            fresh: Mutex::default(),
            numbered: Notify::new(),
            published: Notify::new(),
            is_ahead: AtomicBool::new(false),
        }
    }
}

impl Shared {
    fn fresh(&self) -> MutexGuard<'_, BTreeMap<Shard, Fresh>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was told since the last call.
    fn take_is_ahead(&self) -> bool {
        self.is_ahead.swap(false, Ordering::SeqCst)
    }
}

impl Seen {
    fn new(asked: Instant, state: &State) -> Self {
        let is_witness = state.all_have_spoken || state.shards.iter().any(|(_, it)| it.top > 0);
        Self {
            asked,
            tops: PerShard::from_fn(|shard| state.shards[shard].top),
            known: PerShard::from_fn(|shard| state.shards[shard].known),
            is_witness,
        }
    }
}

impl Open {
    /// The session of the slot, opened where there is none.
    async fn of<'a>(slot: &'a mut Option<Self>, db: &Db) -> db::Result<&'a mut Self> {
        match slot {
            Some(open) => Ok(open),
            none => {
                let session = db.session().await?;
                Ok(none.insert(Self { session, since: Instant::now() }))
            }
        }
    }
}

/// Ends what a failure left open: a conflict leaves the session in a transaction, anything else in no known state.
async fn give_up(slot: &mut Option<Open>, error: &db::Error) {
    let Some(open) = slot else { return };
    if !error.is_conflict() || open.session.rollback().await.is_err() {
        *slot = None;
    }
}
