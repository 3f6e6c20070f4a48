//! Participants in another process: the same sagas over `RunSteps`, over a call for each step, and over answers that break
//! off.

use crate::refused::refused;
use crate::scenarios::{Case, cases};
use crate::shop::{Shop, Stage, patient};
use crate::unhealing::ends;
use api::checkout::v1::CheckoutState;
use api::saga::v1::{RunStepsRequest, RunStepsResponse};
use futures_util::future::join_all;
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use participant::{Steps, never_heals};
use platform::Transport;
use prost::Message;
use prost::bytes::Bytes;
use saga::transport::Remote;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::ServiceExt;

const RUN_STEPS: &str = "/commerce.saga.v1.SagaParticipantService/RunSteps";

/// The calls that end a saga without `RunSteps`: some of the actions, and what undoes them.
const UNARY: [&str; 4] = [
    "/commerce.order.v1.OrderParticipantService/ConfirmOrder",
    "/commerce.wallet.v1.WalletParticipantService/RefundWallet",
    "/commerce.saga.v1.SagaParticipantService/Compensate",
    "/commerce.saga.v1.SagaParticipantService/Void",
];

/// How often each path was called.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<String, usize>>>);

impl Seen {
    fn count(&self, path: &str) -> usize {
        self.0.lock().unwrap().get(path).copied().unwrap_or_default()
    }

    /// A connection whose calls are counted and then passed to `carry`.
    fn over<F>(
        &self,
        carry: impl Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    ) -> Transport
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let seen = self.clone();
        Transport::new(tower::service_fn(move |request: Request<Body>| {
            let path = request.uri().path().to_owned();
            *seen.0.lock().unwrap().entry(path).or_default() += 1;
            let carried = carry(request);
            async move { Ok::<_, Infallible>(carried.await) }
        }))
    }
}

/// A stage whose tested replica calls the participants over this connection.
async fn staged(shop: Shop, connection: Transport) -> Arc<Stage> {
    let node = shop.node_over(connection, patient()).await;
    Stage::of(shop, node).await
}

async fn pass(served: Transport, request: Request<Body>) -> Response<Body> {
    let Ok(response) = served.oneshot(request).await;
    response
}

