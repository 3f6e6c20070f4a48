//! How a saga stands that is not known to have ended: a function of its rows, the same for every replica.

use crate::answer::Standing;
use crate::rows::Rows;
use crate::service::Orchestrator;
use api::{Reason, Refusal};
use saga::journal::{EndedAs, Start};
use saga::outcome::Outcome;
use saga::recorded::{Recorded, recorded};
use tonic::Status;

/// What the rows of a saga tell.
pub(crate) enum ByRows {
    /// It has ended, though END may not be written yet.
    Ended(Standing),
    /// It had not ended when the rows were read, unless END was written by then.
    Open,
    /// A participant cannot be reached, and without its rows nobody can tell.
    Unknown,
}

impl Orchestrator {
    /// Asks all participants of a saga for its rows.
    ///
    /// # Errors
    /// UNAVAILABLE where only another program knows the saga's plan; INTERNAL where the saga or a row does not decode.
    pub(crate) async fn by_rows(&self, start: &Start) -> Result<ByRows, Status> {
        if !self.engine.knows(start.plan) {
            return Err(Refusal::new(Reason::Unavailable).into());
        }
        let script = self.engine.script(start).map_err(|unreadable| {
            tracing::error!(%unreadable, saga = %start.saga, "saga not readable");
            Status::from(Refusal::new(Reason::Internal))
        })?;
        let rows = Rows::read(&self.participants, start).await.found(script.steps());
        let applies = |step, known: &_| script.applies(step, known);
        let standing = match recorded(script.shape(), applies, &rows) {
            Recorded::Ended(Outcome::Succeeded, known) => {
                Standing::of_result(start.saga, EndedAs::Succeeded, &script.succeeded(&known))?
            }
            Recorded::Ended(Outcome::Failed(failure), _) => {
                Standing::of_result(start.saga, EndedAs::Failed, &script.failed(&failure))?
            }
            Recorded::Open => return Ok(ByRows::Open),
            Recorded::Unknown => return Ok(ByRows::Unknown),
        };
        Ok(ByRows::Ended(standing))
    }
}
