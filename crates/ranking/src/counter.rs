//! Counts order events as they come.

use crate::domain::{Change, Kind};
use crate::rebuild::{Error, Rebuild, Start};
use crate::store::{self, Portion, Store, Target};
use api::order::v1::{OrderCancelled, OrderConfirmed};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use events::message::read;
use events::{Batch, Bus, Delivered, Failure, Handler, Positions};
use tracing::warn;

/// The handler of the order events that keeps the served counts. Rebuilds them when they are gone.
pub struct Counter {
    store: Store,
    rebuild: Rebuild,
}

impl Counter {
    /// Counts into `store`.
    pub fn new(store: Store, rebuild: Rebuild) -> Self {
        Self { store, rebuild }
    }
}

#[async_trait]
impl Handler for Counter {
    async fn positions(&self) -> Result<Positions, Failure> {
        match self.store.positions().await {
            Ok((_, positions)) => return Ok(positions),
            Err(store::Error::Missing) => {}
            Err(store::Error::Ahead) => {
                warn!("the ranking's window is ahead of the present; counting afresh");
            }
            Err(error) => return Err(later(error)),
        }
        self.rebuild.run(Start::InPlaceOf(None)).await.map_err(later)?;
        let (_, positions) = self.store.positions().await.map_err(later)?;
        Ok(positions)
    }

    async fn apply(&self, batches: &[Batch]) -> Result<(), Failure> {
        let portions = batches.iter().map(portion).collect::<Result<Vec<_>, Failure>>()?;
        match self.store.apply(Target::Served, &portions).await {
            Ok(_) => Ok(()),
            Err(store::Error::Missing | store::Error::Ahead | store::Error::Moved) => {
                Err(Failure::Moved)
            }
            Err(error) => Err(later(error)),
        }
    }

    async fn start_over(&self) -> Result<(), Failure> {
        let seen = match self.store.positions().await {
            Ok((generation, _)) => Some(generation),
            Err(store::Error::Missing | store::Error::Ahead) => None,
            Err(error) => return Err(later(error)),
        };
        self.rebuild.run(Start::InPlaceOf(seen)).await.map_err(later)?;
        Ok(())
    }

    /// Orders that were counted are lost, and the counts must equal a recount.
    async fn rewound(&self) -> Result<(), Failure> {
        self.start_over().await?;
        Err(Failure::Moved)
    }
}

/// Whether the served counts hold everything that the relay has announced.
///
/// # Errors
/// Those of Redis and of the bus. Counts that are gone are merely behind.
pub async fn caught_up(store: &Store, bus: &dyn Bus) -> Result<bool, Error> {
    let Some(heads) = bus.heads().await? else {
        return Ok(false);
    };
    match store.positions().await {
        Ok((_, positions)) => Ok(heads.iter().all(|(shard, head)| positions[shard] >= *head)),
        Err(store::Error::Missing | store::Error::Ahead) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn later(error: impl std::fmt::Display) -> Failure {
    Failure::Later(error.to_string())
}

fn portion(batch: &Batch) -> Result<Portion, Failure> {
    let Batch { shard, after, through, .. } = *batch;
    let mut changes = Vec::with_capacity(batch.events.len());
    for event in &batch.events {
        let Delivered { position, index, .. } = *event;
        let poison = |reason| Failure::Poison { shard, position, index, reason };
        let change = change(event).map_err(poison)?;
        changes.extend(change);
    }
    Ok(Portion { shard, after, through, changes })
}

/// What an event changes, if anything.
pub(crate) fn change(event: &Delivered) -> Result<Option<Change>, String> {
    let Delivered { position, envelope, .. } = event;
    let position = *position;
    if let Some(order) = read::<OrderConfirmed>(envelope).map_err(|error| error.to_string())? {
        let placed_at = placed_at(order.placed_at)?;
        let products = once(order.lines.iter().map(|line| line.product_id).collect());
        let (kind, order_id) = (Kind::Confirmed, order.order_id);
        return Ok(Some(Change { position, kind, order_id, placed_at, products }));
    }
    if let Some(order) = read::<OrderCancelled>(envelope).map_err(|error| error.to_string())? {
        let placed_at = placed_at(order.placed_at)?;
        let products = once(order.product_ids);
        let (kind, order_id) = (Kind::Cancelled, order.order_id);
        return Ok(Some(Change { position, kind, order_id, placed_at, products }));
    }
    Ok(None)
}

fn once(mut products: Vec<i64>) -> Vec<i64> {
    products.sort_unstable();
    products.dedup();
    products
}

fn placed_at(at: Option<prost_types::Timestamp>) -> Result<DateTime<Utc>, String> {
    at.and_then(|at| DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?))
        .ok_or_else(|| "placed_at is no instant".to_owned())
}
