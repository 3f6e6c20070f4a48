//! The list as it is served: a short-lived copy in this process, made anew by one at a time.
//!
//! Making it anew is a task of its own: it goes on when the reader who caused it goes away. Readers wait for it, but not
//! for long where there is a copy to tell: so a Redis or a product service that hangs makes the list old, not slow.

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
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;
use tracing::{Instrument as _, warn};

/// Places of the copy, which every request takes its own from.
pub(crate) const PLACES: u32 = 100;
/// How long the first reader of a process waits for counts that are being rebuilt.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a reader waits for a newer list while there is an old one.
const HURRY: Duration = Duration::from_millis(250);
/// Between two looks at counts that are being rebuilt.
const LOOK: Duration = Duration::from_millis(50);

/// The best sellers at an instant.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) products: Vec<TopProduct>,
    pub(crate) window: Window,
    made: Instant,
}

/// The best sellers, and how old they are at most.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) copy: Arc<Copy>,
    pub(crate) max_age: Duration,
}

pub(crate) struct List {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    products: Arc<dyn Products>,
    life: Duration,
    copy: ArcSwapOption<Copy>,
    turn: Mutex<Option<Attempt>>,
}

/// The last time that the copy was to be made anew.
struct Attempt {
    began: Instant,
    outcome: Result<Arc<Copy>, Status>,
}

impl List {
    pub(crate) fn new(store: Store, products: Arc<dyn Products>, life: Duration) -> Self {
        let (copy, turn) = (ArcSwapOption::empty(), Mutex::new(None));
        Self { shared: Arc::new(Shared { store, products, life, copy, turn }) }
    }

    /// The list, at most `life` old; older while it cannot be made anew.
    pub(crate) async fn get(&self) -> Result<Told, Status> {
        let asked = Instant::now();
        if let Some(copy) = self.shared.fresh() {
            return Ok(self.told(copy));
        }
        let stale = self.shared.copy.load_full();
        let renewal = Arc::clone(&self.shared).renewed(asked);
        let renewal = tokio::spawn(renewal.in_current_span());
        let outcome = match stale {
            None => renewal.await,
            Some(stale) => match timeout(HURRY, renewal).await {
                Ok(Ok(Ok(copy))) => return Ok(self.told(copy)),
                _ => return Ok(self.told(stale)),
            },
        };
        Ok(self.told(outcome.map_err(|error| unavailable(&error))??))
    }

    /// Whether there is a list, however old.
    pub(crate) fn is_there(&self) -> bool {
        self.shared.copy.load().is_some()
    }

    fn told(&self, copy: Arc<Copy>) -> Told {
        let max_age = self.shared.life.max(copy.made.elapsed());
        Told { copy, max_age }
    }
}

impl Shared {
    fn fresh(&self) -> Option<Arc<Copy>> {
        self.copy.load_full().filter(|copy| copy.made.elapsed() < self.life)
    }

    /// A copy that is fresh, or that was begun after the reader asked; or why there is none.
    async fn renewed(self: Arc<Self>, asked: Instant) -> Result<Arc<Copy>, Status> {
        let mut last = self.turn.lock().await;
        if let Some(copy) = self.fresh() {
            return Ok(copy);
        }
        if let Some(attempt) = last.as_ref().filter(|attempt| attempt.began >= asked) {
            return attempt.outcome.clone();
        }
        let began = Instant::now();
        let stale = self.copy.load_full();
        let outcome = self.make(stale.is_some()).await.map(Arc::new);
        match (&outcome, stale) {
            (Ok(copy), _) => self.copy.store(Some(Arc::clone(copy))),
            (Err(status), Some(stale)) => {
                let as_of = stale.window.as_of;
                warn!(%status, %as_of, "the best sellers are served from an old copy");
            }
            (Err(_), None) => {}
        }
        *last = Some(Attempt { began, outcome: outcome.clone() });
        outcome
    }

    async fn make(&self, hurried: bool) -> Result<Copy, Status> {
        let made = Instant::now();
        let snapshot = loop {
            match self.store.top(PLACES).await {
                Ok(snapshot) => break snapshot,
                Err(store::Error::Missing | store::Error::Ahead)
                    if !hurried && made.elapsed() < PATIENCE =>
                {
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
                price_won: product.price_won,
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
