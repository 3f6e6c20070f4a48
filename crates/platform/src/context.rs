//! What a call knows of itself: its trace and its deadline. A handler's task has it, and so does everything that it
//! awaits; what it spawns must be given it with [`scope`].

use std::time::Duration;

use api::outcome::{TRACEPARENT, X_TRACE_ID};
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use crate::{
    timeout,
    trace::{TraceParent, is_trace_id},
};

/// What a caller gets who names no deadline.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);

/// The longest deadline that is honoured.
pub const LONGEST_DEADLINE: Duration = Duration::from_mins(1);

tokio::task_local! {
    static CURRENT: CallContext;
}

/// A call's trace and deadline.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// `x-trace-id`: 1 to 64 of `[A-Za-z0-9_-]`.
    pub trace_id: String,
    /// When nobody waits for the answer any more.
    pub deadline: Instant,
    span: TraceParent,
}

/// The context of the call that this task serves; outside of any call a new one, with the default deadline.
pub fn current() -> CallContext {
    CURRENT.try_with(Clone::clone).unwrap_or_else(|_| CallContext::read(&HeaderMap::new()))
}

/// Runs a future as part of a call.
pub async fn scope<F: Future>(context: CallContext, work: F) -> F::Output {
    CURRENT.scope(context, work).await
}

impl CallContext {
    /// The context that a request's headers ask for. What is missing or malformed is made anew.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|it: &HeaderValue| it.to_str().ok());
        let parent = text(TRACEPARENT).and_then(TraceParent::parse);
        let span = parent.map_or_else(TraceParent::root, TraceParent::child);
        let given = text(X_TRACE_ID).filter(|id| is_trace_id(id));
        let trace_id = given.map_or_else(|| span.trace_id(), str::to_owned);
        let budget = timeout::read(headers).unwrap_or(DEFAULT_DEADLINE).min(LONGEST_DEADLINE);
        Self { trace_id, deadline: Instant::now() + budget, span }
    }

    /// The `traceparent` that names this call as the parent of what it causes.
    pub fn traceparent(&self) -> String {
        self.span.to_string()
    }

    /// When an answer must leave for somebody to hear it: the deadline less 10 %, at least 20 ms and at most 200 ms.
    pub fn answer_by(&self) -> Instant {
        let margin = self.time_left() / 10;
        let margin = margin.clamp(Duration::from_millis(20), Duration::from_millis(200));
        self.deadline.checked_sub(margin).unwrap_or(self.deadline)
    }

    /// The time until the deadline.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Tells the caller which trace it was.
    pub(crate) fn answer(&self, headers: &mut HeaderMap) {
        insert(headers, X_TRACE_ID, &self.trace_id);
        insert(headers, TRACEPARENT, &self.traceparent());
    }

    /// Gives a call that this one makes its trace, unless it has one, and what is left of its time, unless it asks for
    /// less; returns that time.
    pub(crate) fn pass_on(&self, headers: &mut HeaderMap) -> Duration {
        if !headers.contains_key(X_TRACE_ID) {
            insert(headers, X_TRACE_ID, &self.trace_id);
        }
        if !headers.contains_key(TRACEPARENT) {
            insert(headers, TRACEPARENT, &self.traceparent());
        }
        let left = self.time_left();
        let budget = timeout::read(headers).map_or(left, |asked| asked.min(left));
        timeout::write(headers, budget);
        budget
    }
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
