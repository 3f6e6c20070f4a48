//! The wire between the orchestrator and its participants, which loses, doubles and delays what a test tells it to.
//!
//! Faults are aimed at one call of one saga, by its name: that of an action, or `Compensate 2` and `Void 4` for what
//! undoes step 2 and what closes step 4. The saga is known by the trace id that all its calls carry; reads of its rows,
//! which carry none, by its own id.

use api::{Reason, Refusal};
use participant::{ActReply, ActionInfo, CallKind, SagaId, StepAnswer, StepCall, StepRow, Steps};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tonic::{Code, Status};
use uuid::Uuid;

/// The name of a read of a saga's rows.
pub(crate) const READ: &str = "GetSteps";

/// How long a test waits for a call that it makes itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a participant answers.
pub(crate) type Delivered = Result<StepAnswer, Status>;

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
    /// An error that says what a client would be told of a refusal. Only an answer says that a step was refused.
    Worded(Reason),
    /// Done, with a reply that does not decode.
    Garbage,
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

    /// An error with a refusal's words in place of the call.
    pub(crate) const fn worded(reason: Reason) -> Self {
        Self { delivery: Delivery::Never, answer: Answer::Worded(reason) }
    }

    /// The participant did it, and its reply does not decode.
    pub(crate) const fn garbage() -> Self {
        Self { delivery: Delivery::Once, answer: Answer::Garbage }
    }

    /// An error though the participant did it.
    pub(crate) const fn done_and_refused(code: Code) -> Self {
        Self { delivery: Delivery::Once, answer: Answer::Code(code) }
    }

    /// Whether the participant does it.
    pub(crate) fn is_done(self) -> bool {
        matches!(self.delivery, Delivery::Once | Delivery::Twice)
    }
}

/// A call as it was made, to be made again.
#[derive(Clone)]
pub(crate) struct Packet {
    participant: Arc<dyn Steps>,
    call: StepCall,
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} to {}", self.call, self.participant.name())
    }
}

impl Packet {
    /// The same call for another saga.
    pub(crate) fn readdressed(&self, to: Uuid) -> Self {
        let mut packet = self.clone();
        packet.call.saga = to.into();
        packet
    }

    /// The trace and name that faults are aimed at.
    fn key(&self) -> (String, String) {
        let StepCall { step, kind, trace, .. } = &self.call;
        let name = match kind {
            CallKind::Act { .. } => kind.name().to_owned(),
            CallKind::Compensate | CallKind::Void(_) => format!("{} {step}", kind.name()),
        };
        (trace.trace_id.clone(), name)
    }

    async fn run(&self) -> Delivered {
        self.participant.run(self.call.clone()).await
    }
}

/// The wire, with what it saw. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Wire {
    /// The participants'.
    runtime: Handle,
    lines: Arc<Mutex<HashMap<(String, String), Line>>>,
}

/// The calls of one saga that have one name.
#[derive(Default)]
struct Line {
    next: VecDeque<Fault>,
    always: Option<Fault>,
    sent: Vec<Packet>,
    kept: Vec<Packet>,
    answers: Vec<StepAnswer>,
}

impl Line {
    fn fault(&mut self) -> Fault {
        self.next.pop_front().or(self.always).unwrap_or(Fault::NONE)
    }
}

impl Wire {
    /// A wire to participants that run in this runtime.
    pub(crate) fn new(runtime: Handle) -> Self {
        Self { runtime, lines: Arc::default() }
    }

    /// A participant at the end of the wire.
    pub(crate) fn steps(&self, inner: Arc<dyn Steps>) -> Arc<dyn Steps> {
        Arc::new(Wired { wire: self.clone(), inner })
    }

    /// The next calls of a name go wrong, one after the other.
    pub(crate) fn next(&self, trace: &str, call: &str, faults: &[Fault]) {
        self.line(trace, call, |line| line.next.extend(faults));
    }

    /// Every call of a name goes wrong, after those that were told to.
    pub(crate) fn always(&self, trace: &str, call: &str, fault: Fault) {
        self.line(trace, call, |line| line.always = Some(fault));
    }

    /// No call of a name goes wrong any more.
    pub(crate) fn heal(&self, trace: &str, call: &str) {
        self.line(trace, call, |line| {
            line.always = None;
            line.next.clear();
        });
    }

    /// The calls of a name that the orchestrator made.
    pub(crate) fn sent(&self, trace: &str, call: &str) -> usize {
        self.line(trace, call, |line| line.sent.len())
    }

