//! Forgetting sagas that ended long ago, here and at the participants.

use crate::calls::Caller;
use crate::service::Orchestrator;
use api::{coupon, order, product, wallet};
use lock::Turn;
use participant::SagaId;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

/// How long a participant may take to raise its floor, which waits for the batch that is under way there.
const BUDGET: Duration = Duration::from_secs(5);

impl Orchestrator {
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

    /// Raises the floor to the newest saga that began at least `retention` ago, but below every unfinished one; tells the
    /// participants, of which one that does not answer hears it next time; and deletes from the journal what ended at
    /// least `retention` ago, with its requests. Tells how many sagas that were: none while the clocks are not trusted.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn forget(&self, retention: Duration) -> db::Result<usize> {
        let journal = self.engine.journal();
        let Some(before) = journal.clock().cutoff(retention).await? else { return Ok(0) };
        let floor = journal.raise_floor(before).await?;
        self.tell(floor).await;
        journal.forget(before).await
    }

    async fn tell(&self, floor: SagaId) {
        let caller = Caller::of_nobody(floor);
        let bytes = floor.0.to_vec();
        let product = Request::new(product::v1::RaiseFloorRequest { floor: bytes.clone() });
        let coupon = Request::new(coupon::v1::RaiseFloorRequest { floor: bytes.clone() });
        let wallet = Request::new(wallet::v1::RaiseFloorRequest { floor: bytes.clone() });
        let order = Request::new(order::v1::RaiseFloorRequest { floor: bytes });
        let participants = &self.participants;
        let (product, coupon, wallet, order) = tokio::join!(
            caller.call(BUDGET, participants.product.raise_floor(product)),
            caller.call(BUDGET, participants.coupon.raise_floor(coupon)),
            caller.call(BUDGET, participants.wallet.raise_floor(wallet)),
            caller.call(BUDGET, participants.order.raise_floor(order)),
        );
        heard("product", product.err());
        heard("coupon", coupon.err());
        heard("wallet", wallet.err());
        heard("order", order.err());
    }
}

fn heard(participant: &str, refused: Option<Status>) {
    if let Some(status) = refused {
        tracing::warn!(participant, code = ?status.code(), "did not raise its floor");
    }
}
