//! Serves the connections of a listener: HTTP/2, and beside it HTTP/1 where pages may call.
//!
//! A client may be slow, silent or hostile. A connection ends when it does not greet in time, when it does not answer a PING
//! or, on HTTP/1, does not send the headers of a request in time, when it breaks the protocol too often, and at the latest
//! when its life is over, however busy it is.

use std::{convert::Infallible, pin::pin, time::Duration};

use http::{Request, Response};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::time::{sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;
use tower::{Service, ServiceExt};

use crate::{context::LONGEST_DEADLINE, incoming::Incoming, server::Settings};

/// After so long without a word the server asks a client whether it is there …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// … and ends the connection without an answer after this time.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest header list that is read: twice what a call may have, so that a call with too much is told so. Above it the
/// answer is a bare 431. HTTP/2 ends the connection above four times as much, HTTP/1 with the 431.
const HEADER_LIST_BYTES: u32 = 131_072;

/// The same for HTTP/1, where it also bounds what one connection buffers in each direction.
const HTTP1_BUFFER_BYTES: usize = 131_072;

/// Calls that a client may have taken back before the server has looked at them, for each call that it may have in flight,
/// and at least so many: more in one burst is a flood, and ends the connection.
const RESETS_PER_STREAM: usize = 4;
const LEAST_RESETS: usize = 1_024;

/// Errors of the protocol that one connection is forgiven in its life. Calls beyond [`Settings::max_streams`] count, and so
/// do messages of calls that were refused before they had come: a busy client makes many without any fault of its own.
const PROTOCOL_ERRORS: usize = 65_536;

/// Bytes of one call, and of one connection, that may be under way to the server: the largest message, and some of them.
const STREAM_WINDOW_BYTES: u32 = 262_144 + 4_096;
const CONNECTION_WINDOW_BYTES: u32 = 1_048_576;

/// Bytes of a frame: the least that HTTP/2 knows.
const FRAME_BYTES: u32 = 16_384;

/// What connections speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/2 with prior knowledge: any other connection ends.
    Http2,
    /// The same, or HTTP/1.
    Any,
}

/// How connections are served.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    builder: Builder<TokioExecutor>,
    /// When a connection is asked to end.
    age: Duration,
    /// When it is cut.
    life: Duration,
}

/// Serves connections until `stop`; then accepts no more, asks those that are open to end, and waits for that.
///
/// Connections are tasks of their own: when the future is dropped they go on.
pub(crate) async fn serve<S>(
    mut incoming: Incoming,
    terms: Terms,
    service: S,
    stop: CancellationToken,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let connections = TaskTracker::new();
    while let Some(connection) = stop.run_until_cancelled(incoming.accept()).await {
        let service = service.clone().map_request(|request: Request<_>| request.map(Body::new));
        let (Terms { builder, age, life }, stop) = (terms.clone(), stop.clone());
        connections.spawn(async move {
            let service = TowerToHyperService::new(service);
            let connection = builder.serve_connection(TokioIo::new(connection), service);
            let mut connection = pin!(connection);
            let served = async {
                tokio::select! {
                    ended = &mut connection => return ended,
                    () = sleep(age) => {}
                    () = stop.cancelled() => {}
                }
                connection.as_mut().graceful_shutdown();
                connection.await
            };
            match timeout(life, served).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(error = &*error, "connection failed"),
                Err(_) => tracing::debug!("connection outlived its life"),
            }
        });
    }
    // The port is free at once: a client that comes now is refused instead of waiting.
    drop(incoming);
    connections.close();
    connections.wait().await;
}

impl Terms {
    pub(crate) fn new(protocol: Protocol, settings: Settings) -> Self {
        let age = settings.max_connection_age;
        // No call and no answer outlives it: an answer that began as the connection was asked to end goes on as long again.
        let life = age.saturating_mul(2).saturating_add(LONGEST_DEADLINE);
        Self { builder: builder(protocol, settings), age, life }
    }
}

fn builder(protocol: Protocol, settings: Settings) -> Builder<TokioExecutor> {
    let streams = usize::try_from(settings.max_streams).unwrap_or(usize::MAX);
    let resets = streams.saturating_mul(RESETS_PER_STREAM).max(LEAST_RESETS);
    let mut builder = Builder::new(TokioExecutor::new());
    if protocol == Protocol::Http2 {
        builder = builder.http2_only();
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.max_streams)
        .max_pending_accept_reset_streams(resets)
        .max_local_error_reset_streams(PROTOCOL_ERRORS)
        .max_header_list_size(HEADER_LIST_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
        .http1()
        .timer(TokioTimer::new())
        // From the end of the last answer to that of the next headers: a connection is not idle for longer either.
        .header_read_timeout(settings.greeting)
        .max_buf_size(HTTP1_BUFFER_BYTES);
    builder
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };
    use tonic::Status;

    use super::*;

    #[tokio::test]
    async fn a_connection_whose_answer_never_ends_is_cut_when_its_life_is_over() {
        let soon = Duration::from_millis(200);
        let settings = Settings { max_connection_age: soon, ..Settings::default() };
        let terms = Terms { life: 2 * soon, ..Terms::new(Protocol::Any, settings) };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let incoming = Incoming::bind("test", address, 1, Duration::from_mins(1)).unwrap();
        let address = incoming.address().unwrap();
        let endless = tower::service_fn(|_: Request<Body>| async {
            let frames = tokio_stream::pending::<Result<Frame<Bytes>, Status>>();
            Ok(Response::new(Body::new(StreamBody::new(frames))))
        });
        tokio::spawn(serve(incoming, terms, endless, CancellationToken::new()));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let cut = timeout(Duration::from_mins(1), client.read_to_end(&mut answer)).await;
        assert!(cut.is_ok(), "the connection goes on");
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        assert!(!answer.ends_with(b"0\r\n\r\n"), "the answer was not over");
    }
}
