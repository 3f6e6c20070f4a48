//! Calls of a participant, each with a deadline, and repeated where the participant asks for it.

use saga_api::v1::saga_participant_service_client::SagaParticipantServiceClient;
use saga_api::v1::step_answer::Answer;
use saga_api::v1::{
    CompensateRequest, CompensateResponse, DescribeRequest, DescribeResponse, GetStepsRequest,
    GetStepsResponse, RaiseWatermarkRequest, RaiseWatermarkResponse, RunStepsRequest,
    RunStepsResponse, StepAnswer, StepCall, StepOutcome, StepRequest, VoidRequest, VoidResponse,
};
use std::time::Duration;
use tokio_stream::StreamExt;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// The deadline of a call.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(10);
/// What the server gets to answer after its deadline before the call is given up.
const GRACE: Duration = Duration::from_secs(2);
/// How often a call is sent, and the pause after the first time, which doubles.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Connections, so that calls meet in the participant and not before it.
const CONNECTIONS: usize = 4;

/// A participant's server.
pub(crate) struct Client {
    first: Channel,
    others: Vec<Channel>,
}

impl Client {
    /// Connects to `HOST:PORT` or a URI.
    pub(crate) async fn connect(address: &str) -> Result<Self, String> {
        let uri =
            if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let endpoint = Endpoint::from_shared(uri)
            .map_err(|error| format!("{address} is not an address: {error}"))?
            .connect_timeout(CALL_LIMIT);
        let first = connect(&endpoint).await?;
        let mut others = Vec::new();
        for _ in 1..CONNECTIONS {
            others.push(connect(&endpoint).await?);
        }
        Ok(Self { first, others })
    }

    /// The first connection.
    pub(crate) fn channel(&self) -> &Channel {
        &self.first
    }

    /// All connections.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &Channel> {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn saga(&self) -> SagaParticipantServiceClient<Channel> {
        SagaParticipantServiceClient::new(self.first.clone())
    }

    pub(crate) async fn describe(&self, request: &DescribeRequest) -> Told<DescribeResponse> {
        ask(|| {
            let (mut saga, request) = (self.saga(), timed(request));
            async move { saga.describe(request).await }
        })
        .await
    }

    pub(crate) async fn compensate(&self, request: &CompensateRequest) -> Told<CompensateResponse> {
        ask(|| {
            let (mut saga, request) = (self.saga(), timed(request));
            async move { saga.compensate(request).await }
        })
        .await
    }

    pub(crate) async fn void(&self, request: &VoidRequest) -> Told<VoidResponse> {
        ask(|| {
            let (mut saga, request) = (self.saga(), timed(request));
            async move { saga.void(request).await }
        })
        .await
    }

    pub(crate) async fn get_steps(&self, request: &GetStepsRequest) -> Told<GetStepsResponse> {
        ask(|| {
            let (mut saga, request) = (self.saga(), timed(request));
            async move { saga.get_steps(request).await }
        })
        .await
    }

    pub(crate) async fn raise_watermark(
        &self,
        request: &RaiseWatermarkRequest,
    ) -> Told<RaiseWatermarkResponse> {
        ask(|| {
            let (mut saga, request) = (self.saga(), timed(request));
            async move { saga.raise_watermark(request).await }
        })
        .await
    }

    /// Runs steps in one message; the answers are in the order of the calls. Those that are answered with a status that
    /// asks for it are sent again, together.
    pub(crate) async fn run_steps(&self, request: &RunStepsRequest) -> Told<Vec<Answer>> {
        let RunStepsRequest { participant, calls } = request;
        let mut answers: Vec<Option<Answer>> = vec![None; calls.len()];
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            let open: Vec<(usize, &StepCall)> = calls
                .iter()
                .enumerate()
                .zip(&answers)
                .filter(|(_, answer)| answer.as_ref().is_none_or(asks_again))
                .map(|(call, _)| call)
                .collect();
            if open.is_empty() && attempt > 1 {
                break;
            }
            if attempt > 1 {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            let (places, calls): (Vec<usize>, Vec<StepCall>) =
                open.into_iter().map(|(place, call)| (place, call.clone())).unzip();
            let message = RunStepsRequest { participant: participant.clone(), calls };
            let told = ask(|| {
                let (mut saga, message) = (self.saga(), timed(&message));
                async move { saga.run_steps(message).await }
            });
            let told = in_time(told.await?);
            let told = told.await?;
            if told.len() != places.len() {
                let (asked, got) = (places.len(), told.len());
                return Err(Status::unknown(format!("{asked} calls have {got} answers")));
            }
            for (place, answer) in places.into_iter().zip(told) {
                if let Some(slot) = answers.get_mut(place) {
                    *slot = Some(answer);
                }
            }
        }
        let all: Option<Vec<Answer>> = answers.into_iter().collect();
        all.ok_or_else(|| Status::unknown("a call was not answered"))
    }
}

