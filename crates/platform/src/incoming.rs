//! The connections that a listener takes: as many as it bears, each of which has to begin, to live and to end.
//!
//! A client that connects and says nothing, one that goes away without a word, and one that never reads hold a place for
//! seconds or, the last, for as long as a connection may live at most.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};
use tokio_stream::Stream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// What a client says first: the preface of HTTP/2.
const GREETING_BYTES: usize = 24;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// After an error of the listener, such as too many open files, before it tries again.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two signs of life that the kernel asks for, when nothing is said.
const TCP_KEEPALIVE: Duration = Duration::from_secs(10);
const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const TCP_KEEPALIVE_RETRIES: u32 = 3;

/// After which a connection whose bytes nobody acknowledges is broken.
pub(crate) const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long connections may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// To say that they speak HTTP/2.
    pub(crate) greeting: Duration,
    /// From then on, to end.
    pub(crate) life: Duration,
}

/// An open socket that accepts connections.
#[derive(Debug)]
pub(crate) struct Incoming {
    name: &'static str,
    listener: TcpListener,
    places: Arc<Semaphore>,
    times: Times,
    is_full: bool,
    pause: Option<Pin<Box<Sleep>>>,
}

/// An accepted connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// Bytes of the greeting that are still to come.
    greeting: usize,
    /// Until the greeting is over, then until the connection is.
    patience: Pin<Box<Sleep>>,
    life: Duration,
    _place: OwnedSemaphorePermit,
}

impl Incoming {
    /// Opens the socket.
    pub(crate) fn bind(
        name: &'static str,
        address: SocketAddr,
        connections: usize,
        times: Times,
    ) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A port that was served a moment ago is free.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let places = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        Ok(Self { name, listener, places, times, is_full: false, pause: None })
    }

    /// Where it is.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// A place for one more connection. Nobody waits for one: who is refused at once can go elsewhere.
    fn place(&mut self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        let is_full = place.is_none();
        if is_full && !self.is_full {
            tracing::warn!(listener = self.name, "as many connections as allowed: more are closed");
        }
        self.is_full = is_full;
        place
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let stream = match ready!(self.listener.poll_accept(cx)) {
                Ok((stream, _)) => stream,
                Err(error) if is_of_the_client(&error) => continue,
                Err(error) => {
                    tracing::warn!(listener = self.name, %error, "cannot accept connections");
                    self.pause = Some(Box::pin(sleep(PAUSE)));
                    continue;
                }
            };
            let Some(place) = self.place() else { continue };
            if let Err(error) = tune(&stream) {
                tracing::debug!(listener = self.name, %error, "a connection keeps its defaults");
            }
            return Poll::Ready(Some(Ok(Connection {
                stream,
                greeting: GREETING_BYTES,
                patience: Box::pin(sleep(self.times.greeting)),
                life: self.times.life,
                _place: place,
            })));
        }
    }
}

/// The connection failed, not the listener.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(TCP_KEEPALIVE)
        .with_interval(TCP_KEEPALIVE_INTERVAL)
        .with_retries(TCP_KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    Ok(())
}

impl Connection {
    fn count(&mut self, bytes: usize) {
        if self.greeting == 0 {
            return;
        }
        self.greeting = self.greeting.saturating_sub(bytes);
        if self.greeting == 0 {
            let end = Instant::now().checked_add(self.life);
            let far = || Instant::now() + Duration::from_hours(24 * 365);
            self.patience.as_mut().reset(end.unwrap_or_else(far));
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_ready() {
            self.count(buf.filled().len().saturating_sub(before));
            return polled;
        }
        ready!(self.patience.as_mut().poll(cx));
        let what = if self.greeting > 0 { "said nothing" } else { "outlived its life" };
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what)))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}
