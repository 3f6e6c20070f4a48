//! What the participants have on record of one saga.

use super::engine::Engine;
use super::plan::{SagaInstance, StepInfo};
use crate::journal::Start;
use crate::recorded::Found;
use futures_util::future::join_all;
use participant::{RowState, StepNo, StepRow};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How long a participant may take to tell its rows, if its caller waits so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// The rows of one saga by participant; none for one that could not be asked.
#[derive(Debug, Clone, Default)]
pub struct Rows(BTreeMap<String, Option<Vec<StepRow>>>);

impl Engine {
    /// Asks the participants of a saga for its rows, all at once, and waits for one that is silent for a second at most.
    pub async fn rows(
        &self,
        start: &Start,
        instance: &dyn SagaInstance,
        deadline: Instant,
    ) -> Rows {
        let names: BTreeSet<&str> =
            instance.steps().iter().map(|info| &*info.participant).collect();
        let deadline = deadline.min(Instant::now() + PATIENCE);
        let asked = names.into_iter().map(async |name| {
            let participant = self.inner.participants.get(name);
            let rows = match participant {
                Some(participant) => {
                    let rows = participant.recorded(start.saga, deadline);
                    tokio::time::timeout_at(deadline, rows).await.ok().and_then(Result::ok)
                }
                None => None,
            };
            (name.to_owned(), rows)
        });
        Rows(join_all(asked).await.into_iter().collect())
    }
}

impl Rows {
    /// What was found of a step.
    pub fn found(&self, info: &StepInfo) -> Found {
        let Some(Some(rows)) = self.0.get(&*info.participant) else { return Found::Unreachable };
        match rows.iter().find(|row| row.step == info.step) {
            Some(row) => Found::Row(row.state, row.reply.clone()),
            None => Found::Nothing,
        }
    }

    /// The row of a step.
    pub fn row(&self, info: &StepInfo) -> Option<&StepRow> {
        let rows = self.0.get(&*info.participant)?.as_ref()?;
        rows.iter().find(|row| row.step == info.step)
    }

    /// Whether a participant could not be asked.
    pub fn some_are_missing(&self) -> bool {
        self.0.values().any(Option::is_none)
    }

    /// What was found of each of these steps.
    pub fn all_found(&self, steps: &[StepInfo]) -> BTreeMap<StepNo, Found> {
        steps.iter().map(|info| (info.step, self.found(info))).collect()
    }

    /// The states of the rows of these steps.
    pub fn states(&self, steps: &[StepInfo]) -> BTreeMap<StepNo, RowState> {
        steps.iter().filter_map(|info| Some((info.step, self.row(info)?.state))).collect()
    }
}
