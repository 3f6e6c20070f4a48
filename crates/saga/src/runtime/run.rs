//! Running the saga of a client's request, and waiting for its outcome as long as the client does.

use super::engine::{Accepted, Engine};
use super::live::Progress;
use super::standing::{Answer, NoStanding, Standing};
use crate::journal::NewSaga;
use participant::SagaId;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

/// How long before its answer is due a saga is looked up whose executor here has not told its end: this, and a quarter of
/// the caller's time at most.
const LOOK_AHEAD: Duration = Duration::from_millis(500);
/// How often a saga that another replica runs is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Engine {
    /// Begins the saga of a client's request, or joins the one that the request already has, and waits for its outcome until
    /// `answer_by`.
    ///
    /// # Errors
    /// See [`NoStanding`].
    pub async fn run(&self, saga: NewSaga, answer_by: Instant) -> Result<Answer, NoStanding> {
        let Accepted { mut progress, joined } = self.submit(saga)?;
        let left = answer_by.saturating_duration_since(Instant::now());
        let look_at = Instant::now() + left.saturating_sub(LOOK_AHEAD.min(left / 4));
        // Whether it came, or the time did, or the executor is gone: what counts is what stands there now.
        let _ = timeout_at(look_at, progress.wait_for(is_over)).await;
        let has_started = |progress: &Progress| !matches!(progress, Progress::Starting);
        let _ = timeout_at(answer_by, progress.wait_for(has_started)).await;
        let seen = progress.borrow().clone();
        match seen {
            Progress::Decided { saga, outcome, result } => {
                Ok(Answer { saga, standing: Standing::Ended { outcome, result }, joined })
            }
            Progress::Running(saga) => {
                let standing = self.of_running(saga, progress, answer_by).await?;
                Ok(Answer { saga, standing, joined })
            }
            Progress::Elsewhere(saga) => {
                let standing = self.of_elsewhere(saga, answer_by).await?;
                Ok(Answer { saga, standing, joined: true })
            }
            Progress::Reused => Err(NoStanding::Reused),
            Progress::Overloaded(retry_after) => Err(NoStanding::Overloaded { retry_after }),
            // Not known to be durable: neither failed nor running may be told.
            Progress::Starting | Progress::Unknown => Err(NoStanding::Unavailable),
        }
    }

    /// How a saga stands whose executor here has not told its end. Another replica may have, where it took the saga over or
    /// read its rows: that the executor is on its way is no proof that the saga is.
    async fn of_running(
        &self,
        saga: SagaId,
        mut progress: watch::Receiver<Progress>,
        answer_by: Instant,
    ) -> Result<Standing, NoStanding> {
        let looked = tokio::select! {
            biased;
            Some(standing) = told_by(&mut progress, answer_by) => Ok(standing),
            looked = self.look_up(saga, answer_by) => looked.map(|(_, standing)| standing),
        };
        match looked {
            // The executor may come to the end in the time that is left.
            Ok(Standing::Running) | Err(NoStanding::Unavailable) => {
                told_by(&mut progress, answer_by).await.map_or(looked, Ok)
            }
            looked => looked,
        }
    }

    /// How a saga stands that an earlier request began and that does not run here.
    async fn of_elsewhere(&self, saga: SagaId, answer_by: Instant) -> Result<Standing, NoStanding> {
        loop {
            let looked = self.look_up(saga, answer_by).await;
            // Another look would begin too late to be answered in time.
            let is_last = Instant::now() + 2 * LOOK_EVERY >= answer_by;
            match looked {
                Ok((_, Standing::Running)) | Err(NoStanding::Unavailable) if !is_last => {}
                looked => return looked.map(|(_, standing)| standing),
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

fn is_over(progress: &Progress) -> bool {
    !matches!(progress, Progress::Starting | Progress::Running(_))
}

/// The end that an executor tells in time; `None` where it tells none, or is gone.
async fn told_by(progress: &mut watch::Receiver<Progress>, answer_by: Instant) -> Option<Standing> {
    let _ = timeout_at(answer_by, progress.wait_for(is_over)).await;
    Standing::told(&progress.borrow())
}