/// What was answered, or the status.
pub(crate) type Told<T> = Result<T, Status>;

/// Calls an action.
pub(crate) async fn act(
    channel: &Channel,
    method: &str,
    request: &StepRequest,
) -> Told<StepOutcome> {
    let path = PathAndQuery::try_from(format!("/{method}"));
    let path = path.map_err(|_| Status::internal(format!("{method} is not a method")))?;
    ask(|| {
        let (mut grpc, path) = (Grpc::new(channel.clone()), path.clone());
        let request = timed(request);
        async move {
            ready(&mut grpc).await?;
            grpc.unary(request, path, ProstCodec::default()).await
        }
    })
    .await
}

/// Sends one message and answers with the stream of answers.
pub(crate) async fn streaming<Q, A>(
    channel: Channel,
    method: &'static str,
    request: Q,
) -> Told<Streaming<A>>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut grpc = Grpc::new(channel);
    ready(&mut grpc).await?;
    let request = Request::new(tokio_stream::iter([request]));
    let path = PathAndQuery::from_static(method);
    Ok(grpc.streaming(request, path, ProstCodec::default()).await?.into_inner())
}

async fn connect(endpoint: &Endpoint) -> Result<Channel, String> {
    let connected = endpoint.connect().await;
    connected.map_err(|error| format!("cannot connect to {}: {error:?}", endpoint.uri()))
}

async fn ready(grpc: &mut Grpc<Channel>) -> Told<()> {
    let ready = grpc.ready().await;
    ready.map_err(|error| Status::unavailable(format!("the connection is not ready: {error}")))
}

/// Says whether an engine would soon ask again after this status.
fn is_busy(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Aborted | Code::ResourceExhausted)
}

fn asks_again(answer: &Answer) -> bool {
    matches!(answer, Answer::Error(error) if is_busy(Code::from_i32(error.code)))
}

fn timed<T: Clone>(message: &T) -> Request<T> {
    let mut request = Request::new(message.clone());
    request.set_timeout(CALL_LIMIT);
    request
}

async fn ask<T, F>(call: impl Fn() -> F) -> Told<T>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let mut pause = FIRST_PAUSE;
    let mut attempt = 1;
    loop {
        let told = tokio::time::timeout(CALL_LIMIT + GRACE, call()).await;
        match told {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) if attempt == ATTEMPTS || !is_busy(status.code()) => {
                return Err(status);
            }
            Ok(Err(_)) => {}
            Err(_) => return Err(Status::deadline_exceeded("no answer 2 s after the deadline")),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
        attempt += 1;
    }
}

/// Reads the answers of a stream, in the order of the calls, before the deadline.
async fn in_time(stream: Streaming<RunStepsResponse>) -> Told<Vec<Answer>> {
    let read = tokio::time::timeout(CALL_LIMIT + GRACE, in_order(stream)).await;
    read.unwrap_or_else(|_| Err(Status::deadline_exceeded("the stream did not end in time")))
}

async fn in_order(mut stream: Streaming<RunStepsResponse>) -> Told<Vec<Answer>> {
    let mut answers = Vec::new();
    while let Some(message) = stream.next().await {
        answers.extend(message?.answers);
    }
    answers.sort_by_key(|answer: &StepAnswer| answer.call);
    let mut told = Vec::new();
    for (place, StepAnswer { call, answer }) in answers.into_iter().enumerate() {
        if usize::try_from(call) != Ok(place) {
            return Err(Status::unknown(format!(
                "call {place} was not answered exactly once: the next answer is for call {call}"
            )));
        }
        let answer = answer.ok_or_else(|| Status::unknown("an answer has no content"))?;
        told.push(answer);
    }
    Ok(told)
}
