//! A TCP proxy between two parts of the system that delays, cuts or swallows what passes.
//!
//! Swallowed bytes are read and discarded while both connections stay open: neither side can tell by its socket that the
//! other is gone. It is the fault that only deadlines find.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

const CHUNK: usize = 16 * 1024;

/// Where the proxy forwards to.
#[derive(Debug, Clone)]
enum Target {
    Socket(PathBuf),
    Address(String),
}

/// What becomes of a connection whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterLoss {
    /// Both sides are closed.
    Cut,
    /// Everything is swallowed from then on, in both directions.
    Swallow,
}

/// A proxy on a free port of the loopback interface. It ends, with all its connections, when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    upstream: String,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

struct Shared {
    target: Mutex<Target>,
    state: Mutex<State>,
    lost: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    delay: Duration,
    swallows_new: bool,
    refuses_new: bool,
    /// The next message of a client that contains these bytes is forwarded, but not its answer.
    loses: Option<(Vec<u8>, AfterLoss)>,
    links: Vec<Arc<Link>>,
}

/// One connection through the proxy.
struct Link {
    swallows: AtomicBool,
    /// 0: answers pass; 1: the next answer is dropped and the link cut; 2: dropped and swallowed from then on.
    loses: AtomicUsize,
    is_cut: watch::Sender<bool>,
}

