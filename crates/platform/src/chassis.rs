//! What every call has around its handler, over a socket or in process.
//!
//! In this order: a context (trace, deadline) read from the headers; a look at whether this is a call at all; admission,
//! one limit over all connections; a task of its own, so that a caller who goes away does not tear a handler apart and a panic ends one call only; the deadline, at
//! which the caller is answered while the handler goes on; and errors that say why, whoever made them.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use api::{Reason, Refusal};
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::task::TaskTracker;
use tonic::{body::Body, codegen::StdError};
use tower::{Layer, Service};
use tracing::{Instrument, debug, error, info_span};

use crate::{
    bounded::Bounded,
    context::{self, CallContext},
    entry, errors,
};

/// Health must answer while everything else is turned away.
const EXEMPT: &str = "/grpc.health.v1.Health/";

/// Calls of every listener whose answers go on until somebody ends them: they have places of their own, for as long as
/// they go on. Streams of events have theirs in the service that sends them.
const STREAMS: [&str; 2] = ["/grpc.health.v1.Health/Watch", "/grpc.reflection."];

/// How much earlier than the deadline the caller is answered: the caller's own timer ends the call at the deadline, with an
/// error that says nothing. Of a short time, a tenth.
const BEFORE_DEADLINE: Duration = Duration::from_millis(5);

/// When a caller who was turned away may come back.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// What a chassis bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls at once, over all connections; one more is answered OVERLOADED. 4,096.
    pub max_calls: usize,
    /// Streams of health and reflection at once, over all connections; one more is answered OVERLOADED. 256.
    pub max_streams: usize,
    /// How long an answer may go on; then it ends as UNAVAILABLE, and the client begins again, maybe elsewhere. 10 min.
    pub max_answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_calls: 4_096, max_streams: 256, max_answer: Duration::from_mins(10) }
    }
}

/// The layer that puts services on the chassis. Clones share one limit.
#[derive(Clone, Debug)]
pub struct Chassis {
    admission: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    max_answer: Duration,
    tasks: TaskTracker,
}

/// A service on the chassis.
#[derive(Clone, Debug)]
pub struct Mounted<S> {
    service: S,
    chassis: Chassis,
}

impl Chassis {
    /// A chassis whose handlers run among `tasks`.
    pub fn new(limits: Limits, tasks: TaskTracker) -> Self {
        let Limits { max_calls, max_streams, max_answer } = limits;
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self { admission: places(max_calls), streams: places(max_streams), max_answer, tasks }
    }

    async fn serve<S>(&self, service: S, request: Request<Body>) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>> + Send + 'static,
        S::Error: Into<StdError>,
        S::Future: Send,
    {
        let started = Instant::now();
        let context = CallContext::read(request.headers());
        let span = info_span!("call", method = request.uri().path(), trace_id = %context.trace_id);
        let outcome = match entry::refused(&request) {
            Some(refused) => Ok(refused),
            None => self.run(service, request, context.clone()).instrument(span.clone()).await,
        };
        let _in_span = span.entered();
        let mut response = outcome.unwrap_or_else(errors::response);
        context.answer(response.headers_mut());
        let code = errors::code(&response);
        let latency_us = started.elapsed().as_micros();
        debug!(?code, latency_us, "answered");
        response
    }

    async fn run<S>(
        &self,
        mut service: S,
        request: Request<Body>,
        context: CallContext,
    ) -> Result<Response<Body>, Refusal>
    where
        S: Service<Request<Body>, Response = Response<Body>> + Send + 'static,
        S::Error: Into<StdError>,
        S::Future: Send,
    {
        let time_left = context.time_left();
        if time_left.is_zero() {
            return Err(Reason::DeadlineExceeded.into());
        }
        let answer_within = time_left.saturating_sub(BEFORE_DEADLINE.min(time_left / 10));
        let permit = Arc::clone(&self.admission).try_acquire_owned().ok();
        if permit.is_none() && !request.uri().path().starts_with(EXEMPT) {
            return Err(Refusal::overloaded(RETRY_AFTER));
        }
        let stream = self.stream(request.uri().path())?;
        let (request, arrival) = watch_arrival(request);
        let handler = async move {
            let response = service.call(request).await;
            drop(permit);
            response.map_err(|error| errors::unreachable(&error.into()))
        };
        let mut handler = self.tasks.spawn(context::scope(context, handler).in_current_span());
        match tokio::time::timeout(answer_within, &mut handler).await {
            Ok(Ok(answered)) => answered.map(|response| {
                let until = Instant::now() + self.max_answer;
                Bounded::wrap(errors::explained(response), until, Reason::Unavailable, stream)
            }),
            Ok(Err(failed)) => {
                error!(%failed, "handler did not end");
                Err(Reason::Internal.into())
            }
            Err(_) => {
                // Nothing has begun, and who never ends his request must not hold a place for ever.
                if arrival.is_pending() {
                    handler.abort();
                }
                Err(Reason::DeadlineExceeded.into())
            }
        }
    }
}

impl Chassis {
    /// The place of a stream, if the call is one of those that need it.
    fn stream(&self, path: &str) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
        if !STREAMS.iter().any(|start| path.starts_with(start)) {
            return Ok(None);
        }
        let place = Arc::clone(&self.streams).try_acquire_owned();
        place.map(Some).map_err(|_| Refusal::overloaded(RETRY_AFTER))
    }
}

/// Whether the request is still being read.
struct Arrival(Arc<()>);

impl Arrival {
    fn is_pending(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// tonic reads the whole request of a unary call, and drops its body, before the handler begins.
fn watch_arrival(request: Request<Body>) -> (Request<Body>, Arrival) {
    let arrival = Arc::new(());
    let reading = Arc::clone(&arrival);
    let watched = request.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _ = &reading;
            frame
        }))
    });
    (watched, Arrival(arrival))
}

impl<S> Layer<S> for Chassis {
    type Service = Mounted<S>;

    fn layer(&self, service: S) -> Mounted<S> {
        Mounted { service, chassis: self.clone() }
    }
}

impl<S> Service<Request<Body>> for Mounted<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Error: Into<StdError>,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Generated servers are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (service, chassis) = (self.service.clone(), self.chassis.clone());
        Box::pin(async move { Ok(chassis.serve(service, request).await) })
    }
}
