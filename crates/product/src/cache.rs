//! Products as they were a moment ago, for those who only look.
//!
//! What is served was true at most [`STALENESS`] before the call. Two caches stand in front of the rows, one in this process
//! and one in Redis, and their ages do not add up: a copy in Redis ends at an instant of Redis's clock that was taken before
//! the rows were read, and a copy of that copy ends with it. One call at a time reads a product; those who come meanwhile
//! share its answer, unless it is too old for them. Products that do not exist are not remembered, so nobody fills the cache
//! with ids that he made up.
//!
//! After a write of this process, steps of orders included, its next read goes to the rows. Other processes may see the old state until it ends. Stock is
//! never reserved from here.

mod copies;

use crate::domain::ProductId;
use api::product::v1::Product as Item;
use api::{Reason, Refusal};
use copies::{Copies, Found};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;

/// How old an answer may be: the bound that the contract publishes.
pub const STALENESS: Duration = Duration::from_secs(1);

/// How often a copy in Redis is dropped at most that is written all the time. Other processes may see an old state for
/// longer than that anyway.
const DROP_EVERY: Duration = Duration::from_millis(20);

/// The caches of a process. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    capacity: usize,
    lasting: Duration,
    copies: Option<Arc<Copies>>,
    slots: Arc<Mutex<Slots>>,
}

/// What this process knows of products.
struct Slots {
    by_id: HashMap<ProductId, Slot>,
    /// Numbers the reads, so that one that comes to its end knows whether it is still wanted.
    reads: u64,
    /// When what is over is next thrown out of a cache that is full.
    sweep_at: Instant,
}

enum Slot {
    Fresh(Copy),
    /// Somebody reads it.
    Read {
        number: u64,
        answer: Answer,
    },
    /// It was written: copies in Redis may be older until then.
    Written {
        until: Instant,
        /// When the copy in Redis was last dropped.
        dropped_at: Instant,
    },
}

#[derive(Clone)]
struct Copy {
    item: Arc<Item>,
    until: Instant,
}

/// What a read came to; none as long as it lasts.
type Answer = watch::Receiver<Option<Result<Arc<Read>, Status>>>;

struct Read {
    copies: HashMap<ProductId, Copy>,
    /// How long the absence of a product may be told.
    until: Instant,
}

/// A product that is to be read; where Redis must not be asked, until when.
type Wanted = (ProductId, Option<Instant>);

impl Cache {
    /// A cache of this process for about so many products; 0 for none.
    pub fn new(capacity: usize) -> Self {
        let slots = Slots { by_id: HashMap::new(), reads: 0, sweep_at: Instant::now() };
        let slots = Arc::new(Mutex::new(slots));
        Self { capacity, lasting: STALENESS, copies: None, slots }
    }

    /// The same in front of copies in the Redis at `url`, their keys beginning with `prefix`. Connects when first used.
    ///
    /// # Errors
    /// A URL that is none.
    pub fn with_redis(mut self, url: &str, prefix: &str) -> Result<Self, redis::RedisError> {
        self.copies = Some(Arc::new(Copies::open(url, prefix)?));
        Ok(self)
    }

    /// The same with another bound than [`STALENESS`]: for tests.
    #[must_use]
    pub fn lasting(mut self, lasting: Duration) -> Self {
        self.lasting = lasting;
        self
    }

