//! One client's stream: what it lacks, page by page, then what comes.

use crate::cursor::Cursor;
use api::events::v1::{EventSource, StreamEventsResponse};
use api::{Reason, Refusal};
use db::{Conn, Db};
use events::bus::Message;
use events::rewound::REWOUND;
use events::{Positions, Shard};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, watch};
use tonic::Status;
use tracing::error;

/// Messages of one shard that are read at once: a page of all shards is a few MiB at most.
const PAGE: u16 = 16;
/// Events that may be passed over before the client is told how far it has come.
const PASSED: usize = 1_000;

pub(crate) type Answer = Result<StreamEventsResponse, Status>;

/// What a stream is made of.
pub(crate) struct Stream {
    pub(crate) db: Db,
    /// Who reads at the moment.
    pub(crate) turns: Arc<Semaphore>,
    pub(crate) source: EventSource,
    /// Empty for all.
    pub(crate) types: BTreeSet<String>,
    pub(crate) cursor: Cursor,
    pub(crate) last: watch::Receiver<Positions>,
    pub(crate) out: mpsc::Sender<Answer>,
    /// Events passed over since the client was told where it stands.
    pub(crate) passed: usize,
}

/// The client is gone.
pub(crate) struct Gone;

/// Why a stream ends before its client does.
pub(crate) enum End {
    Gone,
    Refused(Refusal),
}

impl From<Gone> for End {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl Stream {
    /// Sends without end.
    pub(crate) async fn run(&mut self) -> End {
        loop {
            if let Err(end) = self.step().await {
                return end;
            }
        }
    }

    async fn step(&mut self) -> Result<(), End> {
        let last = *self.last.borrow_and_update();
        let behind = self.cursor.behind(&last);
        if behind.is_empty() {
            if self.passed > 0 {
                self.tell(None).await?;
            }
            tokio::select! {
                () = self.out.closed() => return Err(End::Gone),
                changed = self.last.changed() => {
                    return changed.map_err(|_| End::Refused(Reason::Unavailable.into()));
                }
            }
        }
        let above = behind.clone();
        let read = async move |conn: &mut Conn| events::feed::messages(conn, &above, PAGE).await;
        // In turn: the pool knows no order among those who wait, and some would wait for too long.
        let turn = self.turns.acquire().await;
        let mut pages = self.db.read(read).await.map_err(|error| {
            tracing::warn!(%error, "a stream of events could not go on");
            End::Refused(Reason::Unavailable.into())
        })?;
        drop(turn);
        for (shard, position) in behind {
            let page = pages.remove(&shard).unwrap_or_default();
            // Numbered and not there, or not next: deleted meanwhile.
            if page.first().is_none_or(|first| !follows(first, position)) {
                let oldest = page.first().map(|first| first.position);
                return Err(End::Refused(purged(self.source, shard, position, oldest)));
            }
            for message in page {
                self.send(shard, message).await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, shard: Shard, message: Message) -> Result<(), Gone> {
        let (position, mark) = (message.position, message.mark());
        let events = message.open(shard).unwrap_or_else(|letter| {
            error!(%shard, position, reason = letter.reason, "a row of the outbox makes no sense");
            Vec::new()
        });
        let (all, had) = (events.len(), self.cursor.had(shard));
        if had >= all {
            self.cursor.advance(shard, (position, mark), all, all);
            return Ok(());
        }
        for (index, event) in events.into_iter().enumerate().skip(had) {
            self.cursor.advance(shard, (position, mark), index.saturating_add(1), all);
            if self.is_wanted(&event.envelope.r#type) {
                self.tell(Some(event.envelope)).await?;
                continue;
            }
            self.passed = self.passed.saturating_add(1);
            if self.passed >= PASSED {
                self.tell(None).await?;
            }
        }
        Ok(())
    }

    /// What an outbox says of itself only goes to those who ask for it: others count on nothing that it tells.
    fn is_wanted(&self, kind: &str) -> bool {
        if self.types.is_empty() { kind != REWOUND } else { self.types.contains(kind) }
    }

    async fn tell(&mut self, event: Option<api::events::v1::EventEnvelope>) -> Result<(), Gone> {
        self.passed = 0;
        let response = StreamEventsResponse { event, after: self.cursor.token(self.source) };
        self.out.send(Ok(response)).await.map_err(|_| Gone)
    }
}

/// Whether nothing is missing between the position and the row.
fn follows(row: &Message, position: i64) -> bool {
    row.position <= position.saturating_add(1) || (position > 0 && row.may_follow(position))
}

/// The outbox retains less than the client lacks.
pub(crate) fn purged(
    source: EventSource,
    shard: Shard,
    position: i64,
    oldest: Option<i64>,
) -> Refusal {
    let refusal = Refusal::new(Reason::EventsPurged)
        .with("source", name(source))
        .with("shard", shard)
        .with("position", position);
    match oldest {
        Some(oldest) => refusal.with("oldest", oldest),
        None => refusal.with("oldest", "none"),
    }
}

/// The source as roles call it: `order`.
pub(crate) fn name(source: EventSource) -> String {
    source.as_str_name().trim_start_matches("EVENT_SOURCE_").to_lowercase()
}
