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
    of_call().unwrap_or_else(|| CallContext::read(&HeaderMap::new()))
}

/// The context of the call that this task serves, if it serves one.
pub(crate) fn of_call() -> Option<CallContext> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Runs a future as part of a call.
pub async fn scope<F: Future>(context: CallContext, work: F) -> F::Output {
    CURRENT.scope(context, work).await
}

impl CallContext {
    /// The context of work that another call caused, whose trace this was; for `budget` from now.
    pub fn caused_by(trace_id: &str, traceparent: &str, budget: Duration) -> Self {
        let parent = TraceParent::parse(traceparent);
        let span = parent.map_or_else(TraceParent::root, TraceParent::child);
        let trace_id = if is_trace_id(trace_id) { trace_id.to_owned() } else { span.trace_id() };
        Self { trace_id, deadline: Instant::now() + budget, span }
    }

    /// The context that a request's headers ask for. What is missing or malformed is made anew.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|it: &HeaderValue| it.to_str().ok());
        let budget = timeout::read(headers).unwrap_or(DEFAULT_DEADLINE).min(LONGEST_DEADLINE);
        let [trace_id, traceparent] = [X_TRACE_ID, TRACEPARENT].map(|it| text(it).unwrap_or(""));
        Self::caused_by(trace_id, traceparent, budget)
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

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(trace_id: &str, traceparent: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        insert(&mut headers, X_TRACE_ID, trace_id);
        insert(&mut headers, TRACEPARENT, traceparent);
        headers
    }

    fn given(budget: Duration) -> CallContext {
        let mut headers = HeaderMap::new();
        timeout::write(&mut headers, budget);
        CallContext::read(&headers)
    }

    #[test]
    fn a_trace_id_is_the_given_one_else_the_traces_else_new() {
        assert_eq!(CallContext::read(&headers("mine", TRACE)).trace_id, "mine");
        let bad = CallContext::read(&headers("not mine", TRACE));
        assert_eq!(bad.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
        let [one, other] = [0, 1].map(|_| CallContext::read(&headers("", "nonsense")));
        assert!(one.traceparent().contains(&one.trace_id));
        assert_ne!(one.trace_id, other.trace_id);
    }

    #[test]
    fn a_call_is_a_span_of_its_own_in_the_callers_trace() {
        let traceparent = CallContext::read(&headers("", TRACE)).traceparent();
        assert_eq!(traceparent[..35], TRACE[..35]);
        assert_ne!(traceparent[36..52], TRACE[36..52]);
    }

    #[test]
    fn a_call_has_10_s_by_default_and_60_s_at_most() {
        let second = Duration::from_secs(1);
        let within = |budget: Duration, context: CallContext| {
            let left = context.time_left();
            assert!(left <= budget && left + 5 * second > budget, "{left:?} of {budget:?}");
        };
        within(10 * second, CallContext::read(&HeaderMap::new()));
        within(50 * second, given(50 * second));
        within(60 * second, given(600 * second));
    }

    #[test]
    fn a_callee_gets_the_time_left_or_less_if_less_is_asked_for() {
        let passed_on = |context: &CallContext, asked: Duration| {
            let mut headers = HeaderMap::new();
            timeout::write(&mut headers, asked);
            let budget = context.pass_on(&mut headers);
            let written = timeout::read(&headers).unwrap();
            assert!(budget.abs_diff(written) < Duration::from_micros(1), "{budget:?}, {written:?}");
            budget
        };
        let (short, long) = (Duration::from_millis(100), Duration::from_secs(50));
        assert_eq!(passed_on(&given(long), short), short);
        assert!(passed_on(&given(short), long) <= short);
        let over = CallContext { deadline: Instant::now(), ..given(long) };
        assert_eq!(passed_on(&over, long), Duration::ZERO);
    }

    #[test]
    fn a_callee_gets_the_trace_of_the_request_else_that_of_the_context() {
        let context = given(Duration::from_secs(1));
        let mut own = HeaderMap::new();
        context.pass_on(&mut own);
        assert_eq!(own[X_TRACE_ID], context.trace_id);
        assert_eq!(own[TRACEPARENT], context.traceparent());
        let mut named = headers("theirs", TRACE);
        context.pass_on(&mut named);
        assert_eq!(
            (&named[X_TRACE_ID], &named[TRACEPARENT]),
            (&"theirs".parse().unwrap(), &TRACE.parse().unwrap())
        );
    }

    #[test]
    fn an_answer_leaves_20_to_200_ms_before_the_deadline() {
        let margin = |millis: u64| {
            let context = given(Duration::from_millis(millis));
            (context.deadline - context.answer_by()).as_millis()
        };
        assert_eq!([50, 200, 10_000].map(margin), [20, 20, 200]);
    }
}
