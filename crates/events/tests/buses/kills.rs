//! `kill -9` of a process that relays and consumes: before it publishes, after it published and before it noted that,
//! after an effect and before it told the bus of it, and anywhere.

use crate::load::Load;
use crate::rows::Rows;
use crate::support::{client_at, relay, until};
use async_trait::async_trait;
use db::{Db, Options};
use embedded::{Redis, RedisOptions};
use events::bus::{Append, DeadLetter, Error, Generation, Message, Reader, State, Subscription};
use events::{Bell, Bus, PerShard, Positions, RedisStreams, Shard};
use migrations::Schema;
use rand::Rng;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const DATABASE: &str = "EVENTS_TEST_DATABASE";
const REDIS: &str = "EVENTS_TEST_REDIS";
const PLACE: &str = "EVENTS_TEST_PLACE";
/// What the process says when it stands at its place.
const THERE: &str = "at the place";
/// What it says when it begins.
const BEGUN: &str = "at work";

/// Where the process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The numbers are committed, and nothing is published under them.
    BeforePublish,
    /// Published, and the schema does not say so yet.
    AfterPublish,
    /// The effect is committed, and the bus was not told.
    BeforeAcknowledge,
    Anywhere,
}

impl Place {
    const ALL: [Self; 4] =
        [Self::BeforePublish, Self::AfterPublish, Self::BeforeAcknowledge, Self::Anywhere];
}

/// A bus on which the process stands still for ever at its place.
struct Trap {
    bus: RedisStreams,
    post: Arc<Post>,
}

/// What the consumer has of it.
struct TrapSubscription {
    subscription: Box<dyn Subscription>,
    post: Arc<Post>,
}

struct Post {
    place: Place,
    /// Times that the process still passes the place.
    passes: AtomicI64,
}

impl Post {
    async fn stand(&self, place: Place) {
        if place == self.place && self.passes.fetch_sub(1, Ordering::SeqCst) <= 0 {
            println!("{THERE}");
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Bus for Trap {
    async fn state(&self) -> Result<State, Error> {
        self.bus.state().await
    }

    async fn publish(&self, generation: &Generation, appends: Vec<Append>) -> Result<(), Error> {
        let is_full = appends.iter().any(|append| !append.messages.is_empty());
        if is_full {
            self.post.stand(Place::BeforePublish).await;
        }
        self.bus.publish(generation, appends).await?;
        if is_full {
            self.post.stand(Place::AfterPublish).await;
        }
        Ok(())
    }

    async fn reset(&self, generation: &Generation) -> Result<(), Error> {
        self.bus.reset(generation).await
    }

    fn reader(&self) -> Box<dyn Reader> {
        self.bus.reader()
    }

    fn subscribe(&self, consumer: &str) -> Box<dyn Subscription> {
        let (subscription, post) = (self.bus.subscribe(consumer), Arc::clone(&self.post));
        Box::new(TrapSubscription { subscription, post })
    }

    fn holds_back(&self) -> bool {
        self.bus.holds_back()
    }

    async fn acknowledged(&self, consumer: &str) -> Result<Positions, Error> {
        self.bus.acknowledged(consumer).await
    }

    async fn rewind(&self, consumer: &str) -> Result<(), Error> {
        self.bus.rewind(consumer).await
    }

    async fn heads(&self) -> Result<Option<Positions>, Error> {
        self.bus.heads().await
    }

    async fn replay(&self, consumer: &str) -> Result<(), Error> {
        self.bus.replay(consumer).await
    }

    async fn hold(&self, consumer: &str, positions: &Positions) -> Result<(), Error> {
        self.bus.hold(consumer, positions).await
    }

    async fn release(&self, consumer: &str) -> Result<(), Error> {
        self.bus.release(consumer).await
    }

    async fn bury(&self, consumer: &str, letter: &DeadLetter) -> Result<(), Error> {
        self.bus.bury(consumer, letter).await
    }

    async fn dead_letters(&self, consumer: &str) -> Result<Vec<DeadLetter>, Error> {
        self.bus.dead_letters(consumer).await
    }
}

#[async_trait]
impl Reader for TrapSubscription {
    async fn read(
        &mut self,
        after: &Positions,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(Shard, Vec<Message>)>, Error> {
        self.subscription.read(after, max, wait).await
    }
}

#[async_trait]
impl Subscription for TrapSubscription {
    async fn acknowledge(&mut self, positions: &Positions) -> Result<(), Error> {
        self.post.stand(Place::BeforeAcknowledge).await;
        self.subscription.acknowledge(positions).await
    }

    async fn exhausted(&mut self) -> Result<PerShard<bool>, Error> {
        self.subscription.exhausted().await
    }
}

fn streams(redis: &str) -> RedisStreams {
    RedisStreams::new(client_at(redis), "test", "order", &[Rows::NAME]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "is the process that others kill; does nothing by itself"]
async fn relays_and_consumes_until_it_is_killed() {
    let of = |name| std::env::var(name).ok();
    let (Some(url), Some(redis), Some(place)) = (of(DATABASE), of(REDIS), of(PLACE)) else {
        return;
    };
    let place = Place::ALL.into_iter().find(|it| format!("{it:?}") == place).unwrap();
    let passes = AtomicI64::new(rand::rng().random_range(0..4));
    let db = Db::open(Options::new(url)).await.unwrap();
    let bus = Arc::new(Trap { bus: streams(&redis), post: Arc::new(Post { place, passes }) });
    let _relay = relay(&db, bus.clone(), &Bell::default());
    let _consumer = Rows::open(db).await.consume(bus);
    println!("{BEGUN}");
    std::future::pending::<()>().await;
}

/// Starts the process, and returns when it says this.
async fn start(url: &str, redis: &Redis, place: Place, until: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "kills::relays_and_consumes_until_it_is_killed",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(DATABASE, url)
        .env(REDIS, redis.url())
        .env(PLACE, format!("{place:?}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = said.next_line().await.unwrap() {
        if line.contains(until) {
            return child;
        }
    }
    panic!("it ended");
}

async fn killed(rounds: usize) {
    let (db, url) = testkit::database(Schema::Order).await;
    let redis = Redis::start(RedisOptions::temporary()).await.unwrap();
    let rows = Rows::open(db.clone()).await;
    let load = Load::begin(&db);
    let mut random = rand::rng();
    for round in 0..rounds {
        for place in Place::ALL {
            let until = if place == Place::Anywhere { BEGUN } else { THERE };
            let mut child = start(&url, &redis, place, until).await;
            if place == Place::Anywhere {
                load.committed(random.random_range(20..400)).await;
            }
            child.kill().await.unwrap();
        }
        println!("killed {} times", (round + 1) * Place::ALL.len());
    }
    let expected = load.end().await;
    let bus: Arc<dyn Bus> = Arc::new(streams(&redis.url()));
    let _relay = relay(&db, bus.clone(), &Bell::default());
    let _consumer = rows.consume(bus);
    let count: usize = expected.values().map(Vec::len).sum();
    until(async || rows.effects().await.values().map(Vec::len).sum::<usize>() >= count).await;
    assert_eq!(rows.effects().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_place_under_load_nothing_is_lost_doubled_or_out_of_order() {
    killed(1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: kills a hundred times"]
async fn killed_a_hundred_times_under_load_nothing_is_lost_doubled_or_out_of_order() {
    killed(25).await;
}