/// A success, every refusal, and an abort of a saga in its case.
async fn ends_alike(stage: Arc<Stage>, case: Case) {
    for spoil in case.spoils() {
        let world = stage.spoiled(&case, spoil).await;
        refused(&stage, &case, spoil, &world).await;
    }
    if !case.is_pivot() {
        return;
    }
    let success = stage.success(&case).await;
    let world = stage.world(&case).await;
    let told = stage.ask(&world).await.unwrap();
    assert_eq!(told.state, CheckoutState::Succeeded, "{case}");
    assert_eq!(stage.shop.snapshot(&world).await, success, "{case}");

    let world = stage.world(&case).await;
    stage.shop.doom(&world, &case);
    ends(&stage, &case, &world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_end_alike_when_their_steps_travel_together() {
    let shop = Shop::start().await;
    let (seen, served) = (Seen::default(), shop.served.clone());
    let connection = seen.over(move |request| pass(served.clone(), request));
    let stage = staged(shop, connection).await;
    stage.each_case(ends_alike).await;
    assert!(seen.count(RUN_STEPS) > 0);
    for path in UNARY {
        assert_eq!(seen.count(path), 0, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_end_alike_at_a_participant_that_takes_one_step_a_call() {
    let shop = Shop::start().await;
    let (seen, served) = (Seen::default(), shop.served.clone());
    let connection = seen.over(move |request| {
        let served = served.clone();
        async move {
            if request.uri().path() == RUN_STEPS {
                return Status::unimplemented("an older program").into_http();
            }
            pass(served, request).await
        }
    });
    let stage = staged(shop, connection).await;
    stage.each_case(ends_alike).await;
    for path in UNARY.into_iter().chain([RUN_STEPS]) {
        assert!(seen.count(path) > 0, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_describes_itself_alike_over_a_connection() {
    let shop = Shop::start().await;
    let deadline = Instant::now() + Duration::from_secs(20);
    for participant in api::participants::ALL {
        let remote = Remote::new(participant.name, shop.served.clone());
        let described = remote.describe(deadline).await.unwrap();
        let methods: Vec<&str> = described.iter().map(|action| &*action.method).collect();
        let mut actions = participant.actions.to_vec();
        actions.sort_by_key(|action| action.method);
        let declared: Vec<&str> = actions.iter().map(|it| it.method).collect();
        assert_eq!(methods, declared, "{}", participant.name);
        for (action, declared) in described.iter().zip(actions) {
            assert_eq!(action.role, declared.role, "{}", action.method);
            assert_eq!(action.rejections, declared.rejections, "{}", action.method);
        }
    }
    let nobody = Remote::new("nobody", shop.served.clone());
    // Another replica may have it, so that no saga is given up for it.
    let status = nobody.describe(deadline).await.unwrap_err();
    assert!(!never_heals(status.code()), "{status:?}");
}

/// How answers break off, in turn. No status of a message says anything of its steps, though it would of a step's own call.
const BREAKS: [Option<Code>; 4] =
    [Some(Code::Unavailable), Some(Code::PermissionDenied), None, Some(Code::Internal)];
/// Messages of one step that are broken off. One that always is would never be heard.
const ALONE: usize = 12;

/// A connection that breaks answers off: of a message of several steps behind the first step's, of some of a single step
/// before it.
#[derive(Default)]
struct Breaking {
    several: AtomicUsize,
    alone: AtomicUsize,
}

impl Breaking {
    async fn carry(&self, served: Transport, request: Request<Body>) -> Response<Body> {
        if request.uri().path() != RUN_STEPS {
            return pass(served, request).await;
        }
        let (parts, body) = request.into_parts();
        let sent = body.collect().await.unwrap().to_bytes();
        let calls = RunStepsRequest::decode(unframed(&sent)).unwrap().calls.len();
        let request = Request::from_parts(parts, Body::new(Full::new(sent)));
        let response = pass(served, request).await;
        let count = if calls > 1 { &self.several } else { &self.alone };
        let before = count.fetch_add(1, Ordering::Relaxed);
        if calls == 1 && before >= ALONE {
            return response;
        }
        let (parts, mut body) = response.into_parts();
        let mut frames = Vec::new();
        if calls > 1 {
            let heard = body.frame().await.unwrap().unwrap().into_data().unwrap();
            frames.push(Frame::data(first_answer(&heard)));
        }
        // The participant goes on with what it began, and nobody hears of it.
        drop(body);
        if let Some(code) = BREAKS[before % BREAKS.len()] {
            let mut trailers = HeaderMap::new();
            Status::new(code, "broken off").add_header(&mut trailers).unwrap();
            frames.push(Frame::trailers(trailers));
        }
        let frames = stream::iter(frames.into_iter().map(Ok::<_, Infallible>));
        Response::from_parts(parts, Body::new(StreamBody::new(frames)))
    }
}

/// A message of gRPC without its flag and length, and without the messages behind it.
fn unframed(bytes: &Bytes) -> Bytes {
    let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
    bytes.slice(5..5 + usize::try_from(length).unwrap())
}

/// The first answer of the first message, as a message of its own.
fn first_answer(bytes: &Bytes) -> Bytes {
    let mut message = RunStepsResponse::decode(unframed(bytes)).unwrap();
    message.answers.truncate(1);
    let length = u32::try_from(message.encoded_len()).unwrap().to_be_bytes();
    [&[0][..], &length, &message.encode_to_vec()].concat().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_whose_answers_break_off_are_asked_again() {
    let shop = Shop::start().await;
    let breaking = Arc::new(Breaking::default());
    let (line, served) = (Arc::clone(&breaking), shop.served.clone());
    let connection = Seen::default().over(move |request| {
        let (line, served) = (Arc::clone(&line), served.clone());
        async move { line.carry(served, request).await }
    });
    let stage = staged(shop, connection).await;
    let scenarios: Vec<Case> = cases(&stage.node).into_iter().filter(Case::is_pivot).collect();
    let counts = || [&breaking.several, &breaking.alone].map(|it| it.load(Ordering::Relaxed));
    for round in 0.. {
        // So many at once that some of their steps share a message.
        let sagas = scenarios.iter().flat_map(|case| std::iter::repeat_n(case, 8));
        let sagas = sagas.map(|case| succeeds(&stage, case));
        join_all(sagas).await;
        let [several, alone] = counts();
        if several > 0 && alone > ALONE {
            break;
        }
        assert!(round < 20, "no message was broken off: {several}, {alone}");
    }
}

async fn succeeds(stage: &Stage, case: &Case) {
    let success = stage.success(case).await;
    let world = stage.world(case).await;
    let told = stage.ask(&world).await.unwrap();
    assert_eq!(told.state, CheckoutState::Succeeded, "{case}");
    assert_eq!(stage.shop.snapshot(&world).await, success, "{case}");
}
