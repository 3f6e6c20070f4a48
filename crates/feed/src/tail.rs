//! The newest numbers of an outbox, looked up once for all who follow it.

use db::Db;
use events::{PerShard, Positions};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tracing::warn;

/// Between two looks. Nobody looks while nobody follows.
const LOOK: Duration = Duration::from_millis(100);

/// What wakes the streams of one source. Clones share it.
#[derive(Clone)]
pub(crate) struct Tail {
    last: Arc<watch::Sender<Positions>>,
    wanted: Arc<Notify>,
}

impl Tail {
    pub(crate) fn new() -> Self {
        Self { last: Arc::new(watch::Sender::default()), wanted: Arc::default() }
    }

    /// The last positions as they become known.
    pub(crate) fn follow(&self) -> watch::Receiver<Positions> {
        let follower = self.last.subscribe();
        self.wanted.notify_one();
        follower
    }

    /// Looks as long as somebody follows, for ever.
    pub(crate) async fn look(self, db: Db) {
        loop {
            if self.last.receiver_count() == 0 {
                self.wanted.notified().await;
            }
            match db.read(async |conn| events::feed::extents(conn).await).await {
                Ok(extents) => {
                    let now = PerShard::from_fn(|shard| extents[shard].last);
                    self.last.send_if_modified(|last| std::mem::replace(last, now) != now);
                }
                // The streams go on with what was known.
                Err(error) => warn!(%error, "the outbox was not looked at"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
