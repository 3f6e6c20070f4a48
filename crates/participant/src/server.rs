//! The participants of a process over gRPC: `SagaParticipantService`, and the actions as calls of their own.

use crate::steps::{CallKind, StepAnswer, StepCall, Steps};
use crate::{SagaId, Trace, wire};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use http::{HeaderMap, Request as HttpRequest, Response as HttpResponse};
use saga_api::Participant;
use saga_api::v1::saga_participant_service_server::{
    SagaParticipantService, SagaParticipantServiceServer,
};
use saga_api::v1::{
    self, CompensateRequest, CompensateResponse, DescribeRequest, DescribeResponse,
    GetStepsRequest, GetStepsResponse, RaiseWatermarkRequest, RaiseWatermarkResponse,
    RunStepsRequest, RunStepsResponse, StepKey, StepOutcome, StepRequest, VoidRequest,
    VoidResponse,
};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::codec::{CompressionEncoding, EnabledCompressionEncodings};
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tracing::{Instrument, debug, error, info_span};

/// The largest message that is accepted: 256 KiB.
pub const MAX_MESSAGE_BYTES: usize = 262_144;
/// The largest answer that is sent: 4 MiB.
const MAX_ANSWER_BYTES: usize = 4_194_304;
/// The most steps of one message. Their replies fit an answer.
pub const MAX_CALLS: usize = 512;
/// The most sagas that are asked for at once.
const MAX_SAGAS: usize = 16;
/// What a caller gets who names no deadline, and the most that is honoured.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);
const LONGEST_DEADLINE: Duration = Duration::from_mins(1);

/// The participants of this process.
#[derive(Clone)]
pub struct SagaParticipants {
    participants: Arc<BTreeMap<String, Arc<dyn Steps>>>,
    /// Steps that came with others and are not answered.
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl SagaParticipants {
    /// Serves these, `max_calls` steps at once over all messages; one more is answered `RESOURCE_EXHAUSTED`.
    pub fn new(
        participants: impl IntoIterator<Item = Arc<dyn Steps>>,
        max_calls: usize,
        tasks: TaskTracker,
    ) -> Self {
        let named = |steps: Arc<dyn Steps>| (steps.name().to_owned(), steps);
        Self {
            participants: Arc::new(participants.into_iter().map(named).collect()),
            places: Arc::new(Semaphore::new(max_calls.min(Semaphore::MAX_PERMITS))),
            tasks,
        }
    }

    /// The service.
    pub fn server(self) -> SagaParticipantServiceServer<Self> {
        SagaParticipantServiceServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_ANSWER_BYTES)
            .accept_compressed(CompressionEncoding::Gzip)
    }

    fn find(&self, name: &str) -> Result<Arc<dyn Steps>, Status> {
        if name.is_empty() {
            return Err(Status::invalid_argument("participant is required"));
        }
        // Another replica may have it.
        let found = self.participants.get(name).cloned();
        found.ok_or_else(|| Status::not_found(format!("no participant {name} here")))
    }
}

#[async_trait]
impl SagaParticipantService for SagaParticipants {
    type RunStepsStream = ReceiverStream<Result<RunStepsResponse, Status>>;

    async fn describe(
        &self,
        request: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        let deadline = deadline(request.metadata().as_ref());
        let actions = self.find(&request.get_ref().participant)?.describe(deadline).await?;
        let actions = actions.into_iter().map(wire::to_action).collect();
        Ok(Response::new(DescribeResponse { actions }))
    }

    async fn compensate(
        &self,
        request: Request<CompensateRequest>,
    ) -> Result<Response<CompensateResponse>, Status> {
        let steps = self.find(&request.get_ref().participant)?;
        let headers = request.metadata().as_ref();
        let key = request.get_ref().key.as_ref();
        match steps.run(call(key, CallKind::Compensate, headers)?).await? {
            StepAnswer::Found { found, recorded } => {
                Ok(Response::new(wire::to_compensated(found, &recorded)))
            }
            StepAnswer::Acted(_) => {
                Err(Status::internal("a compensation was answered as an action"))
            }
        }
    }