    /// The calls of a name that the participant answered, whoever heard it.
    pub(crate) fn answered(&self, trace: &str, call: &str) -> usize {
        self.line(trace, call, |line| line.answers.len())
    }

    /// What the participant answered first, whoever heard it.
    pub(crate) fn answer(&self, trace: &str, call: &str) -> StepAnswer {
        let answer = self.line(trace, call, |line| line.answers.first().cloned());
        answer.unwrap_or_else(|| panic!("{call} was never answered"))
    }

    /// The first call of a name.
    pub(crate) fn first(&self, trace: &str, call: &str) -> Packet {
        let first = self.line(trace, call, |line| line.sent.first().cloned());
        first.unwrap_or_else(|| panic!("{call} was never sent"))
    }

    /// The late calls of a name, which are on their way no more.
    pub(crate) fn take_kept(&self, trace: &str, call: &str) -> Vec<Packet> {
        self.line(trace, call, |line| std::mem::take(&mut line.kept))
    }

    /// Makes a call of its participant, with no fault in the way. One that comes late is not late by its own deadline.
    pub(crate) async fn deliver(&self, mut packet: Packet) -> Delivered {
        packet.call.deadline = Instant::now() + PATIENCE;
        packet.run().await
    }

    fn line<T>(&self, trace: &str, call: &str, look: impl FnOnce(&mut Line) -> T) -> T {
        look(self.lines().entry((trace.to_owned(), call.to_owned())).or_default())
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<(String, String), Line>> {
        self.lines.lock().unwrap()
    }

    /// Works where the participants are, as if in another process: what has begun there goes on when its caller is gone.
    async fn far<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<T, Status> {
        let done = self.runtime.spawn(work).await;
        done.unwrap_or_else(|_| Err(Status::unavailable("the process is gone")))
    }

    async fn pass(&self, packet: Packet, twice: bool) -> Delivered {
        let wire = self.clone();
        let work = async move {
            let answer = if twice {
                tokio::join!(packet.run(), packet.run()).0?
            } else {
                packet.run().await?
            };
            let (trace, call) = packet.key();
            wire.line(&trace, &call, |line| line.answers.push(answer.clone()));
            Ok(answer)
        };
        self.far(work).await
    }

    async fn carry(&self, packet: Packet) -> Delivered {
        let (trace, call) = packet.key();
        let fault = self.line(&trace, &call, |line| {
            line.sent.push(packet.clone());
            line.fault()
        });
        let reply = match fault.delivery {
            Delivery::Never => None,
            Delivery::Once => Some(self.pass(packet, false).await),
            Delivery::Twice => Some(self.pass(packet, true).await),
            Delivery::Kept => {
                self.line(&trace, &call, |line| line.kept.push(packet));
                None
            }
        };
        match (fault.answer, reply) {
            (Answer::Reply, Some(reply)) => reply,
            (Answer::Code(code), _) => Err(Status::new(code, "injected")),
            (Answer::Worded(reason), _) => Err(Refusal::new(reason).into()),
            // No field of a message has this type.
            (Answer::Garbage, _) => Ok(StepAnswer::Acted(ActReply::Done(vec![0x0f]))),
            (Answer::Silence | Answer::Reply, _) => std::future::pending().await,
        }
    }
}

/// A participant at the end of the wire.
struct Wired {
    wire: Wire,
    inner: Arc<dyn Steps>,
}

#[tonic::async_trait]
impl Steps for Wired {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn describe(&self, deadline: Instant) -> Result<Vec<ActionInfo>, Status> {
        let inner = Arc::clone(&self.inner);
        self.wire.far(async move { inner.describe(deadline).await }).await
    }

    async fn run(&self, call: StepCall) -> Result<StepAnswer, Status> {
        self.wire.carry(Packet { participant: Arc::clone(&self.inner), call }).await
    }

    async fn recorded(&self, saga: SagaId, deadline: Instant) -> Result<Vec<StepRow>, Status> {
        match self.wire.line(&saga.to_string(), READ, Line::fault).answer {
            Answer::Code(code) => return Err(Status::new(code, "injected")),
            Answer::Silence => std::future::pending().await,
            Answer::Reply | Answer::Worded(_) | Answer::Garbage => {}
        }
        let inner = Arc::clone(&self.inner);
        self.wire.far(async move { inner.recorded(saga, deadline).await }).await
    }

    async fn raise_watermark(&self, to: SagaId, deadline: Instant) -> Result<SagaId, Status> {
        let inner = Arc::clone(&self.inner);
        self.wire.far(async move { inner.raise_watermark(to, deadline).await }).await
    }
}
