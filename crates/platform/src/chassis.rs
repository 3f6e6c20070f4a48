//! What every call has around its handler, over a socket or in process.
//!
//! In this order: a context (trace, deadline) read from the headers; admission, one limit over all connections; a task of
//! its own, so that a caller who goes away does not tear a handler apart and a panic ends one call only; the deadline, at
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
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::task::TaskTracker;
use tonic::{body::Body, codegen::StdError};
use tower::{Layer, Service};
use tracing::{Instrument, debug, error, info_span};

use crate::{
    context::{self, CallContext},
    errors,
};

/// Health must answer while everything else is turned away.
const EXEMPT: &str = "/grpc.health.v1.Health/";

/// How much earlier than the deadline the caller is answered: tonic's own timer ends the call at the deadline, with an
/// error that says nothing.
const BEFORE_DEADLINE: Duration = Duration::from_millis(5);

/// When a caller who was turned away may come back.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// What a chassis bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls at once, over all connections; one more is answered OVERLOADED. 4,096.
    pub max_calls: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_calls: 4_096 }
    }
}

/// The layer that puts services on the chassis. Clones share one limit.
#[derive(Clone, Debug)]
pub struct Chassis {
    admission: Arc<Semaphore>,
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
        let permits = limits.max_calls.min(Semaphore::MAX_PERMITS);
        Self { admission: Arc::new(Semaphore::new(permits)), tasks }
    }

    async fn serve<S>(&self, mut service: S, request: Request<Body>) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>> + Send + 'static,
        S::Error: Into<StdError>,
        S::Future: Send,
    {
        let started = Instant::now();
        let context = CallContext::read(request.headers());
        let method = request.uri().path().to_owned();
        let span = info_span!("call", %method, trace_id = %context.trace_id);
        let permit = Arc::clone(&self.admission).try_acquire_owned().ok();
        if permit.is_none() && !method.starts_with(EXEMPT) {
            return answer(errors::response(Refusal::overloaded(RETRY_AFTER)), &context);
        }
        let handler = async move {
            let response = service.call(request).await;
            drop(permit);
            response.map_err(|error| errors::unreachable(&error.into()))
        };
        let handler = context::scope(context.clone(), handler).instrument(span.clone());
        let handler = self.tasks.spawn(handler);
        let answer_by = context.deadline.checked_sub(BEFORE_DEADLINE).unwrap_or(context.deadline);
        let response = match tokio::time::timeout_at(answer_by, handler).await {
            Ok(Ok(Ok(response))) => errors::explained(response),
            Ok(Ok(Err(refusal))) => errors::response(refusal),
            Ok(Err(failed)) => {
                span.in_scope(|| error!(%failed, "handler panicked"));
                errors::response(Refusal::from(Reason::Internal))
            }
            Err(_) => errors::response(Refusal::from(Reason::DeadlineExceeded)),
        };
        let code = errors::code(&response);
        let latency_us = started.elapsed().as_micros();
        span.in_scope(|| debug!(?code, latency_us, "answered"));
        answer(response, &context)
    }
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

fn answer(mut response: Response<Body>, context: &CallContext) -> Response<Body> {
    context.answer(response.headers_mut());
    response
}
