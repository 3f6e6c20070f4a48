//! The call.

use crate::cursor::Cursor;
use crate::stream::{End, Stream, name, purged};
use crate::tail::Tail;
use api::events::v1::event_service_server::{EventService, EventServiceServer};
use api::events::v1::{EventSource, StreamEventsRequest, StreamEventsResponse};
use api::{Check, Reason, Refusal};
use db::{Conn, Db};
use events::feed::Extent;
use events::{PerShard, Shard};
use platform::{served, supervised};
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
    /// Streams of one source that read at once; the others wait for their turn. Fewer than the source's connections, one
    /// of which looks for what is new.
    pub readers: usize,
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
    turns: Arc<Semaphore>,
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
            let (tail, stop, cancel) = (Tail::new(), stop.clone(), stop.clone());
            let (look, looked_at) = (tail.clone(), db.clone());
            let look = move || {
                let (stop, look) = (stop.clone(), look.clone().look(looked_at.clone()));
                async move {
                    // Over when the process ends.
                    let _ = stop.run_until_cancelled(look).await;
                }
            };
            tasks.spawn(supervised("feed_tail", cancel, look));
            let turns = Arc::new(Semaphore::new(options.readers));
            outboxes.insert(source.into(), Outbox { db, tail, turns });
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
        let turn = self.turns.acquire().await;
        let extents = self.db.read(async |conn| events::feed::extents(conn).await).await;
        drop(turn);
        extents.map_err(|error| could_not_begin(&error))
    }

    /// Refuses a cursor whose messages have others in their places: the database was put back to an earlier state, and the
    /// numbers were given again.
    async fn recognise(&self, cursor: &Cursor) -> Result<(), Refusal> {
        let marked = Shard::all().filter(|shard| cursor.mark(*shard).is_some());
        let before = |shard: Shard| (shard, cursor.position(shard).saturating_sub(1));
        let above: Vec<(Shard, i64)> = marked.map(before).collect();
        let turn = self.turns.acquire().await;
        let read = async move |conn: &mut Conn| events::feed::messages(conn, &above, 1).await;
        let rows = self.db.read(read).await;
        drop(turn);
        for (shard, rows) in rows.map_err(|error| could_not_begin(&error))? {
            let here = rows.first().filter(|row| row.position == cursor.position(shard));
            if here.is_some_and(|row| cursor.mark(shard) != Some(row.mark())) {
                return Err(another_past(shard));
            }
        }
        Ok(())
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
            Some(cursor) => {
                allowed(source, &cursor, &extents)?;
                outbox.recognise(&cursor).await?;
                cursor
            }
            None => Cursor::oldest(&extents),
        };
        let (out, answers) = mpsc::channel(WAITING);
        let mut stream = Stream {
            db: outbox.db.clone(),
            turns: Arc::clone(&outbox.turns),
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

/// Refuses a cursor from which the outbox cannot go on.
fn allowed(
    source: EventSource,
    cursor: &Cursor,
    extents: &PerShard<Extent>,
) -> Result<(), Refusal> {
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
    Ok(())
}

fn could_not_begin(error: &db::Error) -> Refusal {
    tracing::warn!(%error, "a stream of events could not begin");
    Reason::Unavailable.into()
}

fn another_past(shard: Shard) -> Refusal {
    let description = format!(
        "is of a past that was lost (shard {shard}): begin again without it, and know events by their ids"
    );
    Refusal::invalid_field("after", description)
}

fn ahead(shard: Shard) -> Refusal {
    let description = format!(
        "is ahead of the events there are (shard {shard}): it is of another outbox, so begin again without it"
    );
    Refusal::invalid_field("after", description)
}