    /// Products that this process knows.
    pub fn len(&self) -> usize {
        self.slots().by_id.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those of these products that exist, as true as the bound asks for. `load` reads rows.
    ///
    /// # Errors
    /// Those of `load`, which nobody remembers.
    pub async fn get<F, L>(
        &self,
        ids: BTreeSet<ProductId>,
        load: F,
    ) -> Result<HashMap<ProductId, Arc<Item>>, Status>
    where
        F: Fn(BTreeSet<ProductId>) -> L + Clone + Send + 'static,
        L: Future<Output = Result<Vec<Item>, Status>> + Send + 'static,
    {
        let came = Instant::now();
        let (mut found, mut wanted) = (HashMap::new(), ids);
        while !wanted.is_empty() {
            let mut again = BTreeSet::new();
            for (id, mut answer) in self.answers(wanted, &mut found, &load) {
                let read = answer.wait_for(Option::is_some).await.map_err(|_| panicked())?.clone();
                let read = read.ok_or_else(panicked)??;
                match read.copies.get(&id) {
                    Some(copy) if copy.until >= came => {
                        found.insert(id, Arc::clone(&copy.item));
                    }
                    None if read.until >= came => {}
                    // It was under way for too long when this call came.
                    _ => drop(again.insert(id)),
                }
            }
            wanted = again;
        }
        Ok(found)
    }

    /// The product was written, or may have been: what is known of it is thrown away.
    pub fn forget(&self, id: ProductId) {
        let now = Instant::now();
        let mut slots = self.slots();
        // Kept in any case, and thrown out when it is over, though nobody reads.
        slots.has_room(self.capacity, now);
        // Orders may write a product a thousand times a second: its copy need not be dropped as often.
        let dropped_at = match slots.by_id.get(&id) {
            Some(Slot::Written { dropped_at, .. }) if now < *dropped_at + DROP_EVERY => *dropped_at,
            _ => now,
        };
        slots.by_id.insert(id, Slot::Written { until: now + self.lasting, dropped_at });
        drop(slots);
        if let Some(copies) = self.copies.clone().filter(|_| dropped_at == now) {
            tokio::spawn(async move { copies.discard(id).await });
        }
    }

    /// What is known goes to `found`; for the rest, the reads that will tell: those of others, and one of our own.
    fn answers<F, L>(
        &self,
        ids: BTreeSet<ProductId>,
        found: &mut HashMap<ProductId, Arc<Item>>,
        load: &F,
    ) -> Vec<(ProductId, Answer)>
    where
        F: Fn(BTreeSet<ProductId>) -> L + Clone + Send + 'static,
        L: Future<Output = Result<Vec<Item>, Status>> + Send + 'static,
    {
        let now = Instant::now();
        let mut answers = Vec::new();
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut slots = self.slots();
        for id in ids {
            match slots.by_id.get(&id) {
                Some(Slot::Fresh(copy)) if now < copy.until => {
                    found.insert(id, Arc::clone(&copy.item));
                }
                // One that broke down tells nobody anything.
                Some(Slot::Read { answer, .. }) if answer.has_changed().is_ok() => {
                    answers.push((id, answer.clone()));
                }
                Some(Slot::Written { until, .. }) if now < *until => {
                    wanted.push((id, Some(*until)));
                }
                _ => wanted.push((id, None)),
            }
        }
        if wanted.is_empty() {
            return answers;
        }
        slots.reads += 1;
        let (number, (tell, answer)) = (slots.reads, watch::channel(None));
        for (id, _) in wanted.iter().copied() {
            slots.by_id.insert(id, Slot::Read { number, answer: answer.clone() });
            answers.push((id, answer.clone()));
        }
        drop(slots);
        let (cache, load) = (self.clone(), load.clone());
        // A task of its own: others wait for it, whether or not this call is given up.
        tokio::spawn(async move {
            let read = cache.read(&wanted, load).await.map(Arc::new);
            cache.settle(number, &wanted, read.as_ref().ok());
            tell.send_replace(Some(read));
        });
        answers
    }

    async fn read<F, L>(&self, wanted: &[Wanted], load: F) -> Result<Read, Status>
    where
        F: Fn(BTreeSet<ProductId>) -> L,
        L: Future<Output = Result<Vec<Item>, Status>>,
    {
        let mut read = Read { copies: HashMap::new(), until: Instant::now() + self.lasting };
        let mut stamp = None;
        let askable: Vec<ProductId> =
            wanted.iter().filter(|(_, written)| written.is_none()).map(|(id, _)| *id).collect();
        if let Some(copies) = self.copies.as_ref().filter(|_| !askable.is_empty())
            && let Some((asked, found)) = copies.read(&askable, self.lasting).await
        {
            stamp = Some(asked);
            for Found { item, until } in found {
                read.add(item, until);
            }
        }
        let all = wanted.iter().map(|(id, _)| *id);
        let missing: BTreeSet<_> = all.filter(|id| !read.copies.contains_key(id)).collect();
        if missing.is_empty() {
            return Ok(read);
        }
        let until = Instant::now() + self.lasting;
        let items = load(missing).await?;
        for item in &items {
            read.add(item.clone(), until);
        }
        if let (Some(copies), Some(stamp), false) = (self.copies.clone(), stamp, items.is_empty()) {
            let lasting = self.lasting;
            tokio::spawn(async move { copies.write(stamp, &items, lasting).await });
        }
        Ok(read)
    }

    /// Keeps what was read, where nobody has written or begun to read it again meanwhile.
    fn settle(&self, number: u64, wanted: &[Wanted], read: Option<&Arc<Read>>) {
        let now = Instant::now();
        let mut slots = self.slots();
        for (id, written_until) in wanted {
            match slots.by_id.get(id) {
                Some(Slot::Read { number: current, .. }) if *current == number => {}
                _ => continue,
            }
            let copy = read.and_then(|read| read.copies.get(id)).filter(|copy| now < copy.until);
            let slot = match (copy, written_until) {
                (Some(copy), _) if slots.has_room(self.capacity, now) => Slot::Fresh(copy.clone()),
                (_, Some(until)) if now < *until => {
                    Slot::Written { until: *until, dropped_at: now }
                }
                _ => {
                    slots.by_id.remove(id);
                    continue;
                }
            };
            slots.by_id.insert(*id, slot);
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    /// Whether one more may stay, which is counted already. Throws out what is over, if that is needed and was not just done.
    fn has_room(&mut self, capacity: usize, now: Instant) -> bool {
        if self.by_id.len() > capacity && now >= self.sweep_at {
            self.by_id.retain(|_, slot| match slot {
                Slot::Fresh(Copy { until, .. }) | Slot::Written { until, .. } => now < *until,
                Slot::Read { .. } => true,
            });
            self.sweep_at = now + STALENESS / 4;
        }
        self.by_id.len() <= capacity
    }
}

impl Read {
    fn add(&mut self, item: Item, until: Instant) {
        let id = ProductId(item.product_id);
        self.copies.insert(id, Copy { item: Arc::new(item), until });
    }
}

fn panicked() -> Status {
    Refusal::new(Reason::Internal).into()
}