    async fn void(&self, request: Request<VoidRequest>) -> Result<Response<VoidResponse>, Status> {
        let steps = self.find(&request.get_ref().participant)?;
        let headers = request.metadata().as_ref();
        let VoidRequest { key, reason, .. } = request.get_ref();
        match steps.run(call(key.as_ref(), wire::void(reason.clone())?, headers)?).await? {
            StepAnswer::Found { found, recorded } => {
                Ok(Response::new(wire::to_voided(found, recorded)))
            }
            StepAnswer::Acted(_) => Err(Status::internal("a void was answered as an action")),
        }
    }

    async fn run_steps(
        &self,
        request: Request<RunStepsRequest>,
    ) -> Result<Response<Self::RunStepsStream>, Status> {
        let RunStepsRequest { participant, calls } = request.into_inner();
        let steps = self.find(&participant)?;
        if calls.is_empty() || calls.len() > MAX_CALLS {
            return Err(Status::invalid_argument(format!("calls must be 1 to {MAX_CALLS}")));
        }
        // There are no more messages than calls: no caller who stops reading keeps the others' answers from being made.
        let (sender, receiver) = mpsc::channel(calls.len());
        let places = Arc::clone(&self.places);
        let answers: FuturesUnordered<_> = calls
            .into_iter()
            .enumerate()
            .map(|(place, call)| answer(Arc::clone(&steps), Arc::clone(&places), place, call))
            .collect();
        // In a task of its own: what was begun is finished though the caller goes away.
        self.tasks.spawn(async move {
            let mut answers = answers.ready_chunks(MAX_CALLS);
            let mut is_heard = true;
            while let Some(answers) = answers.next().await {
                if is_heard {
                    is_heard = sender.send(Ok(RunStepsResponse { answers })).await.is_ok();
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn get_steps(
        &self,
        request: Request<GetStepsRequest>,
    ) -> Result<Response<GetStepsResponse>, Status> {
        let deadline = deadline(request.metadata().as_ref());
        let GetStepsRequest { participant, saga_ids } = request.into_inner();
        let steps = self.find(&participant)?;
        if saga_ids.is_empty() || saga_ids.len() > MAX_SAGAS {
            return Err(Status::invalid_argument(format!("saga_ids must be 1 to {MAX_SAGAS}")));
        }
        let sagas = saga_ids.iter().map(|id| wire::saga_id("saga_ids", id));
        let sagas = sagas.collect::<Result<BTreeSet<SagaId>, Status>>()?;
        let mut records = Vec::new();
        for saga in sagas {
            records.extend(steps.recorded(saga, deadline).await?.into_iter().map(wire::to_record));
        }
        Ok(Response::new(GetStepsResponse { records }))
    }

    async fn raise_watermark(
        &self,
        request: Request<RaiseWatermarkRequest>,
    ) -> Result<Response<RaiseWatermarkResponse>, Status> {
        let deadline = deadline(request.metadata().as_ref());
        let RaiseWatermarkRequest { participant, watermark } = request.into_inner();
        let steps = self.find(&participant)?;
        let to = wire::saga_id("watermark", &watermark)?;
        let watermark = steps.raise_watermark(to, deadline).await?.0.to_vec();
        Ok(Response::new(RaiseWatermarkResponse { watermark }))
    }
}

/// Answers one of many steps. One that panics says nothing about its outcome, and ends no other.
async fn answer(
    steps: Arc<dyn Steps>,
    places: Arc<Semaphore>,
    place: usize,
    call: v1::StepCall,
) -> v1::StepAnswer {
    let is_void = matches!(call.call, Some(v1::step_call::Call::Void(_)));
    let answered = async {
        let _place = places
            .try_acquire()
            .map_err(|_| Status::resource_exhausted("too many steps at once; try again later"))?;
        let call = wire::of_call(call)?;
        let began = Instant::now();
        let span = info_span!("step", method = call.kind.name(), trace_id = %call.trace.trace_id);
        let run = async {
            let deadline = call.deadline;
            let run = AssertUnwindSafe(steps.run(call)).catch_unwind();
            let answer = match tokio::time::timeout_at(deadline, run).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => {
                    error!("a step panicked");
                    Err(Status::internal("the step failed"))
                }
                Err(_) => Err(Status::deadline_exceeded("the step was not answered in time")),
            };
            debug!(
                outcome = outcome_name(&answer),
                latency_us = began.elapsed().as_micros(),
                "answered"
            );
            answer
        };
        run.instrument(span).await
    };
    wire::to_answer(place, is_void, answered.await)
}

/// What an answer is called in logs.
fn outcome_name(answer: &Result<StepAnswer, Status>) -> String {
    match answer {
        Ok(StepAnswer::Acted(reply)) => match reply {
            crate::ActReply::Done(_) => "done".to_owned(),
            crate::ActReply::Rejected(_) => "rejected".to_owned(),
            crate::ActReply::Tombstoned => "tombstoned".to_owned(),
            crate::ActReply::OtherContent => "other content".to_owned(),
            crate::ActReply::Purged => "purged".to_owned(),
        },
        Ok(StepAnswer::Found { found, .. }) => format!("found {found:?}").to_lowercase(),
        Err(status) => format!("unknown: {:?}", status.code()),
    }
}

/// The service whose calls are a participant's actions.
pub trait ActionService: Send + Sync + 'static {
    /// What it declares.
    const CONTRACT: Participant;
}

/// Serves each action as a call of its own, as typed clients make it.
pub struct ActionServer<S> {
    steps: Arc<dyn Steps>,
    service: PhantomData<fn() -> S>,
}

impl<S> ActionServer<S> {
    /// Of these steps.
    pub fn new(steps: Arc<dyn Steps>) -> Self {
        Self { steps, service: PhantomData }
    }
}

impl<S> Clone for ActionServer<S> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.steps))
    }
}

