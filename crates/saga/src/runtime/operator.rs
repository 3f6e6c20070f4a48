//! What operators do to sagas that stand still, or should.

use super::control::{Trouble, Wanted};
use super::engine::{Engine, Inner};
use crate::journal::{Action, Operated, Operation, Record, Running, RunningState};
use db::Result;
use participant::SagaId;
use std::sync::Arc;
use tracing::{Instrument, info_span};

impl Engine {
    /// Does what an operator asks, once a request. A saga that is retried or aborted goes on here, whoever had it: two
    /// executors on one saga come to the same end. An abort is decided at the pivot; watch the journal for the
    /// outcome.
    ///
    /// # Errors
    /// Those of the database: ask again with the same request id.
    pub async fn operate(&self, operation: Operation) -> Result<Operated> {
        let action = operation.action.clone();
        // Only a program that knows its plan and its participants can go on with it.
        if !matches!(action, Action::Resolve { .. })
            && let Some(Record::Running(running)) = self.find(operation.saga).await?
            && !self.inner.can_run(&running.start)
        {
            return Ok(Operated::CannotRun);
        }
        let operated = self.inner.journal.operate(operation).await?;
        let unfinished = match &operated {
            Operated::Now(running) => Some(&**running),
            Operated::Earlier { unfinished, .. } => unfinished.as_deref(),
            _ => None,
        };
        let Some(running) = unfinished else { return Ok(operated) };
        match action {
            Action::Abort => self.inner.go_on(running.clone(), Wanted::Abort),
            Action::Retry if running.state != RunningState::Running => {
                self.inner.go_on(running.clone(), Wanted::Retry);
            }
            Action::Retry | Action::Resolve { .. } => {}
        }
        Ok(operated)
    }

    /// What the executor of a saga stands at that runs here; none when its calls are answered.
    pub fn trouble(&self, saga: SagaId) -> Option<Trouble> {
        self.inner.live.trouble(saga)
    }
}

impl Inner {
    /// Wakes the executor that a saga has here, or gives it one.
    fn go_on(self: &Arc<Self>, running: Running, wanted: Wanted) {
        if self.live.want(running.start.saga, wanted) {
            return;
        }
        let span = info_span!(
            "saga",
            saga = %running.start.saga,
            trace_id = %running.start.trace.trace_id,
            operated = true
        );
        let inner = Arc::clone(self);
        // Whoever takes the saga over at this very moment is told what is wanted in place of this.
        let adopt = async move { inner.adopt(running, wanted).await };
        self.spawn("executor", adopt.instrument(span));
    }
}
