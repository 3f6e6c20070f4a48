//! One executor walking one saga.

use super::call::{NoAnswer, Request, step_of};
use super::control::{Control, Trouble};
use super::engine::Inner;
use super::gates::Gates;
use super::live::Progress;
use super::plan::{SagaInstance, Unreadable};
use crate::backoff::Backoff;
use crate::decide::{Call, Command, Event, Known, Parked, Phase, decide};
use crate::journal::{EndedAs, Record, RunningState, Start};
use crate::outcome::{AbortReason, Failure, Outcome};
use futures_util::future::BoxFuture;
use rand::Rng;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, error, warn};

/// How long one try to write END or a mark may take.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(10);

/// Walks a saga from START to its end, or to where only a person can help.
pub(super) async fn run(
    inner: &Arc<Inner>,
    start: Start,
    progress: &watch::Sender<Progress>,
    control: &Control,
    gates: Option<&Gates>,
) {
    if !inner.can_run(&start) {
        warn!(plan = ?start.plan, "left to a program that knows its plan and its participants");
        return;
    }
    let instance = match inner.instance(&start) {
        Ok(instance) => instance,
        Err(unreadable) => return park(inner, &start, unreadable.to_string()).await,
    };
    let instance = &*instance;
    let executor = Executor { inner, start: &start, instance, progress, control, gates };
    executor.walk().await;
}

struct Executor<'a> {
    inner: &'a Inner,
    start: &'a Start,
    instance: &'a dyn SagaInstance,
    progress: &'a watch::Sender<Progress>,
    control: &'a Control,
    gates: Option<&'a Gates>,
}