impl Proxy {
    /// A proxy in front of the server that a URL names: `mysql://` or `redis://` with a port, `redis+unix://PATH`,
    /// `mysql://…?socket=PATH`, or plain `HOST:PORT`.
    pub async fn before(url: &str) -> Self {
        let shared = Arc::new(Shared {
            target: Mutex::new(target(url)),
            state: Mutex::default(),
            lost: watch::Sender::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound port has an address");
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, upstream: url.to_owned(), shared, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL that it was made for, by way of the proxy. The schema and the credentials stay.
    pub fn url(&self) -> String {
        self.url_of(&self.upstream)
    }

    /// Another URL of the same server, by way of the proxy.
    pub fn url_of(&self, url: &str) -> String {
        let address = self.address;
        if url.starts_with("redis") {
            return format!("redis://{address}");
        }
        let Some(rest) = url.strip_prefix("mysql://") else { return address.to_string() };
        let (credentials, place) = rest.rsplit_once('@').expect("a URL names its user");
        let (_, schema) = place.split_once('/').unwrap_or((place, ""));
        let schema = schema.split('?').next().unwrap_or_default();
        // Or the client would move over to the server's own socket.
        format!("mysql://{credentials}@{address}/{schema}?prefer_socket=false")
    }

    /// Lets everything pass at once again. Connections that were swallowed stay so.
    pub fn heal(&self) {
        let mut state = self.shared.lock();
        *state = State { links: std::mem::take(&mut state.links), ..State::default() };
    }

    /// Forwards connections to come to another server, named as in [`Proxy::before`]. Those that exist stay where they
    /// are: [`Proxy::cut`] ends them.
    pub fn retarget(&self, url: &str) {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = target(url);
    }

    /// Holds each chunk of bytes back for this long, in both directions.
    pub fn delay(&self, by: Duration) {
        self.shared.lock().delay = by;
    }

    /// Swallows everything on the connections that exist now; new ones work.
    pub fn swallow_existing(&self) {
        for link in &self.shared.lock().links {
            link.swallows.store(true, Ordering::SeqCst);
        }
    }

    /// Swallows everything on all connections, also on those to come, which are accepted.
    pub fn swallow_all(&self) {
        self.shared.lock().swallows_new = true;
        self.swallow_existing();
    }

    /// Closes the connections that exist now; new ones work.
    pub fn cut(&self) {
        for link in self.shared.lock().links.drain(..) {
            link.is_cut.send_replace(true);
        }
    }

    /// Closes all connections, and new ones as soon as they are accepted.
    pub fn cut_all(&self) {
        self.shared.lock().refuses_new = true;
        self.cut();
    }

    /// Forwards the next message of a client that contains these bytes (such as `COMMIT`), but not its answer: that is
    /// waited for and dropped.
    pub fn lose_answer_to(&self, bytes: &[u8], then: AfterLoss) {
        self.shared.lock().loses = Some((bytes.to_owned(), then));
    }

    /// How many answers were lost so far.
    pub fn answers_lost(&self) -> usize {
        *self.shared.lost.borrow()
    }

    /// Waits until so many answers were lost in all.
    pub async fn until_lost(&self, count: usize) {
        let mut lost = self.shared.lost.subscribe();
        lost.wait_for(|lost| *lost >= count).await.expect("the proxy lives");
    }

    /// Connections that are open through it.
    pub fn connections(&self) -> usize {
        self.shared.lock().links.len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn target(url: &str) -> Target {
    let socket = match url.split_once("socket=") {
        Some((head, path)) if !head.ends_with("prefer_") => path.split('&').next(),
        _ => url.strip_prefix("redis+unix://").or_else(|| url.strip_prefix("unix://")),
    };
    if let Some(socket) = socket {
        return Target::Socket(PathBuf::from(percent_decoded(socket)));
    }
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    Target::Address(place.split(['/', '?']).next().unwrap_or_default().to_owned())
}

fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2).expect("a URL encodes a byte in two digits");
        let byte = u8::from_str_radix(code, 16).expect("hexadecimal digits");
        decoded.push(char::from(byte));
        decoded.push_str(rest);
    }
    decoded
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let link = {
            let mut state = shared.lock();
            if state.refuses_new {
                continue;
            }
            let link = Arc::new(Link {
                swallows: AtomicBool::new(state.swallows_new),
                loses: AtomicUsize::new(0),
                is_cut: watch::Sender::new(false),
            });
            state.links.push(Arc::clone(&link));
            link
        };
        let _ = client.set_nodelay(true);
        tokio::spawn(forward(client, link, Arc::clone(&shared)));
    }
}

async fn forward(client: TcpStream, link: Arc<Link>, shared: Arc<Shared>) {
    let mut is_cut = link.is_cut.subscribe();
    let target = shared.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let passing = async {
        match &target {
            Target::Socket(path) => {
                let (down, up) = UnixStream::connect(path).await?.into_split();
                both_ways(client, down, up, &link, &shared).await
            }
            Target::Address(address) => {
                let server = TcpStream::connect(address).await?;
                server.set_nodelay(true)?;
                let (down, up) = server.into_split();
                both_ways(client, down, up, &link, &shared).await
            }
        }
    };
    // However it ends, both sockets are closed by being dropped.
    tokio::select! {
        _ = passing => {}
        _ = is_cut.wait_for(|is_cut| *is_cut) => {}
    }
    shared.lock().links.retain(|other| !Arc::ptr_eq(other, &link));
}

async fn both_ways(
    client: TcpStream,
    down: impl AsyncRead + Unpin,
    up: impl AsyncWrite + Unpin,
    link: &Link,
    shared: &Shared,
) -> io::Result<()> {
    let (from_client, to_client) = client.into_split();
    let asking = pin!(ask(from_client, up, link, shared));
    let answering = pin!(answer(down, to_client, link, shared));
    tokio::select! {
        ended = asking => ended,
        ended = answering => ended,
    }
}

/// From the client to the server.
async fn ask(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    link: &Link,
    shared: &Shared,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    // The end of what was forwarded before: what is looked for may be split over two chunks. It is too short to hold all of
    // it, or an earlier message would count.
    let mut seen = Vec::new();
    loop {
        let Some(bytes) = next(&mut from, &mut chunk, link, shared).await? else { return Ok(()) };
        seen.extend_from_slice(bytes);
        let kept = lose(link, shared, &seen);
        to.write_all(bytes).await?;
        seen.drain(..seen.len().saturating_sub(kept));
    }
}

/// Arms the link if this is the message whose answer is to be lost. Returns how many bytes at the end may be its beginning.
fn lose(link: &Link, shared: &Shared, seen: &[u8]) -> usize {
    let mut state = shared.lock();
    let Some((bytes, then)) = &state.loses else { return 0 };
    if bytes.is_empty() || !seen.windows(bytes.len()).any(|window| window == bytes.as_slice()) {
        return bytes.len().saturating_sub(1);
    }
    let code = if *then == AfterLoss::Cut { 1 } else { 2 };
    state.loses = None;
    link.loses.store(code, Ordering::SeqCst);
    0
}

/// From the server to the client.
async fn answer(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    link: &Link,
    shared: &Shared,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let Some(bytes) = next(&mut from, &mut chunk, link, shared).await? else { return Ok(()) };
        let loses = link.loses.swap(0, Ordering::SeqCst);
        if loses == 0 {
            to.write_all(bytes).await?;
            continue;
        }
        if loses == 2 {
            link.swallows.store(true, Ordering::SeqCst);
        }
        shared.lost.send_modify(|lost| *lost += 1);
        if loses == 1 {
            return Ok(());
        }
    }
}

