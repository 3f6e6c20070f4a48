//! How often each step was called, as the participants themselves count.

use http::{Request, Response};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

/// Calls by method, such as `DebitWallet`.
pub type Counts = BTreeMap<String, u64>;

/// The counts of one process. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls(Arc<Mutex<Counts>>);

/// A server whose calls are counted.
#[derive(Debug, Clone)]
pub(super) struct Counted<S> {
    server: S,
    calls: Calls,
}

impl Calls {
    /// A server whose calls count here.
    pub(super) fn of<S>(&self, server: S) -> Counted<S> {
        Counted { server, calls: self.clone() }
    }

    /// The counts as they are now.
    pub(super) fn counts(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, path: &str) {
        let method = path.rsplit('/').next().unwrap_or(path);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(method) {
            Some(count) => *count += 1,
            None => drop(counts.insert(method.to_owned(), 1)),
        }
    }
}

impl<S: NamedService> NamedService for Counted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.server.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        self.calls.count(request.uri().path());
        self.server.call(request)
    }
}
