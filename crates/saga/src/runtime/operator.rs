//! What operators do to sagas that stand still, or should.

use super::control::Trouble;
use super::engine::{Engine, Inner};
use crate::journal::{Action, Operated, Operation, Running, RunningState};
use db::Result;
use participant::SagaId;
use std::sync::Arc;
use tracing::{Instrument, info_span};

impl Engine {
    /// Does what an operator asks, once a request. A saga that is retried or aborted goes on here, whoever had it: two
    /// executors on one saga come to the same end. An abort is decided at the register; watch the journal for the
    /// outcome.
    ///
    /// # Errors
    /// Those of the database: ask again with the same request id.
    pub async fn operate(&self, operation: Operation) -> Result<Operated> {
        let action = operation.action.clone();
        let operated = self.inner.journal.operate(operation).await?;
        let unfinished = match &operated {
            Operated::Now(running) => Some(&**running),
            Operated::Earlier { unfinished, .. } => unfinished.as_deref(),
            _ => None,
        };
        let Some(running) = unfinished else { return Ok(operated) };
        match action {
            Action::Abort => self.inner.go_on(running.clone(), true),
            Action::Retry if running.state != RunningState::Running => {
                self.inner.go_on(running.clone(), false);
            }
            Action::Retry | Action::Resolve { .. } => {}
        }
        Ok(operated)
    }

    /// What the executor of a saga stands at that runs here; none when its calls are answered.
    pub fn trouble(&self, saga: SagaId) -> Option<Trouble> {
        self.inner.live.control(saga)?.trouble()
    }
}

impl Inner {
    /// Wakes the executor that a saga has here, or gives it one.
    fn go_on(self: &Arc<Self>, running: Running, abort: bool) {
        match self.live.control(running.start.saga) {
            Some(control) if abort => control.abort(),
            Some(control) => control.retry(),
            None => {
                let span = info_span!(
                    "saga",
                    saga = %running.start.saga,
                    trace_id = %running.start.trace.trace_id,
                    operated = true
                );
                let inner = Arc::clone(self);
                self.tasks.spawn(async move { inner.adopt(running, abort).await }.instrument(span));
            }
        }
    }
}
