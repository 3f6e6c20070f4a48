//! A whole shop in the test's process: real databases, a Redis of its own, real ports.
//!
//! It runs on a runtime of its own, so that it can crash: everything that runs is dropped where it stands, and only what
//! was committed is left.

mod calls;
mod goods;
mod settled;
mod stuck;

pub use calls::{
    at_once, checkout_on, coupon_admin_on, coupons_on, events_on, issue, orders_on, patiently,
    place, product_admin_on, products_on, ranking_admin_on, ranking_on, reason, wallets_on,
};
pub use goods::Coupon;

use crate::servers::{fresh_database, fresh_redis};
use commerce::config::Config;
use commerce::process::{Listening, Process};
use commerce::roles::Roles;
use coupon::TurnedAway;
use db::{Db, Options};
use embedded::Redis;
use migrations::Schema;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::AtomicI64;
use std::time::Duration;
use tokio::runtime::{self, Runtime};

/// Whether a service is offered on the admin listener, by its name without the package.
pub fn is_admin(service: &str) -> bool {
    service.ends_with("AdminService") || matches!(service, "EventService" | "SagaService")
}

/// How long a runtime may take to drop what runs on it.
const DROP: Duration = Duration::from_secs(10);
/// Threads of a shop.
const THREADS: usize = 2;

/// A whole shop. Its ports stay the same over restarts.
pub struct Shop {
    settings: Vec<(String, String)>,
    databases: Vec<(Schema, String)>,
    redis: Redis,
    live: Mutex<Option<Live>>,
    listening: Listening,
    next_user: AtomicI64,
    next_name: AtomicI64,
}

/// A shop to be, with settings of its own.
#[derive(Debug, Default)]
pub struct Builder {
    settings: Vec<(String, String)>,
}

struct Live {
    process: Process,
    runtime: Runtime,
}

impl Builder {
    /// Sets a key of the configuration, such as `saga.deadline` to `2s`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.settings.push((key.to_owned(), value.into()));
        self
    }

    /// Opens the shop.
    pub async fn start(self) -> Shop {
        let mut databases = Vec::new();
        for schema in Schema::ALL {
            databases.push((schema, fresh_database(schema.name()).await));
        }
        let redis = fresh_redis().await;
        let mut settings = vec![("redis.url".to_owned(), redis.url())];
        for (schema, url) in &databases {
            settings.push((format!("database.{}.url", schema.name()), url.clone()));
        }
        for listener in ["public", "participant", "admin"] {
            settings.push((format!("listen.{listener}"), "127.0.0.1:0".to_owned()));
        }
        // Tests look at once for what they did.
        settings.push(("product_cache.capacity".to_owned(), "0".to_owned()));
        settings.extend(self.settings);
        let live = Live::start(&settings).await;
        let listening = live.process.listening();
        let mut keep = |name: &str, address: Option<SocketAddr>| {
            let address = address.expect("every listener is open");
            settings.push((format!("listen.{name}"), address.to_string()));
        };
        keep("public", Some(listening.public));
        keep("participant", listening.participant);
        keep("admin", Some(listening.admin));
        Shop {
            settings,
            databases,
            redis,
            live: Mutex::new(Some(live)),
            listening,
            next_user: AtomicI64::new(1),
            next_name: AtomicI64::new(1),
        }
    }
}

impl Live {
    async fn start(settings: &[(String, String)]) -> Self {
        let pairs = settings.iter().map(|(key, value)| (key.as_str(), value.clone()));
        let config = Config::with(pairs).expect("the shop's settings are allowed");
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .enable_all()
            .build()
            .expect("a runtime for the shop");
        let starting = tokio::task::spawn_blocking(move || {
            let process = runtime.block_on(Process::start(&config, &Roles::all()));
            (process, runtime)
        });
        let (process, runtime) = starting.await.expect("the shop's start does not panic");
        let process = process.unwrap_or_else(|error| panic_with(&error));
        Self { process, runtime }
    }

