//! The way to a participant in another process.
//!
//! Steps travel together: a message of `RunSteps` leaves at once while fewer than a few are unanswered, and then when one
//! gets its first answer, or has waited for it for 50 ms. Alone a step waits for nothing; under load messages grow by themselves, and one locked row holds
//! up nobody else, since each step of a message is answered by itself.

mod queue;

use async_trait::async_trait;
use http::uri::PathAndQuery;
use participant::server::MAX_CALLS;
use participant::{
    ActionInfo, CallKind, SagaId, StepAnswer, StepCall, StepRow, Steps, Trace, wire,
};
use queue::{Pending, Queue};
use saga_api::v1::saga_participant_service_client::SagaParticipantServiceClient;
use saga_api::v1::{
    CompensateRequest, DescribeRequest, GetStepsRequest, RaiseWatermarkRequest, RunStepsRequest,
    StepOutcome, StepRequest, VoidRequest,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codegen::{Bytes, StdError};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// Messages without any answer yet, above which the next one waits and grows.
const UNANSWERED: usize = 4;
/// The most that one message holds: so many steps, and so many bytes of them. The server takes 256 KiB.
const MESSAGE_CALLS: usize = if MAX_CALLS < 256 { MAX_CALLS } else { 256 };
const MESSAGE_BYTES: usize = 200 * 1_024;
/// How long steps go one by one to a participant that does not serve `RunSteps`.
const ONE_BY_ONE: Duration = Duration::from_secs(30);
/// How long a message without any answer keeps the next one back: steps that all stand at one locked row, or at a replica that
/// does not answer, hold up nobody else for longer.
const LAPSE: Duration = Duration::from_millis(50);
/// How much longer than its steps a message is waited for.
const GRACE: Duration = Duration::from_millis(100);

/// What connects to a participant: a channel of tonic's, or anything like one.
pub trait Connection:
    GrpcService<
        Body,
        ResponseBody: http_body::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
        Error: Into<StdError>,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<T> Connection for T where
    T: GrpcService<
            Body,
            ResponseBody: http_body::Body<Data = Bytes, Error: Into<StdError> + Send>
                              + Send
                              + 'static,
            Error: Into<StdError>,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// A participant in another process. Cheap to clone.
pub struct Remote<T> {
    peer: Arc<Peer<T>>,
}

impl<T> Clone for Remote<T> {
    fn clone(&self) -> Self {
        Self { peer: Arc::clone(&self.peer) }
    }
}

struct Peer<T> {
    name: String,
    connection: T,
    queue: Mutex<Queue>,
    one_by_one_until: Mutex<Option<Instant>>,
}

impl<T: Connection> Remote<T> {
    /// The participant of this name at the end of a connection.
    pub fn new(name: &str, connection: T) -> Self {
        let peer = Peer {
            name: name.to_owned(),
            connection,
            queue: Mutex::default(),
            one_by_one_until: Mutex::default(),
        };
        Self { peer: Arc::new(peer) }
    }
}

#[async_trait]
impl<T: Connection> Steps for Remote<T> {
    fn name(&self) -> &str {
        &self.peer.name
    }

    async fn describe(&self, deadline: Instant) -> Result<Vec<ActionInfo>, Status> {
        let request = timed(DescribeRequest { participant: self.peer.name.clone() }, deadline);
        let described = self.peer.client().describe(request).await?.into_inner();
        Ok(described.actions.into_iter().map(wire::of_action).collect())
    }

    async fn run(&self, call: StepCall) -> Result<StepAnswer, Status> {
        if self.peer.goes_one_by_one() {
            return self.peer.run_alone(call).await;
        }
        let (reply, answer) = oneshot::channel();
        self.peer.queue().push(Pending { call, reply });
        self.peer.send_what_waits();
        answer.await.unwrap_or_else(|_| Err(Status::unavailable("the message was given up")))
    }

    async fn recorded(&self, saga: SagaId, deadline: Instant) -> Result<Vec<StepRow>, Status> {
        let (participant, saga_ids) = (self.peer.name.clone(), vec![saga.0.to_vec()]);
        let request = timed(GetStepsRequest { participant, saga_ids }, deadline);
        let told = self.peer.client().get_steps(request).await?.into_inner();
        let rows: Result<Vec<StepRow>, Status> =
            told.records.into_iter().map(wire::of_record).collect();
        let rows = rows?;
        match rows.iter().find(|row| row.saga != saga) {
            Some(row) => {
                tracing::error!(asked = %saga, told = %row.saga, "rows of another saga");
                Err(Status::unknown("the participant told rows of another saga"))
            }
            None => Ok(rows),
        }
    }

    async fn raise_watermark(&self, to: SagaId, deadline: Instant) -> Result<SagaId, Status> {
        let (participant, watermark) = (self.peer.name.clone(), to.0.to_vec());
        let request = timed(RaiseWatermarkRequest { participant, watermark }, deadline);
        let raised = self.peer.client().raise_watermark(request).await?.into_inner();
        wire::saga_id("watermark", &raised.watermark)
    }
}

impl<T: Connection> Peer<T> {
    fn client(&self) -> SagaParticipantServiceClient<T> {
        SagaParticipantServiceClient::new(self.connection.clone())
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn goes_one_by_one(&self) -> bool {
        let mut until = self.one_by_one_until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = until.filter(|until| Instant::now() < *until);
        until.is_some()
    }

    /// Sends messages while there may be more of them and something waits.
    fn send_what_waits(self: &Arc<Self>) {
        loop {
            let Some(batch) = self.queue().next(UNANSWERED, MESSAGE_CALLS, MESSAGE_BYTES) else {
                return;
            };
            let peer = Arc::clone(self);
            tokio::spawn(async move {
                let unanswered = Unanswered::new(Some(Arc::clone(&peer)));
                peer.send(batch, unanswered).await;
            });
        }
    }

    async fn send(self: &Arc<Self>, batch: Vec<Pending>, unanswered: Unanswered<T>) {
        let last = batch.iter().map(|pending| pending.call.deadline).max();
        let give_up = last.unwrap_or_else(Instant::now) + GRACE;
        let calls = batch.iter().map(|pending| wire::to_call(pending.call.clone())).collect();
        let request = RunStepsRequest { participant: self.name.clone(), calls };
        let sent = self.run_steps(request, batch, unanswered, give_up);
        // All are answered, or whoever waited is gone by now.
        let Ok(Err((status, left))) = tokio::time::timeout_at(give_up, sent).await else { return };
        match status.code() {
            Code::Unimplemented => {
                tracing::warn!(participant = self.name, "does not serve RunSteps");
                let mut until =
                    self.one_by_one_until.lock().unwrap_or_else(PoisonError::into_inner);
                *until = Some(Instant::now() + ONE_BY_ONE);
                drop(until);
                for pending in left {
                    self.send_alone(pending);
                }
            }
            // The second is what the shop's own listeners say of a message that is too large.
            Code::OutOfRange | Code::InvalidArgument if left.len() > 1 => self.send_in_halves(left),
            // Never a verdict on the steps: they are asked again.
            code => {
                let text = format!("{code:?}: {}", status.message());
                for pending in left {
                    pending.answer(Err(Status::unavailable(text.clone())));
                }
            }
        }
    }

    /// Sends a message and hands on its answers. Those that are not answered come back with the status.
    async fn run_steps(
        self: &Arc<Self>,
        request: RunStepsRequest,
        batch: Vec<Pending>,
        mut unanswered: Unanswered<T>,
        give_up: Instant,
    ) -> Result<(), (Status, Vec<Pending>)> {
        let mut client = self.client();
        let sent = client.run_steps(timed(request, give_up));
        let mut answers = match unanswered.until_answered(sent).await {
            Ok(response) => response.into_inner(),
            Err(status) => return Err((status, batch)),
        };
        let mut waiting: Vec<Option<Pending>> = batch.into_iter().map(Some).collect();
        let status = loop {
            let answers = match unanswered.until_answered(answers.message()).await {
                Ok(Some(message)) => message.answers,
                Ok(None) => break Status::unavailable("the stream ended early"),
                Err(status) => break status,
            };
            unanswered.is_answered();
            for answer in answers {
                let place = usize::try_from(answer.call).ok();
                let pending = place.and_then(|place| waiting.get_mut(place)).and_then(Option::take);
                if let Some(pending) = pending {
                    pending.answer(wire::of_answer(answer));
                }
            }
            if waiting.iter().all(Option::is_none) {
                return Ok(());
            }
        };
        // Whoever answered some serves the call: what is left is asked again, whatever the status.
        let is_new = waiting.iter().all(Option::is_some);
        let status = if is_new { status } else { Status::unavailable(status.message()) };
        Err((status, waiting.into_iter().flatten().collect()))
    }

    fn send_in_halves(self: &Arc<Self>, mut batch: Vec<Pending>) {
        let rest = batch.split_off(batch.len() / 2);
        for half in [batch, rest] {
            let peer = Arc::clone(self);
            // Boxed, or the future would hold itself.
            let sent: futures_util::future::BoxFuture<'static, ()> =
                Box::pin(async move { peer.send(half, Unanswered::new(None)).await });
            tokio::spawn(sent);
        }
    }

    fn send_alone(self: &Arc<Self>, pending: Pending) {
        let peer = Arc::clone(self);
        tokio::spawn(async move {
            let Pending { call, reply } = pending;
            let answer = peer.run_alone(call).await;
            // Whoever asked may be gone.
            drop(reply.send(answer));
        });
    }

    /// A step as a call of its own.
    async fn run_alone(&self, call: StepCall) -> Result<StepAnswer, Status> {
        let StepCall { saga, step, kind, deadline, trace, .. } = call;
        let participant = self.name.clone();
        match kind {
            CallKind::Act { method, payload, digest } => {
                let key = Some(wire::key(saga, step, Some(digest)));
                let request = StepRequest { key, payload: Some(payload.to_vec()) };
                let request = traced(timed(request, deadline), &trace);
                wire::of_outcome(self.act(&method, request).await?)
            }
            CallKind::Compensate => {
                let key = Some(wire::key(saga, step, None));
                let request = timed(CompensateRequest { participant, key }, deadline);
                let found = self.client().compensate(traced(request, &trace)).await?;
                wire::of_compensated(found.into_inner())
            }
            CallKind::Void(reason) => {
                let key = Some(wire::key(saga, step, None));
                let reason = String::from_utf8_lossy(&reason).into_owned();
                let request = timed(VoidRequest { participant, key, reason }, deadline);
                let found = self.client().void(traced(request, &trace)).await?;
                wire::of_voided(found.into_inner())
            }
        }
    }

    async fn act(
        &self,
        method: &str,
        request: Request<StepRequest>,
    ) -> Result<StepOutcome, Status> {
        let path: PathAndQuery = format!("/{method}")
            .parse()
            .map_err(|_| Status::unimplemented(format!("no method is called {method}")))?;
        let mut grpc = Grpc::new(self.connection.clone());
        grpc.ready().await.map_err(|error| Status::unavailable(error.into().to_string()))?;
        let codec: ProstCodec<StepRequest, StepOutcome> = ProstCodec::default();
        Ok(grpc.unary(request, path, codec).await?.into_inner())
    }
}

/// A message that has no answer yet. Answered, dropped, or after [`LAPSE`], it lets the next one leave.
struct Unanswered<T: Connection> {
    peer: Option<Arc<Peer<T>>>,
    lapses: Instant,
}

impl<T: Connection> Unanswered<T> {
    fn new(peer: Option<Arc<Peer<T>>>) -> Self {
        Self { peer, lapses: Instant::now() + LAPSE }
    }

    /// Waits for something, and lets the next message leave when that takes too long.
    async fn until_answered<A>(&mut self, answer: impl Future<Output = A>) -> A {
        let mut answer = std::pin::pin!(answer);
        if self.peer.is_some() {
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                () = tokio::time::sleep_until(self.lapses) => self.is_answered(),
            }
        }
        answer.await
    }

    fn is_answered(&mut self) {
        if let Some(peer) = self.peer.take() {
            peer.queue().one_answered();
            peer.send_what_waits();
        }
    }
}

impl<T: Connection> Drop for Unanswered<T> {
    fn drop(&mut self) {
        self.is_answered();
    }
}

fn timed<M>(message: M, deadline: Instant) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    request
}

fn traced<M>(mut request: Request<M>, trace: &Trace) -> Request<M> {
    let Trace { trace_id, traceparent } = trace;
    for (name, value) in [("x-trace-id", trace_id), ("traceparent", traceparent)] {
        if let Ok(value) = value.parse() {
            request.metadata_mut().insert(name, value);
        }
    }
    request
}