impl<S: ActionService> NamedService for ActionServer<S> {
    const NAME: &'static str = S::CONTRACT.service;
}

impl<S: ActionService> Service<HttpRequest<Body>> for ActionServer<S> {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let method = request.uri().path().trim_start_matches('/').to_owned();
        if !S::CONTRACT.actions.iter().any(|action| action.method == method) {
            let unknown = Status::unimplemented(format!("no action {method}")).into_http();
            return Box::pin(async { Ok(unknown) });
        }
        let action = OneAction { steps: Arc::clone(&self.steps), method };
        let mut gzip = EnabledCompressionEncodings::default();
        gzip.enable(CompressionEncoding::Gzip);
        let mut grpc = Grpc::new(ProstCodec::default())
            .apply_compression_config(gzip, EnabledCompressionEncodings::default())
            .apply_max_message_size_config(Some(MAX_MESSAGE_BYTES), Some(MAX_ANSWER_BYTES));
        Box::pin(async move { Ok(grpc.unary(action, request).await) })
    }
}

struct OneAction {
    steps: Arc<dyn Steps>,
    method: String,
}

impl UnaryService<StepRequest> for OneAction {
    type Response = StepOutcome;
    type Future = BoxFuture<'static, Result<Response<StepOutcome>, Status>>;

    fn call(&mut self, request: Request<StepRequest>) -> Self::Future {
        let (steps, method) = (Arc::clone(&self.steps), self.method.clone());
        Box::pin(async move {
            let (metadata, _, StepRequest { key, payload }) = request.into_parts();
            let (saga, step) = wire::step_of(key.as_ref())?;
            let payload = payload.ok_or_else(|| Status::invalid_argument("payload is required"))?;
            let kind = wire::action(&key.unwrap_or_default(), method, payload)?;
            let headers = metadata.as_ref();
            let (deadline, trace) = (deadline(headers), trace(saga, headers));
            let call = StepCall { saga, step, kind, closing: false, deadline, trace };
            match steps.run(call).await? {
                StepAnswer::Acted(reply) => Ok(Response::new(wire::to_outcome(reply))),
                StepAnswer::Found { .. } => {
                    Err(Status::internal("an action was answered as an undoing"))
                }
            }
        })
    }
}

fn call(key: Option<&StepKey>, kind: CallKind, headers: &HeaderMap) -> Result<StepCall, Status> {
    let (saga, step) = wire::step_of(key)?;
    let (deadline, trace) = (deadline(headers), trace(saga, headers));
    Ok(StepCall { saga, step, kind, closing: true, deadline, trace })
}

fn trace(saga: SagaId, headers: &HeaderMap) -> Trace {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    wire::trace(saga, text("x-trace-id"), text("traceparent"))
}

/// When nobody waits for the answer any more, by `grpc-timeout`.
fn deadline(headers: &HeaderMap) -> Instant {
    let asked = headers.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(timeout);
    Instant::now() + asked.unwrap_or(DEFAULT_DEADLINE).min(LONGEST_DEADLINE)
}

fn timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number.saturating_mul(3_600))),
        "M" => Some(Duration::from_secs(number.saturating_mul(60))),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}
