//! One source: the outbox that its events are read from, and the places from which it can go on.

use crate::cursor::FIELD;
use crate::place::Place;
use crate::tail::Tail;
use api::events::v1::EventSource;
use api::{Reason, Refusal};
use db::{Conn, Db};
use events::bus::Message;
use events::feed::Extent;
use events::{PerShard, Shard};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// An outbox. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outbox {
    pub(crate) source: EventSource,
    pub(crate) tail: Tail,
    db: Db,
    /// Who reads at the moment. The pool knows no order among those who wait for a connection, and some would wait for too
    /// long.
    turns: Arc<Semaphore>,
}

impl Outbox {
    /// An outbox that so many streams read from at once; the others wait for their turn.
    pub(crate) fn new(source: EventSource, db: Db, readers: usize) -> Self {
        Self { source, tail: Tail::new(), db, turns: Arc::new(Semaphore::new(readers)) }
    }

    /// The place from which a stream goes on: the given one, or the oldest.
    ///
    /// # Errors
    /// `EVENTS_PURGED`; `INVALID_FIELD` for a place that is of another outbox, or of a past that was lost; `UNAVAILABLE`.
    pub(crate) async fn begin(&self, place: Option<&Place>) -> Result<Place, Refusal> {
        let turn = self.turns.acquire().await;
        let extents = self.db.read(async |conn| events::feed::extents(conn).await).await;
        drop(turn);
        let extents = extents.map_err(|error| self.unavailable(&error))?;
        let Some(place) = place else { return Ok(Place::oldest(&extents)) };
        self.check_extents(place, &extents)?;
        self.check_marks(place).await?;
        Ok(*place)
    }

    /// Up to `max` messages of each of these shards above a position.
    ///
    /// # Errors
    /// `UNAVAILABLE`.
    pub(crate) async fn read(
        &self,
        above: Vec<(Shard, i64)>,
        max: u16,
    ) -> Result<BTreeMap<Shard, Vec<Message>>, Refusal> {
        let read = async move |conn: &mut Conn| events::feed::messages(conn, &above, max).await;
        let turn = self.turns.acquire().await;
        let messages = self.db.read(read).await;
        drop(turn);
        messages.map_err(|error| self.unavailable(&error))
    }

    /// The outbox retains less than the client lacks.
    pub(crate) fn purged(&self, shard: Shard, position: i64, oldest: Option<i64>) -> Refusal {
        let refusal = Refusal::new(Reason::EventsPurged)
            .with("source", name(self.source))
            .with("shard", shard)
            .with("position", position);
        match oldest {
            Some(oldest) => refusal.with("oldest", oldest),
            None => refusal.with("oldest", "none"),
        }
    }

    /// Refuses a place from which the outbox cannot go on.
    fn check_extents(&self, place: &Place, extents: &PerShard<Extent>) -> Result<(), Refusal> {
        for (shard, Extent { first, last }) in extents.iter() {
            let position = place.position(shard);
            if position > *last {
                return Err(self.ahead(shard));
            }
            let next = position.saturating_add(1);
            if position < *last && first.is_none_or(|first| first > next) {
                return Err(self.purged(shard, position, *first));
            }
        }
        Ok(())
    }

    /// Refuses a place whose messages have others in their stead: the database was put back to an earlier state, and the
    /// numbers were given again.
    async fn check_marks(&self, place: &Place) -> Result<(), Refusal> {
        let marked = Shard::all().filter(|shard| place.mark(*shard).is_some());
        let before = |shard: Shard| (shard, place.position(shard).saturating_sub(1));
        for (shard, messages) in self.read(marked.map(before).collect(), 1).await? {
            let there = messages.first().filter(|it| it.position == place.position(shard));
            if there.is_some_and(|message| place.mark(shard) != Some(message.mark())) {
                return Err(self.of_lost_past(shard));
            }
        }
        Ok(())
    }

    fn unavailable(&self, error: &db::Error) -> Refusal {
        tracing::warn!(source = name(self.source), %error, "a stream of events has no answer");
        Reason::Unavailable.into()
    }

    fn ahead(&self, shard: Shard) -> Refusal {
        let source = name(self.source);
        let description = format!(
            "is ahead of the events there are (shard {shard} of {source}): it is of another outbox, so begin again without it"
        );
        Refusal::invalid_field(FIELD, description)
    }

    fn of_lost_past(&self, shard: Shard) -> Refusal {
        let source = name(self.source);
        let description = format!(
            "is of a past that was lost (shard {shard} of {source}): begin again without it, and know events by their ids"
        );
        Refusal::invalid_field(FIELD, description)
    }
}

/// The source as roles call it: `order`.
pub(crate) fn name(source: EventSource) -> String {
    source.as_str_name().trim_start_matches("EVENT_SOURCE_").to_lowercase()
}
