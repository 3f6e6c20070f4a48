//! HTTP/1 byte by byte, and the frames of gRPC-Web, for what no client of a library does or shows.

use std::net::SocketAddr;

use api::ranking::v1::ListTopProductsResponse;
use http::{HeaderMap, HeaderName, HeaderValue};
use platform::server::Settings;
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::Status;

use crate::stub::{METHOD, ORIGIN, Stub, serve_web, soon};

/// What a page sends by itself.
pub(crate) const WEB: &str = "content-type: application/grpc-web+proto\r\n";

/// A message of no bytes.
pub(crate) const EMPTY: [u8; 5] = [0; 5];

/// The flag of the frame that has the trailers.
const TRAILERS: u8 = 0x80;

/// A connection.
pub(crate) struct Http1 {
    stream: TcpStream,
    /// Bytes that came after what was read last.
    rest: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Http1 {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), rest: Vec::new() }
    }

    /// Sends bytes, to a server that may hang up in the middle.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await;
    }

    /// As [`send`](Self::send); whether the server took the bytes.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        soon(self.stream.write_all(bytes.as_ref())).await.is_ok()
    }

    /// A call of the one method of the stub, and its answer.
    pub(crate) async fn call(&mut self, headers: &str, body: &[u8]) -> Answer {
        self.send(post(headers, body)).await;
        self.answer().await.expect("an answer")
    }

    /// The next answer; `None` when the connection ends before it does.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        let head = String::from_utf8(self.until(b"\r\n\r\n").await?).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
        let headers: HeaderMap = lines.filter(|line| !line.is_empty()).map(header).collect();
        let body = match headers.get("content-length") {
            Some(length) => self.take(length.to_str().unwrap().parse().unwrap()).await?,
            None => self.chunks().await?,
        };
        Some(Answer { status, headers, body })
    }

    /// Waits for the end of the connection; what comes before it.
    pub(crate) async fn end(&mut self) -> Vec<u8> {
        while self.more().await.is_some() {}
        std::mem::take(&mut self.rest)
    }

    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend(chunk);
        }
        Some(body)
    }

    /// The next chunk, or `None` inside for the last.
    pub(crate) async fn chunk(&mut self) -> Option<Option<Vec<u8>>> {
        let size = String::from_utf8(self.until(b"\r\n").await?).unwrap();
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let mut chunk = self.take(size + 2).await?;
        chunk.truncate(size);
        Some((size > 0).then_some(chunk))
    }

    /// Reads to the end of an answer's headers.
    pub(crate) async fn head(&mut self) -> Option<String> {
        Some(String::from_utf8(self.until(b"\r\n\r\n").await?).unwrap())
    }

    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.rest.windows(end.len()).position(|window| window == end) {
                return self.take(at + end.len()).await;
            }
            self.more().await?;
        }
    }

    async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.rest.len() < count {
            self.more().await?;
        }
        let rest = self.rest.split_off(count);
        Some(std::mem::replace(&mut self.rest, rest))
    }

    async fn more(&mut self) -> Option<()> {
        let count = soon(self.stream.read_buf(&mut self.rest)).await.unwrap_or(0);
        (count > 0).then_some(())
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"));
        value.to_str().unwrap()
    }

    /// The headers by which a browser shows the answer to a page.
    pub(crate) fn cors(&self) -> Vec<&str> {
        let names = self.headers.keys().map(HeaderName::as_str);
        names.filter(|name| name.starts_with("access-control-")).collect()
    }

    /// The status: in the headers when there is nothing but that, else in the last frame.
    pub(crate) fn grpc_status(&self) -> Status {
        let in_headers = Status::from_header_map(&self.headers);
        in_headers.unwrap_or_else(|| Status::from_header_map(&self.trailers()).unwrap())
    }

    /// The messages.
    pub(crate) fn messages(&self) -> Vec<Vec<u8>> {
        let frames = frames(&self.body).into_iter();
        frames.filter(|(flag, _)| *flag == 0).map(|(_, message)| message).collect()
    }

    /// The trailers in the last frame.
    pub(crate) fn trailers(&self) -> HeaderMap {
        let (flag, last) = frames(&self.body).pop().expect("a frame");
        assert_eq!(flag, TRAILERS);
        let text = String::from_utf8(last).unwrap();
        text.split("\r\n").filter(|line| !line.is_empty()).map(header).collect()
    }
}

/// The header that names a page's origin.
pub(crate) fn origin(origin: &str) -> String {
    format!("origin: {origin}\r\n")
}

/// What a page of an allowed origin sends.
pub(crate) fn allowed() -> String {
    format!("{WEB}{}", origin(ORIGIN))
}

/// Connects to a server of this stub that pages may call.
pub(crate) async fn connect(settings: Settings, stub: &Stub) -> Http1 {
    Http1::connect(serve_web(settings, stub).await).await
}

/// The name in an answer of the stub.
pub(crate) fn only_name(message: &[u8]) -> String {
    let answer = ListTopProductsResponse::decode(message).unwrap();
    answer.products.into_iter().map(|product| product.name).collect()
}

/// A call of the one method of the stub.
pub(crate) fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {METHOD} HTTP/1.1\r\nhost: shop\r\n{headers}");
    [format!("{head}content-length: {length}\r\n\r\n").as_bytes(), body].concat()
}

/// A chunk of a body whose length is not told.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// The frames of a body, each with its flag.
pub(crate) fn frames(mut body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [flag, a, b, c, d, rest @ ..] = body {
        let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap();
        frames.push((*flag, rest[..length].to_vec()));
        body = &rest[length..];
    }
    assert!(body.is_empty(), "half a frame: {body:?}");
    frames
}

fn header(line: &str) -> (HeaderName, HeaderValue) {
    let (name, value) = line.split_once(':').unwrap();
    (name.parse().unwrap(), value.trim().parse().unwrap())
}
