//! Many streams that catch up at once on few connections.

use crate::support::{LONG, Outbox, from, next};
use api::events::v1::EventSource;
use api::events::v1::event_service_server::EventService;
use db::{Conn, Db, Options};
use feed::Feeds;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Status};

const STREAMS: usize = 64;
const EVENTS: usize = 480;
/// Less than all of them together read for, by far.
const PATIENCE: Duration = Duration::from_millis(25);

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_catch_up_at_once_take_turns_and_none_fails() {
    let outbox = Outbox::new(EventSource::Order).await;
    outbox.append_sized(1, 1..=EVENTS.try_into().unwrap(), 2_000).await;
    let mut options = Options::new(outbox.url);
    (options.pool_size, options.acquire_timeout) = (3, PATIENCE);
    let db = Db::open(options).await.unwrap();
    // Connections are made when first asked for, which may take longer than a turn.
    while db.read(async |conn: &mut Conn| events::pending(conn).await).await.is_err() {}
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let options = feed::Options { streams: STREAMS, age: LONG, readers: 2 };
    let feeds = Feeds::start([(EventSource::Order, db)], options, &tasks, stop.clone());
    let follow = async |feeds: Feeds| {
        let request = Request::new(from(&[EventSource::Order], ""));
        let mut stream = feeds.stream_events(request).await?.into_inner();
        Ok::<_, Status>(next(&mut stream, EVENTS).await.len())
    };
    let all: Vec<_> = (0..STREAMS).map(|_| tokio::spawn(follow(feeds.clone()))).collect();
    for stream in all {
        assert_eq!(stream.await.unwrap().unwrap(), EVENTS);
    }
    stop.cancel();
}