impl Executor<'_> {
    async fn walk(&self) {
        let shape = self.instance.shape();
        let deadline = self.deadline();
        let (mut known, mut command) = decide(shape, Known::default(), Event::Begun);
        let mut out = Out::default();
        // Why calls are not made whose requests are not known.
        let mut unread: BTreeMap<Call, String> = BTreeMap::new();
        loop {
            self.control.keep_troubles(&known.calls());
            let event = match command {
                Command::Call(calls) => {
                    out.keep(&calls, |call| Box::pin(self.persist(call, known.clone())));
                    let acts = matches!(known.phase(), Phase::Forward(_));
                    let abortable = acts && !known.is_past_pivot(shape);
                    tokio::select! {
                        biased;
                        () = self.control.abort_wanted(), if abortable => {
                            Event::AbortWanted(AbortReason::Operator)
                        }
                        answered = out.next() => match answered {
                            Answered::Event(event) => event,
                            Answered::Closed => return self.answer_from_journal().await,
                            Answered::Unreadable(call, unreadable) => {
                                error!(?call, %unreadable, "a step's request is not known");
                                unread.insert(call, unreadable.to_string());
                                Event::Unreadable(call)
                            }
                        },
                        () = tokio::time::sleep_until(deadline), if abortable => {
                            debug!(?calls, "saga deadline reached");
                            Event::AbortWanted(AbortReason::Deadline)
                        }
                    }
                }
                Command::End(outcome) => return self.end(&known, outcome).await,
                Command::AnswerFromJournal => return self.answer_from_journal().await,
                Command::Park(parked) => {
                    let why = match unread.get(&parked.call) {
                        Some(why) => format!("{}: {why}", self.name(parked.call)),
                        None => self.describe(parked),
                    };
                    return park(self.inner, self.start, why).await;
                }
                Command::Wait => {
                    error!("the engine was told to wait for nothing");
                    return;
                }
            };
            (known, command) = decide(shape, known, event);
        }
    }

    /// The saga's deadline by this executor's monotonic clock: what is left of it by the clock, this process's or the
    /// database's, by which more is left, but no more than a new saga has. So a clock that is ahead aborts nothing at once,
    /// and one that is behind lets nothing run on.
    fn deadline(&self) -> Instant {
        let Start { placed_at, deadline_at, .. } = self.start;
        let now = self.inner.journal.clock().earlier_now().unwrap_or(*placed_at);
        let left = deadline_at.signed_duration_since(now);
        let whole = deadline_at.signed_duration_since(*placed_at);
        Instant::now() + left.min(whole).to_std().unwrap_or_default()
    }

    /// Makes a call until it has an answer that says what became of it.
    async fn persist(&self, call: Call, known: Known) -> Answered {
        let known = &known;
        let request = match Request::new(self.inner, self.start, self.instance, call, known) {
            Ok(request) => request,
            Err(unreadable) => return Answered::Unreadable(call, unreadable),
        };
        let backoff = self.backoff(call);
        let mut retries = self.control.retries();
        let mut began = Instant::now();
        let mut called_for_help = false;
        let mut attempt = 0_u32;
        loop {
            let entered = match self.gates {
                Some(gates) => gates.enter(self.participant(call)).await,
                None => None,
            };
            let answer = request.attempt().await;
            drop(entered);
            let text = match answer {
                Err(NoAnswer::Unknown(text)) => text,
                Err(NoAnswer::NeverHeals { code, text }) => {
                    warn!(?call, code, %text, "step refused for good");
                    return Answered::Event(Event::CannotHeal { call, code });
                }
                Ok(event) => return Answered::Event(event),
            };
            debug!(?call, %text, attempt, "outcome unknown, asking again");
            attempt = attempt.saturating_add(1);
            let long = began.elapsed() >= self.inner.options.attention_after;
            if called_for_help && self.is_closed().await {
                return Answered::Closed;
            }
            if self.must_succeed(call, known) && long && !called_for_help {
                called_for_help = true;
                self.call_for_help(call, &text).await;
            }
            let name = self.name(call);
            self.control.set_trouble(call, Trouble { call: name, attempts: attempt, error: text });
            tokio::select! {
                () = pause(backoff, attempt - 1) => {}
                Ok(()) = retries.changed() => {
                    (began, called_for_help) = (Instant::now(), false);
                }
            }
        }
    }

    fn backoff(&self, call: Call) -> Backoff {
        let of_step = |step| self.instance.info(step).and_then(|info| info.backoff);
        match call {
            Call::Undo(_) => Backoff::COMPENSATION,
            Call::Void(_) => Backoff::FORWARD,
            Call::Act(step) => of_step(step).unwrap_or(Backoff::FORWARD),
        }
    }

    /// Whether somebody closed the saga that waits for help here.
    async fn is_closed(&self) -> bool {
        matches!(self.inner.journal.find(self.start.saga).await, Ok(Some(Record::Ended(_))))
    }

    fn must_succeed(&self, call: Call, known: &Known) -> bool {
        matches!(call, Call::Undo(_) | Call::Void(_)) || known.is_past_pivot(self.instance.shape())
    }

    async fn end(&self, known: &Known, outcome: Outcome) {
        let (ended_as, result) = match &outcome {
            Outcome::Succeeded => (EndedAs::Succeeded, self.instance.succeeded(known)),
            Outcome::Failed(failure) => (EndedAs::Failed, self.instance.failed(failure)),
        };
        let result = match result {
            Ok(result) => result,
            Err(unreadable) => return park(self.inner, self.start, unreadable.to_string()).await,
        };
        // A person may be closing a saga that was aborted, with a cause of his own. What END says is told, and only then, so
        // that nobody hears of two causes. Of any other outcome the rows leave nobody a choice.
        let end_first = matches!(outcome, Outcome::Failed(Failure::Aborted { .. }));
        if !end_first {
            self.tell(ended_as, result.clone().into());
        }
        let mut attempt = 0_u32;
        loop {
            let deadline = Instant::now() + JOURNAL_PATIENCE;
            match self
                .inner
                .journal
                .end(self.start.clone(), ended_as, result.clone(), deadline)
                .await
            {
                Ok(()) => break,
                // The next owner replays the saga and comes to the same end.
                Err(lane::Error::Closed(_)) => return,
                Err(error) => warn!(%error, "END not written, trying again"),
            }
            pause(Backoff::FORWARD, attempt).await;
            attempt = attempt.saturating_add(1);
        }
        if end_first {
            self.answer_from_journal().await;
        }
    }

    /// The saga has ended: what the journal recorded is the answer, and else there is none.
    async fn answer_from_journal(&self) {
        let mut attempt = 0_u32;
        loop {
            match self.inner.journal.find(self.start.saga).await {
                Ok(Some(Record::Ended(ended))) => {
                    return self.tell(ended.outcome, ended.result.into());
                }
                Ok(_) => return warn!("purged by a participant, unknown to the journal"),
                Err(error) => warn!(%error, "the saga has ended; journal not readable"),
            }
            pause(Backoff::FORWARD, attempt).await;
            attempt = attempt.saturating_add(1);
        }
    }

    fn tell(&self, outcome: EndedAs, result: Arc<[u8]>) {
        let saga = self.start.saga;
        self.progress.send_replace(Progress::Decided { saga, outcome, result });
    }

    async fn call_for_help(&self, call: Call, text: &str) {
        let why = format!("{} keeps failing: {text}", self.name(call));
        error!(weight = self.start.weight, %why, "saga needs attention");
        mark(self.inner, self.start, RunningState::NeedsAttention, why).await;
    }

    fn describe(&self, parked: Parked) -> String {
        format!("{}: {:?}", self.name(parked.call), parked.why)
    }

    fn participant(&self, call: Call) -> &str {
        let info = self.instance.info(step_of(call, self.instance));
        info.map_or("", |info| &info.participant)
    }

    fn name(&self, call: Call) -> String {
        match call {
            Call::Act(step) => self.instance.name(step).to_owned(),
            Call::Undo(step) => format!("compensation of {}", self.instance.name(step)),
            Call::Void(_) => "void of the pivot".to_owned(),
        }
    }
}