/// The next bytes that are to pass; `None` at the end.
async fn next<'a>(
    from: &mut (impl AsyncRead + Unpin),
    chunk: &'a mut [u8],
    link: &Link,
    shared: &Shared,
) -> io::Result<Option<&'a [u8]>> {
    loop {
        let read = from.read(chunk).await?;
        if link.swallows.load(Ordering::SeqCst) {
            if read == 0 {
                // Whoever swallows does not pass on that one side is gone either.
                std::future::pending::<()>().await;
            }
            continue;
        }
        if read == 0 {
            return Ok(None);
        }
        let delay = shared.lock().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        // It may have been told to swallow meanwhile.
        if !link.swallows.load(Ordering::SeqCst) {
            return Ok(Some(chunk.get(..read).unwrap_or_default()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const A_WHILE: Duration = Duration::from_millis(300);

    /// A server that answers each message with itself.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn said(stream: &mut TcpStream, text: &str) -> io::Result<String> {
        stream.write_all(text.as_bytes()).await?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await?;
        Ok(String::from_utf8(answer).unwrap())
    }

    #[tokio::test]
    async fn swallowed_connections_stay_open_and_silent_while_new_ones_work() {
        let proxy = Proxy::before(&echo().await.to_string()).await;
        let mut old = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut old, "before").await.unwrap(), "before");
        proxy.swallow_existing();
        assert!(timeout(A_WHILE, said(&mut old, "lost")).await.is_err(), "it is silent");
        let mut new = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut new, "new").await.unwrap(), "new");
        proxy.heal();
        assert!(timeout(A_WHILE, said(&mut old, "lost")).await.is_err(), "it stays silent");
        proxy.cut();
        assert!(said(&mut new, "gone").await.is_err());
    }

    #[tokio::test]
    async fn an_answer_is_lost_once_and_its_message_has_arrived() {
        let proxy = Proxy::before(&echo().await.to_string()).await;
        let mut one = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut one, "COMMIT").await.unwrap(), "COMMIT");
        proxy.lose_answer_to(b"COMMIT", AfterLoss::Cut);
        assert_eq!(said(&mut one, "BEGIN").await.unwrap(), "BEGIN");
        assert!(said(&mut one, "INSERT; COMMIT").await.is_err());
        proxy.until_lost(1).await;
        let mut two = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut two, "COMMIT").await.unwrap(), "COMMIT");
        assert_eq!(proxy.answers_lost(), 1);
    }

    #[tokio::test]
    async fn connections_to_come_go_to_the_new_server_and_those_that_exist_stay() {
        let proxy = Proxy::before(&echo().await.to_string()).await;
        let mut old = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut old, "before").await.unwrap(), "before");
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        proxy.retarget(&other.local_addr().unwrap().to_string());
        let _new = TcpStream::connect(proxy.address()).await.unwrap();
        timeout(Duration::from_secs(10), other.accept()).await.unwrap().unwrap();
        assert_eq!(said(&mut old, "after").await.unwrap(), "after");
        proxy.cut();
        assert!(said(&mut old, "gone").await.is_err());
    }

    #[test]
    fn servers_are_known_by_their_urls() {
        let found = |url: &str| format!("{:?}", target(url));
        assert_eq!(found("mysql://root@h:1/s?prefer_socket=false"), r#"Address("h:1")"#);
        assert_eq!(found("mysql://root@localhost/s?socket=/a%20b"), r#"Socket("/a b")"#);
        assert_eq!(found("redis+unix:///r"), r#"Socket("/r")"#);
        assert_eq!(found("redis://127.0.0.1:7/"), r#"Address("127.0.0.1:7")"#);
        assert_eq!(found("127.0.0.1:7"), r#"Address("127.0.0.1:7")"#);
    }
}
