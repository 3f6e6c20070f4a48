//! The connections that a listener accepts: as many as it can hold, each of which must greet in time.
//!
//! A client that connects and says nothing holds a place for seconds. [`serving`](crate::serving) bounds the rest.

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
    time::{Sleep, sleep},
};

/// What a client of HTTP/2 sends first. Anything else is HTTP/1, where that is spoken.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

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

/// How long, and how much, a closed HTTP/1 connection is still read. A socket that is closed with unread bytes is reset, and
/// the client loses the answer, such as the one that says its request is too large.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1_048_576;

/// An open socket that accepts connections.
#[derive(Debug)]
pub(crate) struct Incoming {
    name: &'static str,
    listener: TcpListener,
    places: Arc<Semaphore>,
    greeting: Duration,
    is_full: bool,
}

/// An accepted connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    greeting: Greeting,
    /// Set up when the connection is closed for writing.
    linger: Option<Linger>,
    _place: OwnedSemaphorePermit,
}

/// What the client has said so far.
#[derive(Debug)]
enum Greeting {
    /// So many bytes of the preface, with the time until which the rest must come.
    Awaited(usize, Pin<Box<Sleep>>),
    Http2,
    Http1,
}

#[derive(Debug)]
struct Linger {
    until: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl Incoming {
    /// Opens the socket for so many `connections`, each of which must say which HTTP it speaks within `greeting`.
    pub(crate) fn bind(
        name: &'static str,
        address: SocketAddr,
        connections: usize,
        greeting: Duration,
    ) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A port that was served a moment ago is free.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let places = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        Ok(Self { name, listener, places, greeting, is_full: false })
    }

    /// Where it is.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection. No connection is lost when the future is dropped.
    pub(crate) async fn accept(&mut self) -> Connection {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) if is_of_the_client(&error) => continue,
                Err(error) => {
                    tracing::warn!(listener = self.name, %error, "cannot accept connections");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(place) = self.place() else { continue };
            if let Err(error) = tune(&stream) {
                tracing::debug!(listener = self.name, %error, "a connection keeps its defaults");
            }
            let greeting = Greeting::Awaited(0, Box::pin(sleep(self.greeting)));
            return Connection { stream, greeting, linger: None, _place: place };
        }
    }

    /// A place for one more connection. Nobody waits for one: a client that is refused at once can go elsewhere.
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

impl Greeting {
    /// Compares what came with the preface.
    fn hear(&mut self, bytes: &[u8]) {
        let Self::Awaited(heard, _) = self else { return };
        let awaited = PREFACE.get(*heard..).unwrap_or_default();
        if bytes.starts_with(awaited) {
            *self = Self::Http2;
        } else if awaited.starts_with(bytes) {
            *heard += bytes.len();
        } else {
            *self = Self::Http1;
        }
    }
}

impl Linger {
    fn begin() -> Self {
        Self { until: Box::pin(sleep(LINGER)), bytes_left: LINGER_BYTES }
    }

    /// Reads what still comes, until the client closes its side or has had time enough.
    fn poll(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [0; 8_192];
        while self.bytes_left > 0 {
            let mut read = ReadBuf::new(&mut space);
            match Pin::new(&mut *stream).poll_read(cx, &mut read) {
                Poll::Pending => return self.until.as_mut().poll(cx),
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    self.bytes_left = self.bytes_left.saturating_sub(read.filled().len());
                }
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(())
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
            self.greeting.hear(buf.filled().get(before..).unwrap_or_default());
            return polled;
        }
        let Greeting::Awaited(_, until) = &mut self.greeting else { return Poll::Pending };
        ready!(until.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "said nothing")))
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
        let Self { stream, greeting, linger, .. } = &mut *self;
        if linger.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
            // HTTP/2 ends a call that is not read to its end by itself.
            if !matches!(greeting, Greeting::Http1) {
                return Poll::Ready(Ok(()));
            }
        }
        linger.get_or_insert_with(Linger::begin).poll(stream, cx).map(Ok)
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn heard(parts: &[&[u8]]) -> Greeting {
        let mut greeting = Greeting::Awaited(0, Box::pin(sleep(Duration::ZERO)));
        for part in parts {
            greeting.hear(part);
        }
        greeting
    }

    #[tokio::test]
    async fn a_greeting_is_the_preface_of_http_2_or_http_1_however_it_is_cut() {
        let (begin, rest) = PREFACE.split_at(10);
        for whole in [&[PREFACE][..], &[begin, rest], &[begin, b"", rest, b"more"]] {
            assert!(matches!(heard(whole), Greeting::Http2), "{whole:?}");
        }
        let with_more = [PREFACE, b"more"].concat();
        assert!(matches!(heard(&[&with_more]), Greeting::Http2));
        for other in [&[&b"POST / HTTP/1.1\r\n"[..]][..], &[b"P", b"OST"], &[begin, b"x"]] {
            assert!(matches!(heard(other), Greeting::Http1), "{other:?}");
        }
        assert!(matches!(heard(&[begin]), Greeting::Awaited(10, _)));
    }

    #[tokio::test]
    async fn a_closed_connection_is_read_until_the_client_closes_it_too() {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut incoming = Incoming::bind("test", address, 1, Duration::from_mins(1)).unwrap();
        let mut client = TcpStream::connect(incoming.address().unwrap()).await.unwrap();
        let mut connection = incoming.accept().await;
        client.write_all(b"POST / HTTP/1.1\r\n").await.unwrap();
        connection.read_u8().await.unwrap();
        assert!(matches!(connection.greeting, Greeting::Awaited(1, _)));
        connection.read_u8().await.unwrap();
        assert!(matches!(connection.greeting, Greeting::Http1));
        client.write_all(&vec![0; 65_536]).await.unwrap();
        let closing = tokio::spawn(async move {
            connection.shutdown().await.unwrap();
            connection
        });
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0, "no more comes");
        client.write_all(b"more").await.unwrap();
        client.shutdown().await.unwrap();
        let connection = closing.await.unwrap();
        assert_eq!(connection.stream.try_read(&mut [0; 1]).unwrap(), 0, "all was read");
    }
}
