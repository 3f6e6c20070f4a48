//! The wire between the orchestrator and its participants, which loses, doubles and delays what a test tells it to.
//!
//! Faults are aimed at one method of one saga, which the wire knows by the trace id that all calls of a saga carry.

use api::outcome::X_TRACE_ID;
use api::{Reason, Refusal};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use platform::Transport;
use prost::Message;
use prost::bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::ServiceExt;
use uuid::Uuid;

/// What happens to one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    delivery: Delivery,
    answer: Answer,
}

#[derive(Debug, Clone, Copy)]
enum Delivery {
    Never,
    Once,
    /// Two copies at once.
    Twice,
    /// Only when the test asks for it: a request that is late.
    Kept,
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    /// The participant's.
    Reply,
    /// An error that is not the participant's.
    Code(Code),
    /// A refusal in the participant's words, which is on no record.
    Unrecorded(Reason),
    /// None, ever.
    Silence,
}

impl Fault {
    const NONE: Self = Self { delivery: Delivery::Once, answer: Answer::Reply };
    /// The participant never hears of the call.
    pub(crate) const REQUEST_LOST: Self = Self::refused(Code::Unavailable);
    /// The participant did it, and the orchestrator does not know.
    pub(crate) const REPLY_LOST: Self = Self::done_and_refused(Code::Unavailable);
    /// The participant hears it twice at once.
    pub(crate) const DOUBLED: Self = Self { delivery: Delivery::Twice, answer: Answer::Reply };
    /// An error, and the request is still on its way.
    pub(crate) const DELAYED: Self =
        Self { delivery: Delivery::Kept, answer: Answer::Code(Code::Unavailable) };
    /// No answer, and the request is still on its way.
    pub(crate) const HUNG: Self = Self { delivery: Delivery::Kept, answer: Answer::Silence };
    /// No answer, though the participant did it.
    pub(crate) const DONE_AND_HUNG: Self =
        Self { delivery: Delivery::Once, answer: Answer::Silence };

    /// An error in place of the call.
    pub(crate) const fn refused(code: Code) -> Self {
        Self { delivery: Delivery::Never, answer: Answer::Code(code) }
    }

    /// A refusal that nobody recorded, in place of the call.
    pub(crate) const fn unrecorded(reason: Reason) -> Self {
        Self { delivery: Delivery::Never, answer: Answer::Unrecorded(reason) }
    }

    /// Whether the participant does it.
    pub(crate) fn is_done(self) -> bool {
        matches!(self.delivery, Delivery::Once | Delivery::Twice)
    }

    /// An error though the participant did it.
    pub(crate) const fn done_and_refused(code: Code) -> Self {
        Self { delivery: Delivery::Once, answer: Answer::Code(code) }
    }
}

/// A request as it was sent, to be sent again.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Packet {
    /// The same request for another saga.
    pub(crate) fn readdressed(&self, from: Uuid, to: Uuid) -> Self {
        let places = self.body.windows(16).enumerate().filter(|(_, it)| *it == from.as_bytes());
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        assert_eq!(places.len(), 1, "{} names its saga once", self.uri);
        let mut body = self.body.to_vec();
        body[places[0]..places[0] + 16].copy_from_slice(to.as_bytes());
        Self { body: body.into(), ..self.clone() }
    }

    fn request(self) -> Request<Body> {
        let mut request = Request::post(self.uri).body(Body::new(Full::new(self.body))).unwrap();
        *request.headers_mut() = self.headers;
        request
    }
}

/// A participant's answer, read to its end.
#[derive(Debug)]
pub(crate) struct Delivered {
    headers: HeaderMap,
    body: Bytes,
}

impl Delivered {
    /// What the answer says if it is no error.
    pub(crate) fn ok<M: Message + Default>(&self) -> Result<M, Status> {
        match Status::from_header_map(&self.headers) {
            Some(status) if status.code() != Code::Ok => Err(status),
            // Behind the frame's flag and length.
            _ => Ok(M::decode(self.body.clone().slice(5..)).unwrap()),
        }
    }

    /// The reason of an error.
    pub(crate) fn reason(&self) -> Option<Reason> {
        Refusal::from_status(&self.ok::<()>().err()?).map(|refusal| refusal.reason)
    }

