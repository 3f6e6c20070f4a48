//! The list as it is served: a short-lived copy in this process, made anew by one caller at a time.

use crate::domain::{Window, best};
use crate::products::Products;
use crate::store::{self, Store};
use api::ranking::v1::TopProduct;
use api::{Reason, Refusal};
use arc_swap::ArcSwapOption;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tonic::Status;
use tracing::warn;

/// Places of the copy, which every request takes its own from.
pub(crate) const PLACES: u32 = 100;
/// How long the first reader of a process waits for counts that are being rebuilt.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks at counts that are being rebuilt.
const LOOK: Duration = Duration::from_millis(50);

/// The best sellers at an instant.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) products: Vec<TopProduct>,
    pub(crate) window: Window,
    made: Instant,
}

pub(crate) struct List {
    store: Store,
    products: Arc<dyn Products>,
    life: Duration,
    copy: ArcSwapOption<Copy>,
    turn: Mutex<()>,
}

impl List {
    pub(crate) fn new(store: Store, products: Arc<dyn Products>, life: Duration) -> Self {
        Self { store, products, life, copy: ArcSwapOption::empty(), turn: Mutex::new(()) }
    }

    /// The list, at most `life` old; older while it cannot be made anew, which its window tells.
    pub(crate) async fn get(&self) -> Result<Arc<Copy>, Status> {
        if let Some(copy) = self.fresh() {
            return Ok(copy);
        }
        let _turn = self.turn.lock().await;
        if let Some(copy) = self.fresh() {
            return Ok(copy);
        }
        let stale = self.copy.load_full();
        match (self.make(stale.is_some()).await, stale) {
            (Ok(copy), _) => {
                let copy = Arc::new(copy);
                self.copy.store(Some(Arc::clone(&copy)));
                Ok(copy)
            }
            (Err(status), Some(stale)) => {
                let as_of = stale.window.as_of;
                warn!(%status, %as_of, "the best sellers are served from an old copy");
                Ok(stale)
            }
            (Err(status), None) => Err(status),
        }
    }

    fn fresh(&self) -> Option<Arc<Copy>> {
        self.copy.load_full().filter(|copy| copy.made.elapsed() < self.life)
    }

    async fn make(&self, hurried: bool) -> Result<Copy, Status> {
        let made = Instant::now();
        let snapshot = loop {
            match self.store.top(PLACES).await {
                Ok(snapshot) => break snapshot,
                Err(store::Error::Missing) if !hurried && made.elapsed() < PATIENCE => {
                    sleep(LOOK).await;
                }
                Err(error) => return Err(unavailable(&error)),
            }
        };
        let places = usize::try_from(PLACES).unwrap_or(usize::MAX);
        let entries = best(snapshot.entries, places);
        let mut known = HashMap::new();
        if !entries.is_empty() {
            let ids = entries.iter().map(|entry| entry.product_id).collect();
            known.extend(
                self.products
                    .get(ids)
                    .await?
                    .into_iter()
                    .map(|product| (product.product_id, product)),
            );
        }
        let products = entries.iter().zip(1..).filter_map(|(entry, rank)| {
            let Some(product) = known.remove(&entry.product_id) else {
                warn!(product_id = entry.product_id, "a product that was ordered is not known");
                return None;
            };
            let (product_id, order_count) = (entry.product_id, entry.orders);
            Some(TopProduct {
                rank,
                product_id,
                name: product.name,
                price: product.price,
                order_count,
            })
        });
        Ok(Copy { products: products.collect(), window: snapshot.window, made })
    }
}

pub(crate) fn unavailable(error: &dyn std::error::Error) -> Status {
    warn!(%error, "the ranking is unavailable");
    Refusal::new(Reason::Unavailable).with("service", "ranking").into()
}
