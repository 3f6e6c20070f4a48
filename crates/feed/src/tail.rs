//! The newest numbers of an outbox, looked up once for all streams of it.

use db::Db;
use events::{PerShard, Positions};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::warn;

/// Between two looks. Nobody looks while there is no stream.
const LOOK: Duration = Duration::from_millis(100);
/// For so long a database may leave looks without an answer; then the streams are told.
const SILENCE: Duration = Duration::from_secs(2);

/// What wakes the streams of one source. Clones share it.
#[derive(Clone)]
pub(crate) struct Tail {
    seen: Arc<watch::Sender<Seen>>,
    wanted: Arc<Notify>,
}

/// What the last looks found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    /// The last positions.
    pub(crate) last: Positions,
    /// Looks that failed after a long silence of the database. A stream ends when the number is not what it was at the
    /// stream's beginning.
    pub(crate) silences: u64,
}

impl Tail {
    pub(crate) fn new() -> Self {
        Self { seen: Arc::new(watch::Sender::default()), wanted: Arc::default() }
    }

    /// What is seen from now on.
    pub(crate) fn follow(&self) -> watch::Receiver<Seen> {
        let follower = self.seen.subscribe();
        self.wanted.notify_one();
        follower
    }

    /// Looks while there are streams; never ends.
    pub(crate) async fn look(self, db: Db) {
        let mut answered = Instant::now();
        loop {
            if self.seen.receiver_count() == 0 {
                self.wanted.notified().await;
                answered = Instant::now();
            }
            match db.read(async |conn| events::feed::extents(conn).await).await {
                Ok(extents) => {
                    answered = Instant::now();
                    let last = PerShard::from_fn(|shard| extents[shard].last);
                    self.seen
                        .send_if_modified(|seen| std::mem::replace(&mut seen.last, last) != last);
                }
                Err(error) => {
                    warn!(%error, "the outbox was not looked at");
                    if answered.elapsed() >= SILENCE {
                        self.seen.send_modify(|seen| seen.silences = seen.silences.wrapping_add(1));
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