    async fn end(self) {
        let Self { process, runtime } = self;
        let stopping = runtime.spawn(process.stop());
        stopping.await.expect("the shop's end does not panic");
        drop_runtime(runtime).await;
    }
}

#[expect(clippy::panic, reason = "a test that cannot be set up has failed")]
fn panic_with(error: &dyn std::fmt::Debug) -> ! {
    panic!("{error:?}")
}

/// A runtime must not be dropped on a thread of another.
async fn drop_runtime(runtime: Runtime) {
    let dropped = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(DROP));
    dropped.await.expect("a runtime that ends");
}

impl Shop {
    /// Opens a shop with the default configuration.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A shop with settings of its own.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Closes the shop in good order. Its databases and its Redis stay. Nothing to do when it is closed.
    pub async fn stop(&self) {
        if let Some(live) = self.take() {
            live.end().await;
        }
    }

    /// Drops everything that runs, where it stands: no end is recorded, no connection closed in good order. Nothing to do
    /// when it is closed.
    pub async fn crash(&self) {
        if let Some(Live { process, runtime }) = self.take() {
            drop_runtime(runtime).await;
            drop(process);
        }
    }

    /// Closes the shop, if it is open, and opens it again on the same databases, Redis and ports.
    pub async fn restart(&self) {
        self.stop().await;
        let live = Live::start(&self.settings).await;
        *self.live.lock().expect("no test panicked inside") = Some(live);
    }

    fn take(&self) -> Option<Live> {
        self.live.lock().expect("no test panicked inside").take()
    }

    /// How many calls were told that a coupon campaign is sold out, by who knew it, since the shop was opened.
    ///
    /// # Panics
    /// When it is closed.
    pub fn turned_away(&self) -> TurnedAway {
        let live = self.live.lock().expect("no test panicked inside");
        live.as_ref().expect("the shop is open").process.turned_away()
    }

    /// Where it listens.
    pub fn listening(&self) -> Listening {
        self.listening
    }

    /// Its Redis, to be killed and restarted.
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// The URL of its Redis.
    pub fn redis_url(&self) -> String {
        self.redis.url()
    }

    /// Empties its Redis: streams, best sellers and all.
    pub async fn flush_redis(&self) {
        let client = redis::Client::open(self.redis_url()).expect("the Redis has a URL");
        let connection = client.get_multiplexed_async_connection().await;
        let mut connection = connection.expect("the Redis answers");
        redis::cmd("FLUSHALL").exec_async(&mut connection).await.expect("an empty Redis");
    }

    /// The URL of a schema's database.
    pub fn url(&self, schema: Schema) -> String {
        let found = self.databases.iter().find(|(other, _)| *other == schema);
        found.map(|(_, url)| url.clone()).expect("every schema has a database")
    }

    /// A pool of its own on a schema's database.
    pub async fn db(&self, schema: Schema) -> Db {
        Db::open(Options::new(self.url(schema))).await.expect("the database opens")
    }

    /// What an audit looks at.
    pub fn targets(&self) -> audit::Targets {
        let redis = audit::Redis { url: self.redis_url(), prefix: "commerce".to_owned() };
        audit::Targets {
            wallet: self.url(Schema::Wallet),
            product: self.url(Schema::Product),
            coupon: self.url(Schema::Coupon),
            order: self.url(Schema::Order),
            orchestrator: self.url(Schema::Orchestrator),
            activity: Some(self.url(Schema::Activity)),
            streams: Some(redis.streams().expect("the URL of Redis")),
            ranking: Some(redis),
            relayed_within: None,
        }
    }

    /// Waits until the shop is at rest, sees that every invariant holds, and closes it.
    pub async fn stop_and_audit(&self) {
        self.settled().await;
        let report = audit::run(&self.targets()).await.expect("an audit");
        assert!(report.is_clean(), "{report}");
        self.stop().await;
    }
}

impl Drop for Shop {
    /// A test that failed leaves its shop open; a runtime must not be dropped in another one.
    fn drop(&mut self) {
        if let Some(Live { runtime, .. }) = self.live.get_mut().ok().and_then(Option::take) {
            runtime.shutdown_background();
        }
    }
}
