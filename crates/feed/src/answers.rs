//! What a client is sent, by all sources of its stream: each answer with the place that the stream has then reached.

use crate::cursor::Cursor;
use crate::place::Sent;
use api::events::v1::{EventEnvelope, EventSource, StreamEventsResponse};
use events::message::type_of;
use events::rewound::REWOUND;
use events::{Positions, Shard};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tonic::Status;

/// Events that may be passed over before the client is told how far the stream has come.
const PASSED: usize = 1_000;

pub(crate) type Answer = Result<StreamEventsResponse, Status>;

/// The client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// The way to one client. The channel is bounded, and lets sources that wait for room go on in the order in which they came:
/// each sends one event, then the others one.
pub(crate) struct Answers {
    /// Empty for all.
    types: BTreeSet<String>,
    progress: Mutex<Progress>,
    out: mpsc::Sender<Answer>,
}

struct Progress {
    cursor: Cursor,
    /// Events passed over since the client was last told where the stream stands.
    passed: usize,
}

impl Answers {
    pub(crate) fn new(types: BTreeSet<String>, cursor: Cursor, out: mpsc::Sender<Answer>) -> Self {
        Self { types, progress: Mutex::new(Progress { cursor, passed: 0 }), out }
    }

    /// The shards of a source in which there is more than was sent, up to these last positions.
    pub(crate) fn behind(&self, source: EventSource, last: &Positions) -> Vec<(Shard, i64)> {
        let progress = self.progress();
        progress.cursor.place(source).map_or_else(Vec::new, |place| place.behind(last))
    }

    /// Events of a shard's next message that were sent, where that has this mark.
    pub(crate) fn sent(&self, source: EventSource, shard: Shard, mark: i64) -> usize {
        self.progress().cursor.place(source).map_or(0, |place| place.sent(shard, mark))
    }

    /// Sends an event, or passes it over.
    ///
    /// # Errors
    /// [`Gone`].
    pub(crate) async fn give(
        &self,
        source: EventSource,
        sent: Sent,
        event: EventEnvelope,
    ) -> Result<(), Gone> {
        if self.is_wanted(type_of(&event)) {
            let room = self.out.reserve().await.map_err(|_| Gone)?;
            // Under one lock: answers leave in the order of their places.
            let mut progress = self.progress();
            progress.advance(source, sent);
            room.send(Ok(progress.answer(Some(event))));
            return Ok(());
        }
        let passed = {
            let mut progress = self.progress();
            progress.advance(source, sent);
            progress.passed = progress.passed.saturating_add(1);
            progress.passed
        };
        if passed >= PASSED { self.tell().await } else { Ok(()) }
    }

    /// Moves on without an event.
    pub(crate) fn advance(&self, source: EventSource, sent: Sent) {
        self.progress().advance(source, sent);
    }

    /// Tells where the stream stands, if events were passed over since the client was told.
    ///
    /// # Errors
    /// [`Gone`].
    pub(crate) async fn tell(&self) -> Result<(), Gone> {
        if self.progress().passed == 0 {
            return Ok(());
        }
        let room = self.out.reserve().await.map_err(|_| Gone)?;
        let mut progress = self.progress();
        // Another source may have told the client meanwhile.
        if progress.passed > 0 {
            room.send(Ok(progress.answer(None)));
        }
        Ok(())
    }

    /// Waits until the client is gone.
    pub(crate) async fn gone(&self) -> Gone {
        self.out.closed().await;
        Gone
    }

    /// What an outbox says of itself only goes to those who ask for it: others count on nothing that it tells.
    fn is_wanted(&self, kind: &str) -> bool {
        if self.types.is_empty() { kind != REWOUND } else { self.types.contains(kind) }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    fn advance(&mut self, source: EventSource, sent: Sent) {
        if let Some(place) = self.cursor.place_mut(source) {
            place.advance(sent);
        }
    }

    fn answer(&mut self, event: Option<EventEnvelope>) -> StreamEventsResponse {
        self.passed = 0;
        StreamEventsResponse { event, cursor: self.cursor.token() }
    }
}

#[cfg(test)]
mod tests;
