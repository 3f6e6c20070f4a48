//! The call.

use crate::answers::{Answer, Answers};
use crate::branch::{Branch, End};
use crate::cursor::Cursor;
use crate::outbox::{Outbox, name};
use api::events::v1::event_service_server::{EventService, EventServiceServer};
use api::events::v1::{EventSource, StreamEventsRequest, StreamEventsResponse};
use api::{Check, Reason, Refusal};
use db::Db;
use futures_util::future::try_join_all;
use platform::{served, supervised};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};
use tracing::error;

/// Responses that wait for a client that reads slowly.
const WAITING: usize = 16;
/// When a client who was turned away may come back.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long the last word may take to a client that does not read.
const LAST_WORD: Duration = Duration::from_secs(5);

/// How streams are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Streams at once, whatever their sources; one more is answered OVERLOADED.
    pub streams: usize,
    /// After which the server cuts off whatever still goes on. A stream is asked to go on elsewhere a little earlier, a
    /// tenth of it or 5 s, so that its client learns why.
    pub age: Duration,
    /// Streams of one source that read at once; the others wait for their turn. Fewer than the source's connections, one
    /// of which looks for what is new.
    pub readers: usize,
}

/// The streams of this process's outboxes. Cheap to clone.
#[derive(Clone)]
pub struct Feeds(Arc<Inner>);

struct Inner {
    sources: BTreeMap<EventSource, Outbox>,
    options: Options,
    admission: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Why the server ends a stream as planned: a value of `STREAM_ENDED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Shutdown,
    MaxAge,
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
            let outbox = Outbox::new(source, db.clone(), options.readers);
            let (tail, stop, cancel) = (outbox.tail.clone(), stop.clone(), stop.clone());
            let look = move || {
                let (stop, look) = (stop.clone(), tail.clone().look(db.clone()));
                async move {
                    // Over when the process ends.
                    let _ = stop.run_until_cancelled(look).await;
                }
            };
            tasks.spawn(supervised("feed_tail", cancel, look));
            outboxes.insert(source, outbox);
        }
        let admission = Arc::new(Semaphore::new(options.streams));
        let tasks = tasks.clone();
        Self(Arc::new(Inner { sources: outboxes, options, admission, tasks, stop }))
    }

    /// The calls for operators and other programs of the shop's owner: events name every user.
    pub fn admin(&self) -> EventServiceServer<Self> {
        served!(EventServiceServer::new(self.clone()))
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
        let sources: Vec<EventSource> = request.sources().collect();
        each_once(&sources)?;
        let after = Cursor::read(&sources, &request.cursor)?;
        let Inner { options, admission, tasks, stop, .. } = &*self.0;
        let outboxes = self.0.outboxes(&sources)?;
        let permit = Arc::clone(admission).try_acquire_owned();
        let permit = permit.map_err(|_| Refusal::overloaded(RETRY_AFTER))?;
        let places = outboxes.iter().map(|outbox| {
            let place = after.as_ref().and_then(|cursor| cursor.place(outbox.source));
            outbox.begin(place)
        });
        let cursor = Cursor::new(sources.into_iter().zip(try_join_all(places).await?));
        let (out, responses) = mpsc::channel(WAITING);
        let types = request.types.into_iter().collect();
        let answers = Arc::new(Answers::new(types, cursor, out.clone()));
        let mut branches = JoinSet::new();
        for outbox in outboxes {
            branches.spawn(Branch::new(outbox, Arc::clone(&answers)).run());
        }
        let (lifetime, stop) = (options.lifetime(), stop.clone());
        tasks.spawn(async move {
            let end = tokio::select! {
                biased;
                () = stop.cancelled() => Cause::Shutdown.into(),
                () = tokio::time::sleep(lifetime) => Cause::MaxAge.into(),
                end = first(&mut branches) => end,
            };
            // Before the last word, which nothing may follow.
            branches.shutdown().await;
            last_word(&out, end).await;
            drop(permit);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }
}

impl Options {
    fn lifetime(&self) -> Duration {
        self.age.saturating_sub(LAST_WORD.min(self.age / 10))
    }
}

impl Inner {
    /// The outboxes of these sources, in the same order.
    fn outboxes(&self, sources: &[EventSource]) -> Result<Vec<Outbox>, Refusal> {
        let not_here = |source| Refusal::new(Reason::EventsNotHere).with("source", name(source));
        let here = |source: &EventSource| {
            self.sources.get(source).cloned().ok_or_else(|| not_here(*source))
        };
        sources.iter().map(here).collect()
    }
}

impl From<Cause> for End {
    fn from(cause: Cause) -> Self {
        let cause = match cause {
            Cause::Shutdown => "SHUTDOWN",
            Cause::MaxAge => "MAX_AGE",
        };
        Self::Refused(Refusal::new(Reason::StreamEnded).with("cause", cause))
    }
}

/// Refuses a source that is named before.
fn each_once(sources: &[EventSource]) -> Result<(), Refusal> {
    for (index, source) in sources.iter().enumerate() {
        if sources.iter().take(index).any(|before| before == source) {
            let description = format!("names {} again", source.as_str_name());
            return Err(Refusal::invalid_field(&format!("sources[{index}]"), description));
        }
    }
    Ok(())
}

/// Why the first of them ended: with one source, its stream ends for all.
async fn first(branches: &mut JoinSet<End>) -> End {
    match branches.join_next().await {
        Some(Ok(end)) => end,
        Some(Err(error)) => {
            error!(%error, "a stream of events failed");
            Reason::Internal.into()
        }
        None => Reason::Internal.into(),
    }
}

async fn last_word(out: &mpsc::Sender<Answer>, end: End) {
    if let End::Refused(refusal) = end {
        // A client that does not hear it asks again by itself.
        let _ = out.send_timeout(Err(refusal.into()), LAST_WORD).await;
    }
}