/// What came of making a call.
enum Answered {
    /// An answer that says what became of it.
    Event(Event),
    /// The saga was closed meanwhile.
    Closed,
    /// The plan cannot tell what to send.
    Unreadable(Call, Unreadable),
}

/// Calls that are out.
#[derive(Default)]
struct Out<'a>(BTreeMap<Call, BoxFuture<'a, Answered>>);

impl<'a> Out<'a> {
    /// Begins those of the calls that are not out yet, and gives up those that are out and not among them.
    fn keep(&mut self, calls: &[Call], begin: impl Fn(Call) -> BoxFuture<'a, Answered>) {
        self.0.retain(|call, _| calls.contains(call));
        for call in calls {
            self.0.entry(*call).or_insert_with(|| begin(*call));
        }
    }

    /// Waits until one of them is answered. The first in order is looked at first.
    async fn next(&mut self) -> Answered {
        poll_fn(|context| {
            let answered =
                self.0.iter_mut().find_map(|(call, answer)| match answer.as_mut().poll(context) {
                    Poll::Ready(event) => Some((*call, event)),
                    Poll::Pending => None,
                });
            match answered {
                Some((call, event)) => {
                    self.0.remove(&call);
                    Poll::Ready(event)
                }
                None => Poll::Pending,
            }
        })
        .await
    }
}

async fn pause(backoff: Backoff, attempt: u32) {
    let pause = backoff.pause(attempt, rand::rng().random());
    tokio::time::sleep(pause).await;
}

async fn park(inner: &Inner, start: &Start, why: String) {
    error!(weight = start.weight, %why, "saga parked");
    mark(inner, start, RunningState::Parked, why).await;
}

async fn mark(inner: &Inner, start: &Start, state: RunningState, why: String) {
    if let Err(error) = inner.journal.mark(start.saga, state, why).await {
        warn!(%error, "mark for the operator not written");
    }
}
