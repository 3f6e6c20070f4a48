//! Outboxes that tests fill, and streams of them.

use api::Refusal;
use api::events::v1::event_service_server::EventService;
use api::events::v1::{EventEnvelope, EventSource, StreamEventsRequest, StreamEventsResponse};
use api::order::v1::{OrderCancelled, OrderConfirmed};
use db::{Conn, Db, Script};
use diesel_async::SimpleAsyncConnection;
use feed::Feeds;
use migrations::Schema;
use prost::Name;
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio_stream::StreamExt;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tonic::codegen::BoxStream;
use tonic::{Request, Status};

/// Numbers the rows of each shard that have no number, as a relay does.
const NUMBER: &str = "UPDATE outbox o JOIN (SELECT id, ROW_NUMBER() OVER \
    (PARTITION BY shard ORDER BY id) AS number FROM outbox) n ON n.id = o.id \
    SET o.position = n.number WHERE o.position IS NULL";
/// Says so.
const LAST: &str = "UPDATE outbox_shard s SET last_position = \
    (SELECT COUNT(*) FROM outbox o WHERE o.shard = s.shard)";

/// Longer than any test.
pub(crate) const LONG: Duration = Duration::from_hours(1);

/// A source of events, without a service and without a relay.
pub(crate) struct Outbox {
    pub(crate) source: EventSource,
    pub(crate) db: Db,
    pub(crate) url: String,
}

/// The streams of some outboxes, until it is dropped.
pub(crate) struct Server {
    pub(crate) feeds: Feeds,
    pub(crate) stop: CancellationToken,
    _running: DropGuard,
}

/// An event that came: its source, its aggregate, its version.
pub(crate) type Came = (String, i64, i64);

impl Outbox {
    pub(crate) async fn new(source: EventSource) -> Self {
        let schema = match source {
            EventSource::Wallet => Schema::Wallet,
            _ => Schema::Order,
        };
        let (db, url) = testkit::database(schema).await;
        Self { source, db, url }
    }

    /// Commits an event for each of these versions, each in a row of its own, and numbers what has no number. Odd versions
    /// tell of [`OrderConfirmed`], even ones of [`OrderCancelled`].
    pub(crate) async fn append(&self, aggregate_id: i64, versions: RangeInclusive<i64>) {
        self.append_sized(aggregate_id, versions, 1).await;
    }

    /// The same with payloads of so many bytes.
    pub(crate) async fn append_sized(
        &self,
        aggregate_id: i64,
        versions: RangeInclusive<i64>,
        bytes: usize,
    ) {
        let mut writes = Script::default();
        for version in versions {
            let event_type = if version % 2 == 1 {
                OrderConfirmed::full_name()
            } else {
                OrderCancelled::full_name()
            };
            let event = events::Event {
                event_type,
                aggregate_kind: if self.source == EventSource::Wallet { "wallet" } else { "order" },
                aggregate_id,
                version,
                occurred_at: db::now_micros(),
                trace_id: String::new(),
                traceparent: String::new(),
                payload: vec![7; bytes],
            };
            events::outbox::append(&mut writes, &[event]).unwrap();
        }
        let append = async move |conn: &mut Conn| -> db::Result<()> {
            writes.run(conn).await?;
            conn.batch_execute(NUMBER).await?;
            Ok(conn.batch_execute(LAST).await?)
        };
        self.db.tx(append).await.unwrap();
    }
}

impl Server {
    pub(crate) fn start(
        sources: impl IntoIterator<Item = (EventSource, Db)>,
        age: Duration,
    ) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let options = feed::Options { streams: 64, age, readers: 2 };
        let feeds = Feeds::start(sources, options, &tasks, stop.clone());
        Self { feeds, stop: stop.clone(), _running: stop.drop_guard() }
    }

    /// The streams of these outboxes.
    pub(crate) fn of(outboxes: &[&Outbox]) -> Self {
        Self::start(outboxes.iter().map(|outbox| (outbox.source, outbox.db.clone())), LONG)
    }

    pub(crate) async fn open(
        &self,
        request: StreamEventsRequest,
    ) -> Result<BoxStream<StreamEventsResponse>, Status> {
        Ok(self.feeds.stream_events(Request::new(request)).await?.into_inner())
    }
}

pub(crate) fn from(sources: &[EventSource], cursor: &str) -> StreamEventsRequest {
    let sources = sources.iter().map(|source| i32::from(*source)).collect();
    StreamEventsRequest { sources, cursor: cursor.to_owned(), types: Vec::new() }
}

/// The next `count` events, each with the cursor after it.
pub(crate) async fn next(
    stream: &mut BoxStream<StreamEventsResponse>,
    count: usize,
) -> Vec<(Came, String)> {
    let mut came = Vec::with_capacity(count);
    while came.len() < count {
        let StreamEventsResponse { event, cursor } = stream.next().await.unwrap().unwrap();
        came.extend(event.map(|event| (name(event), cursor)));
    }
    came
}

/// What ends a stream that has no more events.
pub(crate) async fn end(stream: &mut BoxStream<StreamEventsResponse>) -> Refusal {
    refusal(&stream.next().await.unwrap().unwrap_err())
}

pub(crate) fn refusal(status: &Status) -> Refusal {
    Refusal::from_status(status).unwrap()
}

fn name(event: EventEnvelope) -> Came {
    (event.aggregate_kind, event.aggregate_id, event.version)
}
