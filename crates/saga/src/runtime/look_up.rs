//! What is told of a saga, by whichever replica is asked: never two different ends, and never running after an end was
//! told.

use super::engine::{Accepted, Engine, NotAccepted};
use super::live::Progress;
use crate::journal::{Ended, EndedAs, NewSaga, Record, Start};
use crate::outcome::Outcome;
use crate::recorded::{Recorded, recorded};
use participant::{ActionInfo, RequestKey, SagaId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, warn};

/// How often a saga that another replica runs is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How a saga stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Not decided, or not finished.
    Running,
    /// It has ended, and nothing else will ever be told.
    Ended {
        /// How.
        outcome: EndedAs,
        /// The plan's record of the result.
        result: Arc<[u8]>,
    },
}

impl Standing {
    /// As the journal has it.
    pub fn recorded(record: &Record) -> Self {
        match record {
            Record::Running(_) => Self::Running,
            Record::Ended(Ended { outcome, result, .. }) => {
                Self::Ended { outcome: *outcome, result: result.as_slice().into() }
            }
        }
    }
}

/// What became of a client's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its saga.
    pub saga: SagaId,
    /// How that stands.
    pub standing: Standing,
    /// Whether an earlier request began it.
    pub joined: bool,
}

/// Until when a caller waits.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// When an answer must leave for the caller to hear it.
    pub answer_by: Instant,
    /// When the caller is gone.
    pub deadline: Instant,
}

/// Why nothing can be told of a saga or a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoStanding {
    /// No such saga is recorded.
    #[error("no such saga is recorded")]
    NotFound,
    /// Nothing happened: there is too much to do.
    #[error("too many sagas in flight")]
    Overloaded {
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// The request id was used for other content.
    #[error("the request id was used for other content")]
    Reused,
    /// The journal or a participant cannot be asked, or the outcome of a commit is not known yet: ask again.
    #[error("the outcome is not known; ask again")]
    Unavailable,
    /// Something that was recorded does not decode.
    #[error("a record of saga {0} does not decode")]
    Unreadable(SagaId),
}

impl From<NotAccepted> for NoStanding {
    fn from(error: NotAccepted) -> Self {
        match error {
            NotAccepted::Overloaded { retry_after } => Self::Overloaded { retry_after },
            NotAccepted::Reused => Self::Reused,
        }
    }
}

impl From<db::Error> for NoStanding {
    fn from(error: db::Error) -> Self {
        warn!(%error, "journal not readable");
        Self::Unavailable
    }
}

impl Engine {
    /// Begins the saga of a client's request, or joins the one that the request already has, and waits for its outcome as
    /// long as the caller does.
    ///
    /// # Errors
    /// See [`NoStanding`].
    pub async fn run(&self, saga: NewSaga, patience: Patience) -> Result<Answer, NoStanding> {
        let Accepted { mut progress, joined } = self.submit(saga)?;
        let is_over =
            |progress: &Progress| !matches!(progress, Progress::Starting | Progress::Running(_));
        // Whether it came, or the time did, or the executor is gone: what counts is what stands there now.
        let _ = tokio::time::timeout_at(patience.answer_by, progress.wait_for(is_over)).await;
        let seen = progress.borrow().clone();
        match seen {
            Progress::Decided { saga, outcome, result } => {
                Ok(Answer { saga, standing: Standing::Ended { outcome, result }, joined })
            }
            Progress::Running(saga) => self.of_running(saga, joined, patience).await,
            Progress::Elsewhere(saga) => self.of_elsewhere(saga, patience.answer_by).await,
            Progress::Reused => Err(NoStanding::Reused),
            Progress::Overloaded(retry_after) => Err(NoStanding::Overloaded { retry_after }),
            // Not known to be durable: neither failed nor running may be told.
            Progress::Starting | Progress::Unknown => Err(NoStanding::Unavailable),
        }
    }

    /// A saga whose executor here is not at its end when the caller's time is up. Another replica may have told the end
    /// already, where it took the saga over or read its rows. A participant that cannot be reached from here is what the
    /// executor waits for: then the saga is on its way.
    async fn of_running(
        &self,
        saga: SagaId,
        joined: bool,
        patience: Patience,
    ) -> Result<Answer, NoStanding> {
        // Half of the time that is kept for the answer's way.
        let left = patience.deadline.saturating_duration_since(Instant::now());
        let standing = match tokio::time::timeout(left / 2, self.look_up(saga)).await {
            Ok(Ok((_, standing))) => standing,
            Ok(Err(unreadable @ NoStanding::Unreadable(_))) => return Err(unreadable),
            Ok(Err(_)) | Err(_) => Standing::Running,
        };
        Ok(Answer { saga, standing, joined })
    }

    /// The outcome of a saga that an earlier request began and that does not run here.
    async fn of_elsewhere(&self, saga: SagaId, answer_by: Instant) -> Result<Answer, NoStanding> {
        loop {
            let known = tokio::time::timeout_at(answer_by, self.look_up(saga)).await;
            let known = known.unwrap_or(Err(NoStanding::Unavailable));
            let is_last = Instant::now() + LOOK_EVERY >= answer_by;
            match known {
                Ok((_, Standing::Running)) | Err(NoStanding::Unavailable) if !is_last => {}
                Ok((_, standing)) => return Ok(Answer { saga, standing, joined: true }),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A saga's record, and how it stands: by END, or an operator's decision, in the journal; by what its executor here
    /// has told; by its rows. Never running after anybody was told its end.
    ///
    /// # Errors
    /// See [`NoStanding`].
    pub async fn look_up(&self, saga: SagaId) -> Result<(Record, Standing), NoStanding> {
        // Before the journal: a saga is forgotten here only after its END is written, so that one of the two tells.
        let here = self.told_here(saga);
        let running = match self.find(saga).await?.ok_or(NoStanding::NotFound)? {
            ended @ Record::Ended(_) => return Ok(of_journal(ended)),
            running @ Record::Running(_) => running,
        };
        if let Some(standing) = here {
            return Ok((running, standing));
        }
        let by_rows = self.by_rows(running.start()).await?;
        // The rows go when END has been written for long; and an operator's decision stands above them.
        let record = match self.find(saga).await?.ok_or(NoStanding::NotFound)? {
            ended @ Record::Ended(_) => return Ok(of_journal(ended)),
            running @ Record::Running(_) => running,
        };
        match by_rows {
            ByRows::Ended(standing) => Ok((record, standing)),
            ByRows::Open => Ok((record, Standing::Running)),
            ByRows::Unknown if self.watch(saga).is_some() => Ok((record, Standing::Running)),
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
        let progress: watch::Receiver<Progress> = self.watch(saga)?;
        match &*progress.borrow() {
            Progress::Decided { outcome, result, .. } => {
                Some(Standing::Ended { outcome: *outcome, result: Arc::clone(result) })
            }
            _ => None,
        }
    }

    async fn by_rows(&self, start: &Start) -> Result<ByRows, NoStanding> {
        if !self.knows(start.plan) {
            // A replica that runs a newer program can tell.
            return Err(NoStanding::Unavailable);
        }
        let unreadable = |unreadable| {
            error!(%unreadable, saga = %start.saga, "saga not readable");
            NoStanding::Unreadable(start.saga)
        };
        let instance = self.instance(start).map_err(unreadable)?;
        let rows = self.rows(start, &*instance).await.all_found(instance.steps());
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
