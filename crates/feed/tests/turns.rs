//! Many streams that catch up at once on few connections.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use api::events::v1::event_service_server::EventService;
use api::events::v1::{EventSource, StreamEventsRequest};
use db::{Conn, Db, Options, Script};
use diesel_async::SimpleAsyncConnection;
use feed::Feeds;
use migrations::Schema;
use std::time::Duration;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Request;

const STREAMS: usize = 64;
const EVENTS: usize = 480;
/// Less than all of them together read for, by far.
const PATIENCE: Duration = Duration::from_millis(25);

/// An outbox of one shard, numbered.
async fn outbox() -> String {
    let (db, url) = testkit::database(Schema::Order).await;
    let event = events::Event {
        event_type: "OrderConfirmed",
        aggregate_kind: "order",
        aggregate_id: 1,
        version: 1,
        occurred_at: db::now_micros(),
        trace_id: String::new(),
        traceparent: String::new(),
        payload: vec![7; 2_000],
    };
    let mut writes = Script::default();
    for _ in 0..EVENTS {
        events::outbox::append(&mut writes, std::slice::from_ref(&event)).unwrap();
    }
    db.tx(async move |conn: &mut Conn| -> db::Result<()> {
        writes.run(conn).await?;
        conn.batch_execute("SET @n = 0; UPDATE outbox SET position = (@n := @n + 1) ORDER BY id")
            .await?;
        let last = "UPDATE outbox_shard s SET last_position = \
            (SELECT COUNT(*) FROM outbox o WHERE o.shard = s.shard)";
        Ok(conn.batch_execute(last).await?)
    })
    .await
    .unwrap();
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_catch_up_at_once_take_turns_and_none_fails() {
    let mut options = Options::new(outbox().await);
    (options.pool_size, options.acquire_timeout) = (3, PATIENCE);
    let db = Db::open(options).await.unwrap();
    // Connections are made when first asked for, which may take longer than a turn.
    while db.read(async |conn: &mut Conn| events::pending(conn).await).await.is_err() {}
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let options = feed::Options { streams: STREAMS, age: Duration::from_hours(1), readers: 2 };
    let sources = [(EventSource::Order, db)];
    let feeds = Feeds::start(sources, options, &tasks, stop.clone());
    let follow = async |feeds: Feeds| {
        let request = StreamEventsRequest {
            source: EventSource::Order.into(),
            ..StreamEventsRequest::default()
        };
        let answer = feeds.stream_events(Request::new(request)).await?;
        let events = answer.into_inner().take(EVENTS);
        events.collect::<Result<Vec<_>, _>>().await.map(|events| events.len())
    };
    let all: Vec<_> = (0..STREAMS).map(|_| tokio::spawn(follow(feeds.clone()))).collect();
    for stream in all {
        assert_eq!(stream.await.unwrap().unwrap(), EVENTS);
    }
    stop.cancel();
}
