//! The call.

use crate::cursor::Cursor;
use crate::stream::{End, Stream, name, purged};
use crate::tail::Tail;
use api::events::v1::event_service_server::{EventService, EventServiceServer};
use api::events::v1::{EventSource, StreamEventsRequest, StreamEventsResponse};
use api::{Check, Reason, Refusal};
use db::Db;
use events::feed::Extent;
use events::{PerShard, Shard};
use platform::served;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

/// Responses that wait for a client that reads slowly.
const WAITING: usize = 16;
/// When a client who was turned away may come back.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long the last word may take to a client that does not read.
const LAST_WORD: Duration = Duration::from_secs(5);

/// How streams are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Streams at once, of all sources; one more is answered OVERLOADED.
    pub streams: usize,
    /// After which a stream is asked to go on elsewhere.
    pub age: Duration,
}

/// The streams of this process's outboxes. Cheap to clone.
#[derive(Clone)]
pub struct Feeds(Arc<Inner>);

struct Inner {
    sources: BTreeMap<i32, Outbox>,
    options: Options,
    admission: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// One source.
struct Outbox {
    db: Db,
    tail: Tail,
}

impl Feeds {
    /// Serves the outboxes in these databases until `stop`, which ends all streams.
    pub fn start(
        sources: impl IntoIterator<Item = (EventSource, Db)>,
        options: Options,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let mut outboxes = BTreeMap::new();
        for (source, db) in sources {
            let (tail, stop) = (Tail::new(), stop.clone());
            let look = tail.clone().look(db.clone());
            tasks.spawn(async move { stop.run_until_cancelled(look).await });
            outboxes.insert(source.into(), Outbox { db, tail });
        }
        let admission = Arc::new(Semaphore::new(options.streams));
        let tasks = tasks.clone();
        Self(Arc::new(Inner { sources: outboxes, options, admission, tasks, stop }))
    }

    /// The call for everybody.
    pub fn public(&self) -> EventServiceServer<Self> {
        served!(EventServiceServer::new(self.clone()))
    }
}

impl Outbox {
    async fn extents(&self) -> Result<PerShard<Extent>, Refusal> {
        let extents = self.db.read(async |conn| events::feed::extents(conn).await).await;
        extents.map_err(|error| {
            tracing::warn!(%error, "a stream of events could not begin");
            Reason::Unavailable.into()
        })
    }
}

#[tonic::async_trait]
impl EventService for Feeds {
    async fn stream_events(
        &self,
        request: Request<StreamEventsRequest>,
    ) -> Result<Response<BoxStream<StreamEventsResponse>>, Status> {
        let request = request.into_inner();
        request.check()?;
        let source = request.source();
        let after = Cursor::read(source, &request.after)?;
        let Inner { sources, options, admission, tasks, stop } = &*self.0;
        let outbox = sources.get(&request.source).ok_or_else(|| not_here(source))?;
        let permit = Arc::clone(admission).try_acquire_owned();
        let permit = permit.map_err(|_| Refusal::overloaded(RETRY_AFTER))?;
        let extents = outbox.extents().await?;
        let cursor = match after {
            Some(cursor) => allowed(source, cursor, &extents)?,
            None => Cursor::oldest(&extents),
        };
        let (out, answers) = mpsc::channel(WAITING);
        let mut stream = Stream {
            db: outbox.db.clone(),
            source,
            types: request.types.into_iter().collect(),
            cursor,
            last: outbox.tail.follow(),
            out: out.clone(),
            passed: 0,
        };
        let (age, stop) = (options.age, stop.clone());
        tasks.spawn(async move {
            let end = tokio::select! {
                end = stream.run() => end,
                () = stop.cancelled() => End::Refused(Reason::Unavailable.into()),
                () = tokio::time::sleep(age) => End::Refused(Reason::Unavailable.into()),
            };
            if let End::Refused(refusal) = end {
                // A client that does not hear it asks again by itself.
                let _ = out.send_timeout(Err(refusal.into()), LAST_WORD).await;
            }
            drop(permit);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

fn not_here(source: EventSource) -> Refusal {
    Refusal::new(Reason::EventsNotHere).with("source", name(source))
}

/// A cursor from which the outbox can go on.
fn allowed(
    source: EventSource,
    cursor: Cursor,
    extents: &PerShard<Extent>,
) -> Result<Cursor, Refusal> {
    for (shard, Extent { first, last }) in extents.iter() {
        let position = cursor.position(shard);
        if position > *last {
            return Err(ahead(shard));
        }
        let next = position.saturating_add(1);
        if position < *last && first.is_none_or(|first| first > next) {
            return Err(purged(source, shard, position, *first));
        }
    }
    Ok(cursor)
}

fn ahead(shard: Shard) -> Refusal {
    let description = format!(
        "is ahead of the events there are (shard {shard}): it is of another outbox, so begin again without it"
    );
    Refusal::invalid_field("after", description)
}
