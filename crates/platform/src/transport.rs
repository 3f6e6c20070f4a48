//! How services reach each other: one type for the same process and for another one, so that the
//! generated clients are the only way and a service cannot tell the difference.
//!
//! Both pass on the caller's trace, and as deadline what is left of the caller's own, or what the
//! request asks for if that is less (`Request::set_timeout`). A failure of the transport is an
//! error like any other: UNAVAILABLE, or `DEADLINE_EXCEEDED`, with its reason. The deadline is that of the whole answer,
//! streams included.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use api::{Reason, Refusal};
use http::{Request, Response, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::Instant;
use tonic::{
    body::Body,
    codegen::StdError,
    service::Routes,
    transport::{Channel, Endpoint},
};
use tower::{
    Layer, Service, ServiceExt,
    util::{BoxCloneSyncService, Oneshot},
};

use crate::{
    Chassis,
    bounded::Bounded,
    context::{self, CallContext},
    errors,
    incoming::TCP_USER_TIMEOUT,
};

/// What generated clients are made of: `WalletServiceClient::new(transport)`. Cheap to clone.
pub type Transport = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// After so long without a word a peer is asked whether it is there …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);

/// … and without an answer the connection is dropped after this time: within 7 s calls go on over a new one.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(4);

/// The same of the kernel, for connections that it believes to be there.
const TCP_KEEPALIVE: Duration = Duration::from_secs(10);
const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const TCP_KEEPALIVE_RETRIES: u32 = 3;

/// Calls that wait for a connection to take them.
const WAITING_CALLS: usize = 1_024;

/// Bytes under way to us of one answer, and on one connection.
const STREAM_WINDOW_BYTES: u32 = 1_048_576;
const CONNECTION_WINDOW_BYTES: u32 = 4_194_304;

/// Bytes of a frame: the least that HTTP/2 knows.
const FRAME_BYTES: u32 = 16_384;

/// The headers of an answer, which are all of an error.
const HEADER_LIST_BYTES: u32 = 65_536;

/// Errors of the protocol that one connection is forgiven.
const PROTOCOL_ERRORS: usize = 65_536;

/// Why there is no way to a peer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No address.
    #[error("no address")]
    NoAddress,
    /// Not an address like `http://wallet:50051`.
    #[error("not an address like http://wallet:50051: {0:?}")]
    Invalid(String),
}

/// Services of this process, without sockets, within the same chassis as those of a listener.
pub fn local(services: impl Into<Routes>, chassis: &Chassis) -> Transport {
    over(chassis.layer(services.into()))
}

/// A way of the caller's own making: each call carries its context's trace, and as deadline what is left of the time.
pub fn over<S>(way: S) -> Transport
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
    S::Error: Into<StdError>,
    S::Future: Send,
{
    Transport::new(Outgoing(way))
}

/// A peer at one or more addresses, with as many `connections` to each, at least one; calls go to
/// each in turn. Connects when it is first used, and again after a failure.
///
/// One connection is one TCP stream to one instance: two to four a peer, or one where a mesh
/// balances the calls.
///
/// # Errors
/// [`Error`] if there is no address or one is not valid.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn remote(addresses: &[impl AsRef<str>], connections: usize) -> Result<Transport, Error> {
    let endpoints = addresses.iter().map(|it| endpoint(it.as_ref()));
    let endpoints = endpoints.collect::<Result<Vec<_>, _>>()?;
    let rounds = std::iter::repeat_n(&endpoints, connections.max(1));
    let mut channels = rounds.flatten().map(connected);
    let first = channels.next().ok_or(Error::NoAddress)?;
    let next = Arc::new(AtomicUsize::new(0));
    Ok(over(InTurn { first, others: channels.collect(), next }))
}

fn endpoint(address: &str) -> Result<Endpoint, Error> {
    let invalid = || Error::Invalid(address.to_owned());
    let uri: Uri = address.parse().map_err(|_| invalid())?;
    if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
        return Err(invalid());
    }
    let endpoint = Endpoint::from(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .buffer_size(WAITING_CALLS)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .http2_max_header_list_size(HEADER_LIST_BYTES)
        .http2_max_local_error_reset_streams(PROTOCOL_ERRORS);
    Ok(endpoint)
}

/// tonic's own connector knows no `TCP_USER_TIMEOUT`.
fn connected(endpoint: &Endpoint) -> Channel {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    tcp.set_keepalive_interval(Some(TCP_KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(TCP_KEEPALIVE_RETRIES));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
    endpoint.connect_with_connector_lazy(tcp)
}

/// Passes the context on, and turns every failure into an error of ours.
#[derive(Clone, Debug)]
struct Outgoing<S>(S);

impl<S> Service<Request<Body>> for Outgoing<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Error: Into<StdError>,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // Outside of any call the request says itself how long it may take.
        let context = context::of_call().unwrap_or_else(|| CallContext::read(request.headers()));
        let budget = context.pass_on(request.headers_mut());
        let service = self.0.clone();
        Box::pin(async move {
            // A peer may stop in the middle of its answer.
            let until = Instant::now() + budget;
            if budget.is_zero() {
                return Ok(errors::response(Refusal::new(Reason::DeadlineExceeded)));
            }
            Ok(match tokio::time::timeout(budget, service.oneshot(request)).await {
                Ok(Ok(response)) => Bounded::wrap(response, until, Reason::DeadlineExceeded, None),
                Ok(Err(error)) => errors::response(errors::unreachable(&error.into())),
                Err(_elapsed) => errors::response(Refusal::new(Reason::DeadlineExceeded)),
            })
        })
    }
}

/// Channels, each in its turn.
#[derive(Clone, Debug)]
struct InTurn {
    first: Channel,
    others: Arc<[Channel]>,
    next: Arc<AtomicUsize>,
}

impl InTurn {
    fn take_next(&self) -> &Channel {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % (self.others.len() + 1);
        let other = turn.checked_sub(1).and_then(|index| self.others.get(index));
        other.unwrap_or(&self.first)
    }
}

impl Service<Request<Body>> for InTurn {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Oneshot<Channel, Request<Body>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.take_next().clone().oneshot(request)
    }
}