    /// The value of a header or trailer.
    pub(crate) fn mark(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The wire, with what it saw. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Wire {
    participants: Transport,
    lines: Arc<Mutex<HashMap<(String, String), Line>>>,
}

/// One method of one saga.
#[derive(Default)]
struct Line {
    next: VecDeque<Fault>,
    always: Option<Fault>,
    sent: Vec<Packet>,
    kept: Vec<Packet>,
    answered: usize,
}

impl Wire {
    pub(crate) fn new(participants: Transport) -> Self {
        Self { participants, lines: Arc::default() }
    }

    /// What generated clients are made of.
    pub(crate) fn transport(&self) -> Transport {
        let wire = self.clone();
        platform::transport::over(tower::service_fn(move |request| {
            let wire = wire.clone();
            async move { Ok::<_, Infallible>(wire.carry(request).await) }
        }))
    }

    /// The next calls of a method go wrong, one after the other.
    pub(crate) fn next(&self, trace: &str, method: &str, faults: &[Fault]) {
        self.line(trace, method, |line| line.next.extend(faults));
    }

    /// Every call of a method goes wrong, after those that were told to.
    pub(crate) fn always(&self, trace: &str, method: &str, fault: Fault) {
        self.line(trace, method, |line| line.always = Some(fault));
    }

    /// No call of a method goes wrong any more.
    pub(crate) fn heal(&self, trace: &str, method: &str) {
        self.line(trace, method, |line| {
            line.always = None;
            line.next.clear();
        });
    }

    /// The calls of a method that the orchestrator made.
    pub(crate) fn sent(&self, trace: &str, method: &str) -> usize {
        self.line(trace, method, |line| line.sent.len())
    }

    /// The calls of a method that the participant answered, whoever heard it.
    pub(crate) fn answered(&self, trace: &str, method: &str) -> usize {
        self.line(trace, method, |line| line.answered)
    }

    /// The first call of a method.
    pub(crate) fn first(&self, trace: &str, method: &str) -> Packet {
        let first = self.line(trace, method, |line| line.sent.first().cloned());
        first.unwrap_or_else(|| panic!("{method} was never sent"))
    }

    /// The late calls of a method, which are on their way no more.
    pub(crate) fn take_kept(&self, trace: &str, method: &str) -> Vec<Packet> {
        self.line(trace, method, |line| std::mem::take(&mut line.kept))
    }

    /// Sends a request to its participant, with no fault in the way.
    pub(crate) async fn deliver(&self, packet: Packet) -> Delivered {
        let response = self.pass(packet.request()).await;
        let (mut parts, body) = response.into_parts();
        let body = body.collect().await.unwrap();
        parts.headers.extend(body.trailers().cloned().unwrap_or_default());
        Delivered { headers: parts.headers, body: body.to_bytes() }
    }

    fn line<T>(&self, trace: &str, method: &str, look: impl FnOnce(&mut Line) -> T) -> T {
        look(self.lines().entry((trace.to_owned(), method.to_owned())).or_default())
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<(String, String), Line>> {
        self.lines.lock().unwrap()
    }

    async fn pass(&self, request: Request<Body>) -> Response<Body> {
        let Ok(response) = self.participants.clone().oneshot(request).await;
        response
    }

    async fn carry(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let trace = parts.headers.get(X_TRACE_ID).map(|id| id.to_str().unwrap().to_owned());
        let trace = trace.unwrap_or_default();
        let method = parts.uri.path().rsplit('/').next().unwrap().to_owned();
        let body = body.collect().await.unwrap().to_bytes();
        let mut packet = Packet { uri: parts.uri, headers: parts.headers, body };
        let request = packet.clone().request();
        // A copy that comes late is not late by its own deadline.
        packet.headers.remove("grpc-timeout");
        let fault = self.line(&trace, &method, |line| {
            line.sent.push(packet.clone());
            line.next.pop_front().or(line.always).unwrap_or(Fault::NONE)
        });
        let reply = match fault.delivery {
            Delivery::Never => None,
            Delivery::Once => Some(self.pass(request).await),
            Delivery::Twice => {
                let both = tokio::join!(self.pass(request), self.pass(packet.request()));
                Some(both.0)
            }
            Delivery::Kept => {
                self.line(&trace, &method, |line| line.kept.push(packet));
                None
            }
        };
        if reply.is_some() {
            self.line(&trace, &method, |line| line.answered += 1);
        }
        match (fault.answer, reply) {
            (Answer::Reply, Some(reply)) => reply,
            (Answer::Code(code), _) => Status::new(code, "injected").into_http(),
            (Answer::Unrecorded(reason), _) => Status::from(Refusal::new(reason)).into_http(),
            (Answer::Silence | Answer::Reply, _) => std::future::pending().await,
        }
    }
}
