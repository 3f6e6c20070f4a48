//! Forgetting sagas that ended long ago, here and at the participants.

use super::engine::Engine;
use futures_util::future::join_all;
use lock::Turn;
use participant::SagaId;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How long a participant may take to raise its watermark, which waits for the batch that is under way there.
const PATIENCE: Duration = Duration::from_secs(5);

impl Engine {
    /// Forgets every `interval` what ended longer than `retention` ago, when it is this replica's `turn`, until cancelled.
    /// Replicas may all do it at once, and take turns to save work.
    pub async fn keep_house(
        self,
        interval: Duration,
        retention: Duration,
        turn: Turn,
        cancel: CancellationToken,
    ) {
        let mut due = tokio::time::interval(interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let rounds = async {
            loop {
                due.tick().await;
                match turn.run(self.forget(retention)).await {
                    None | Some(Ok(0)) => {}
                    Some(Ok(sagas)) => tracing::debug!(sagas, "forgot sagas that ended long ago"),
                    Some(Err(error)) => tracing::warn!(%error, "the journal was not tidied"),
                }
            }
        };
        Box::pin(cancel.run_until_cancelled(rounds)).await;
    }

    /// Raises the watermark to the newest saga that began at least `retention` ago, but below every unfinished one; tells
    /// the participants, of which one that does not answer hears it next time; and deletes from the journal what ended at
    /// least `retention` ago, with its requests. Tells how many sagas that were: none while the clocks are not trusted.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn forget(&self, retention: Duration) -> db::Result<usize> {
        let journal = self.journal();
        let Some(before) = journal.clock().cutoff(retention).await? else { return Ok(0) };
        let watermark = journal.raise_watermark(before).await?;
        self.tell(watermark).await;
        journal.forget(before).await
    }

    async fn tell(&self, watermark: SagaId) {
        let deadline = Instant::now() + PATIENCE;
        let told = self.inner.participants.iter().map(async |(name, participant)| {
            let raised = participant.raise_watermark(watermark, deadline);
            match tokio::time::timeout_at(deadline, raised).await {
                Ok(Ok(_)) => {}
                Ok(Err(status)) => {
                    tracing::warn!(participant = name, code = ?status.code(), "did not raise its watermark");
                }
                Err(_) => tracing::warn!(participant = name, "did not raise its watermark in time"),
            }
        });
        join_all(told).await;
    }
}
