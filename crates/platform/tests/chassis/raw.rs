//! HTTP/2 frame by frame, for what no client of a library does.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;

const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection.
pub(crate) struct Raw(TcpStream);

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Raw {
    /// Connects and greets.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut raw = Self(TcpStream::connect(address).await.unwrap());
        raw.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
        raw
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// As [`send`](Self::send), to a server that may hang up in the middle.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        if frame.kind == SETTINGS && frame.flags & ACK == 0 {
            self.try_send(&self::frame(SETTINGS, ACK, 0, &[])).await;
        }
        Some(frame)
    }

    /// Reads until a frame is as wanted, or is the last.
    pub(crate) async fn find(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// Waits until the server has looked at all that was sent.
    pub(crate) async fn ping(&mut self) -> Option<()> {
        self.send(&frame(PING, 0, 0, &[7; 8])).await;
        let answer = self.find(|frame| matches!(frame.kind, PING | GOAWAY)).await?;
        (answer.kind == PING).then_some(())
    }
}

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The headers of a call whose message is still to come.
pub(crate) fn begun(stream: u32, path: &str) -> Vec<u8> {
    let literal = |first: &[u8], text: &str| {
        [first, &[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    };
    let name = literal(&[0], "content-type");
    // `:method: POST` and `:scheme: http` are in HPACK's own table, as are the names of the next two.
    let block = [
        vec![0x83, 0x86],
        literal(&[0x04], path),
        literal(&[0x01], "test"),
        literal(&name, "application/grpc"),
    ];
    frame(HEADERS, END_HEADERS, stream, &block.concat())
}

/// A whole call, its message empty.
pub(crate) fn call(stream: u32, path: &str) -> Vec<u8> {
    [begun(stream, path), frame(DATA, END_STREAM, stream, &[0; 5])].concat()
}

/// A call that is taken back before its message has come.
pub(crate) fn cancelled(stream: u32, path: &str) -> Vec<u8> {
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    [begun(stream, path), frame(RST_STREAM, 0, stream, &CANCEL)].concat()
}
