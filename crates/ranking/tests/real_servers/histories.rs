//! Random histories against a recount by brute force: orders in time, late, ahead and on the edges of minutes, hours and
//! the window, cancels, two replicas that trip over each other, a clock that jumps, counts that are lost.

use crate::support::{Hand, TOKEN, client, redis, store};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use embedded::Redis;
use events::{PerShard, Positions, Shard};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use ranking::Store;
use ranking::domain::{Change, Entry, Kind, best};
use ranking::store::{Error, Portion, Target};
use std::collections::BTreeMap;

const STEPS: usize = 400;
const PRODUCTS: i64 = 7;
const WINDOW: TimeDelta = TimeDelta::hours(72);

/// What was ordered, and what the counts were told of it.
struct History {
    random: StdRng,
    redis: Redis,
    hand: Hand,
    store: Store,
    now: DateTime<Utc>,
    /// All events by shard; position n is the n-th.
    events: PerShard<Vec<Change>>,
    /// Orders that stand.
    standing: Vec<Change>,
    /// What each replica believes to have been counted.
    replicas: [Positions; 2],
    orders: i64,
}

fn minute(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(TimeDelta::minutes(1)).unwrap()
}

impl History {
    async fn begin(seed: u64) -> Self {
        let (redis, hand) = (redis().await, Hand::new());
        let store = store(&redis, &hand);
        let generation = store.create(TOKEN).await.unwrap();
        store.serve(&generation, TOKEN).await.unwrap();
        Self {
            random: StdRng::seed_from_u64(seed),
            redis,
            hand,
            store,
            now: crate::support::start(),
            events: PerShard::from_fn(|_| Vec::new()),
            standing: Vec::new(),
            replicas: [Positions::default(); 2],
            orders: 0,
        }
    }

