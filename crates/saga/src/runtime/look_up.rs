//! What is told of a saga, by whichever replica is asked: never two different ends, and never running after an end was
//! told.

use super::engine::Engine;
use super::live::Progress;
use super::standing::{NoStanding, Standing};
use crate::journal::{EndedAs, Record, Start};
use crate::outcome::Outcome;
use crate::recorded::{Recorded, recorded};
use participant::{ActionInfo, RequestKey, SagaId};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;
use tracing::error;

impl Engine {
    /// A saga's record, and how it stands: by END, or an operator's decision, in the journal; by what its executor here
    /// has told; by its rows. Never running after anybody was told its end.
    ///
    /// # Errors
    /// See [`NoStanding`]. [`NoStanding::Unavailable`] also where a participant whose row decides cannot be asked, though an
    /// executor here is on its way: another replica may have told the end. And where nothing is known by `answer_by`.
    pub async fn look_up(
        &self,
        saga: SagaId,
        answer_by: Instant,
    ) -> Result<(Record, Standing), NoStanding> {
        let looked = tokio::time::timeout_at(answer_by, self.look(saga, answer_by)).await;
        looked.unwrap_or(Err(NoStanding::Unavailable))
    }

    async fn look(
        &self,
        saga: SagaId,
        answer_by: Instant,
    ) -> Result<(Record, Standing), NoStanding> {
        // Before the journal: a saga is forgotten here only after its END is written, so that one of the two tells.
        let here = self.told_here(saga);
        let running = match self.find(saga).await?.ok_or(NoStanding::NotFound)? {
            ended @ Record::Ended(_) => return Ok(of_journal(ended)),
            running @ Record::Running(_) => running,
        };
        if let Some(standing) = here {
            return Ok((running, standing));
        }
        // Half of the time: a participant that is silent must leave some for the journal, which is asked once more.
        let left = answer_by.saturating_duration_since(Instant::now());
        let by_rows = self.by_rows(running.start(), Instant::now() + left / 2).await?;
        // The rows go when END has been written for long; and an operator's decision stands above them.
        let record = match self.find(saga).await?.ok_or(NoStanding::NotFound)? {
            ended @ Record::Ended(_) => return Ok(of_journal(ended)),
            running @ Record::Running(_) => running,
        };
        match by_rows {
            ByRows::Ended(standing) => Ok((record, standing)),
            ByRows::Open => Ok((record, Standing::Running)),
            ByRows::Unknown => Err(NoStanding::Unavailable),
        }
    }

    /// The saga of a client's request, as far as it is recorded.
    ///
    /// # Errors
    /// [`NoStanding::Unavailable`] where the journal cannot be asked, or where the request's own commit is still under way
    /// here when the caller's time is up: it may be recorded any moment.
    pub async fn saga_of_request(
        &self,
        key: RequestKey,
        answer_by: Instant,
    ) -> Result<Option<SagaId>, NoStanding> {
        if let Some(mut progress) = self.request(&key) {
            let is_known = |progress: &Progress| !matches!(progress, Progress::Starting);
            // Known, or its task is gone: what it committed can be read.
            let known = tokio::time::timeout_at(answer_by, progress.wait_for(is_known)).await;
            if known.is_err() {
                return Err(NoStanding::Unavailable);
            }
        }
        Ok(self.of_request(key).await?)
    }

    /// What these participants describe, by name; none for one that this program does not know.
    ///
    /// # Errors
    /// [`NoStanding::Unavailable`] where one cannot be asked.
    pub async fn describe(
        &self,
        names: &BTreeSet<&str>,
        deadline: Instant,
    ) -> Result<BTreeMap<String, Option<Vec<ActionInfo>>>, NoStanding> {
        let mut all = BTreeMap::new();
        for name in names {
            let described = match self.inner.participants.get(*name) {
                None => None,
                Some(participant) => {
                    let asked = tokio::time::timeout_at(deadline, participant.describe(deadline));
                    match asked.await {
                        Ok(Ok(actions)) => Some(actions),
                        Ok(Err(_)) | Err(_) => return Err(NoStanding::Unavailable),
                    }
                }
            };
            all.insert((*name).to_owned(), described);
        }
        Ok(all)
    }

    /// What the executor of a saga has told on this replica; it counts though END is not written yet.
    fn told_here(&self, saga: SagaId) -> Option<Standing> {
        Standing::told(&self.watch(saga)?.borrow())
    }

    async fn by_rows(&self, start: &Start, deadline: Instant) -> Result<ByRows, NoStanding> {
        if !self.inner.can_run(start) {
            // A replica that runs a newer program, or knows the participants, can tell.
            return Err(NoStanding::Unavailable);
        }
        let unreadable = |unreadable| {
            error!(%unreadable, saga = %start.saga, "saga not readable");
            NoStanding::Unreadable(start.saga)
        };
        let instance = self.instance(start).map_err(unreadable)?;
        let rows = self.rows(start, &*instance, deadline).await.all_found(instance.steps());
        let applies = |step, known: &_| instance.applies(step, known);
        let (outcome, result) = match recorded(instance.shape(), applies, &rows) {
            Recorded::Ended(Outcome::Succeeded, known) => {
                (EndedAs::Succeeded, instance.succeeded(&known).map_err(unreadable)?)
            }
            Recorded::Ended(Outcome::Failed(failure), _) => {
                (EndedAs::Failed, instance.failed(&failure).map_err(unreadable)?)
            }
            Recorded::Open => return Ok(ByRows::Open),
            Recorded::Unknown => return Ok(ByRows::Unknown),
        };
        Ok(ByRows::Ended(Standing::Ended { outcome, result: result.into() }))
    }
}

/// What the rows of a saga tell.
enum ByRows {
    /// It has ended, though END may not be written yet.
    Ended(Standing),
    /// It had not ended when the rows were read, unless END was written by then.
    Open,
    /// A participant cannot be reached, and without its rows nobody can tell.
    Unknown,
}

fn of_journal(record: Record) -> (Record, Standing) {
    let standing = Standing::recorded(&record);
    (record, standing)
}