    async fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..45 => self.order(),
            45..60 => self.cancel(),
            60..80 => self.deliver(usize::MAX).await,
            80..97 => self.pass(),
            97 => self.lose().await,
            _ => self.compare().await,
        }
    }

    fn order(&mut self) {
        self.orders += 1;
        let micro = TimeDelta::microseconds(1);
        let placed_at = match self.random.random_range(0..10) {
            0..5 => self.now,
            5 => self.now - TimeDelta::seconds(self.random.random_range(0..74 * 3_600)),
            6 => self.now + TimeDelta::seconds(self.random.random_range(0..120)),
            7 => minute(self.now) - WINDOW,
            8 => minute(self.now) - WINDOW - micro,
            _ => self.now.duration_trunc(TimeDelta::hours(1)).unwrap() - micro,
        };
        let count = self.random.random_range(1..=3);
        let all: Vec<i64> = (1..=PRODUCTS).collect();
        let products = all.choose_multiple(&mut self.random, count).copied().collect();
        let (kind, order_id) = (Kind::Confirmed, self.orders);
        let order = Change { position: 0, kind, order_id, placed_at, products };
        self.standing.push(order.clone());
        self.tell(order);
    }

    fn cancel(&mut self) {
        if self.standing.is_empty() {
            return;
        }
        let order = self.standing.swap_remove(self.random.random_range(0..self.standing.len()));
        self.tell(Change { kind: Kind::Cancelled, ..order });
    }

    fn tell(&mut self, change: Change) {
        let events = &mut self.events[Shard::of("order", change.order_id)];
        let position = i64::try_from(events.len()).unwrap() + 1;
        events.push(Change { position, ..change });
    }

    /// A replica hands over what it believes to be missing, up to so many events of a shard.
    async fn deliver(&mut self, most: usize) {
        let replica = self.random.random_range(0..2);
        let mut portions = Vec::new();
        for shard in Shard::all() {
            let after = self.replicas[replica][shard];
            let events = &self.events[shard][usize::try_from(after).unwrap()..];
            let most = self.random.random_range(0..=events.len()).min(most);
            let changes = events[..most].to_vec();
            let through = after + i64::try_from(most).unwrap();
            portions.push(Portion { shard, after, through, changes });
        }
        match self.store.apply(Target::Served, &portions).await {
            Ok(_) => {
                for Portion { shard, through, .. } in portions {
                    self.replicas[replica][shard] = through;
                }
            }
            Err(Error::Moved) => {
                self.replicas[replica] = self.store.positions().await.unwrap().1;
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Time passes: a little, to an edge, or over it.
    fn pass(&mut self) {
        let micro = TimeDelta::microseconds(1);
        let next = |span| self.now.duration_trunc(span).unwrap() + span;
        self.now = match self.random.random_range(0..12) {
            0..4 => self.now + TimeDelta::seconds(self.random.random_range(0..90)),
            4..6 => next(TimeDelta::minutes(1)),
            6 => next(TimeDelta::minutes(1)) - micro,
            7 => next(TimeDelta::hours(1)),
            8 => next(TimeDelta::hours(1)) - micro,
            9 => self.now + TimeDelta::minutes(self.random.random_range(0..600)),
            10 => self.now + TimeDelta::hours(self.random.random_range(0..30)),
            _ => self.now + micro,
        };
        self.hand.set(self.now);
    }

    /// Everything is gone, and counted afresh from all events.
    async fn lose(&mut self) {
        let mut connection = client(&self.redis).get_multiplexed_async_connection().await.unwrap();
        let () = redis::cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
        let generation = self.store.create(TOKEN).await.unwrap();
        let portions: Vec<Portion> = Shard::all().map(|shard| self.rest(shard, 0)).collect();
        self.store.apply(Target::Fresh(&generation), &portions).await.unwrap();
        self.store.serve(&generation, TOKEN).await.unwrap();
    }

    /// The events of a shard above a position.
    fn rest(&self, shard: Shard, after: i64) -> Portion {
        let changes = self.events[shard][usize::try_from(after).unwrap()..].to_vec();
        let through = i64::try_from(self.events[shard].len()).unwrap();
        Portion { shard, after, through, changes }
    }

    /// The counts are those of the orders of the window whose events they have seen.
    async fn compare(&mut self) {
        let snapshot = self.store.snapshot().await.unwrap();
        assert_eq!(snapshot.window.start, minute(self.now) - WINDOW);
        assert_eq!(snapshot.window.as_of, self.now);
        let expected = self.recount(&snapshot.positions);
        let counted = best(snapshot.entries, usize::MAX);
        assert_eq!(counted, expected);
        for limit in [1, 3, 5] {
            let top = self.store.top(limit).await.unwrap().entries;
            let limit = usize::try_from(limit).unwrap();
            assert_eq!(best(top, limit), expected[..limit.min(expected.len())]);
        }
    }

    fn recount(&self, seen: &Positions) -> Vec<Entry> {
        let mut orders: BTreeMap<i64, &Change> = BTreeMap::new();
        for (shard, events) in self.events.iter() {
            for event in &events[..usize::try_from(seen[shard]).unwrap()] {
                match event.kind {
                    Kind::Confirmed => orders.insert(event.order_id, event),
                    Kind::Cancelled => orders.remove(&event.order_id),
                };
            }
        }
        let is_counted =
            |order: &&&Change| (minute(self.now) - WINDOW..self.now).contains(&order.placed_at);
        let mut entries: BTreeMap<i64, Entry> = BTreeMap::new();
        for order in orders.values().filter(is_counted) {
            for product_id in order.products.iter().copied() {
                let latest = order.placed_at;
                let new = Entry { product_id, orders: 0, latest };
                let entry = entries.entry(product_id).or_insert(new);
                entry.orders += 1;
                entry.latest = entry.latest.max(latest);
            }
        }
        best(entries.into_values().collect(), usize::MAX)
    }

    async fn run(seed: u64) {
        println!("seed {seed}");
        let mut history = Self::begin(seed).await;
        for _ in 0..STEPS {
            history.step().await;
        }
        let (_, counted) = history.store.positions().await.unwrap();
        let portions: Vec<Portion> =
            Shard::all().map(|shard| history.rest(shard, counted[shard])).collect();
        history.store.apply(Target::Served, &portions).await.unwrap();
        history.compare().await;
        history.now += WINDOW + TimeDelta::minutes(3);
        history.hand.set(history.now);
        history.compare().await;
    }
}

#[tokio::test]
async fn counts_equal_a_recount_over_random_histories() {
    for seed in 0..8 {
        History::run(seed).await;
    }
}

#[tokio::test]
#[ignore = "takes minutes: hundreds of histories, new ones each time"]
async fn counts_equal_a_recount_over_hundreds_of_random_histories() {
    let first = rand::rng().random_range(1_000..1_000_000);
    for seed in first..first + 300 {
        History::run(seed).await;
    }
}
