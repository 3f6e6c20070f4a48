//! The services of a process, started, and what runs beside them.

use super::health::{self, Database};
use super::{Counts, links, open, open_pool};
use crate::carrier::Carrier;
use crate::config::{Config, Lanes, Limits, Problem, submit};
use crate::roles::{Role, Roles};
use activity::{Keeper, Log, Source};
use anyhow::Result;
use api::checkout::v1::checkout_service_server::SERVICE_NAME as CHECKOUT;
use api::coupon::v1::coupon_admin_service_server::SERVICE_NAME as COUPON_ADMIN;
use api::coupon::v1::coupon_participant_service_server::SERVICE_NAME as COUPON_STEPS;
use api::coupon::v1::coupon_service_server::SERVICE_NAME as COUPON;
use api::events::v1::EventSource;
use api::events::v1::event_service_server::SERVICE_NAME as EVENTS;
use api::order::v1::order_participant_service_server::SERVICE_NAME as ORDER_STEPS;
use api::order::v1::order_service_server::SERVICE_NAME as ORDER;
use api::product::v1::product_admin_service_server::SERVICE_NAME as PRODUCT_ADMIN;
use api::product::v1::product_participant_service_server::SERVICE_NAME as PRODUCT_STEPS;
use api::product::v1::product_service_client::ProductServiceClient;
use api::product::v1::product_service_server::SERVICE_NAME as PRODUCT;
use api::ranking::v1::ranking_admin_service_server::RankingAdminServiceServer;
use api::ranking::v1::ranking_service_server::RankingServiceServer;
use api::saga::v1::saga_admin_service_server::SERVICE_NAME as SAGA_ADMIN;
use api::saga::v1::saga_service_server::SERVICE_NAME as SAGAS;
use api::wallet::v1::wallet_participant_service_server::SERVICE_NAME as WALLET_STEPS;
use api::wallet::v1::wallet_service_client::WalletServiceClient;
use api::wallet::v1::wallet_service_server::SERVICE_NAME as WALLET;
use coupon::{Coupon, Notices, TurnedAway};
use db::Db;
use events::{Bell, Bus, Consumer, Purge, Relay};
use feed::Feeds;
use lock::{Locks, Turn};
use migrations::Schema;
use orchestrator::Orchestrator;
use order::Order;
use participant::{Housekeeper, Housekeeping, SagaParticipants, Steps};
use platform::{Chassis, Probe, supervised};
use product::{Cache, Product};
use ranking::{Counter, Rebuild, Store};
use saga::transport::Remote;
use saga_api::v1::saga_participant_service_server::SERVICE_NAME as SAGA_STEPS;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wallet::Wallet;

/// Connections for the streams of one source.
const FEED_CONNECTIONS: u32 = 3;
/// Streams of one source that read at once: all connections but the one that looks for what is new.
const FEED_READERS: usize = 2;

/// The services that this process has.
pub(super) struct Services {
    wallet: Option<Wallet>,
    product: Option<Product>,
    order: Option<Order>,
    coupon: Option<Coupon>,
    ranking: Option<Arc<ranking::Service>>,
    orchestrator: Option<Orchestrator>,
    feeds: Option<Feeds>,
    databases: BTreeMap<Role, Database>,
}

/// What starting services needs.
struct Starting<'a> {
    config: &'a Config,
    roles: &'a Roles,
    tasks: &'a TaskTracker,
    background: &'a CancellationToken,
    /// Cancelled when no more calls are taken.
    shutdown: &'a CancellationToken,
    /// For calls that stay in the process: they were admitted when they came in, so nothing is turned away here.
    inside: Chassis,
}

impl Services {
    pub(super) async fn start(
        config: &Config,
        roles: &Roles,
        tasks: &TaskTracker,
        background: &CancellationToken,
        shutdown: &CancellationToken,
    ) -> Result<Self> {
        let limits = platform::Limits { max_calls: usize::MAX, ..platform::Limits::default() };
        let inside = Chassis::new(limits, tasks.clone());
        Starting { config, roles, tasks, background, shutdown, inside }.all().await
    }

    /// What clients call.
    pub(super) fn public(&self) -> platform::Services {
        let mut services = platform::Services::default();
        if let Some(wallet) = &self.wallet {
            services = services.with(wallet.public());
        }
        if let Some(product) = &self.product {
            services = services.with(product.public());
        }
        if let Some(order) = &self.order {
            services = services.with(order.public());
        }
        if let Some(coupon) = &self.coupon {
            services = services.with(coupon.public());
        }
        if let Some(ranking) = &self.ranking {
            let server = RankingServiceServer::from_arc(Arc::clone(ranking));
            services = services.with(platform::served!(server));
        }
        if let Some(orchestrator) = &self.orchestrator {
            services = services.with(orchestrator.checkout());
        }
        services
    }

    /// What the orchestrator calls: `max_calls` steps at once, over all messages that hold several.
    pub(super) fn participants(&self, max_calls: usize, tasks: &TaskTracker) -> platform::Services {
        let here = [
            self.wallet.as_ref().map(Wallet::steps),
            self.product.as_ref().map(Product::steps),
            self.order.as_ref().map(Order::steps),
            self.coupon.as_ref().map(Coupon::steps),
        ];
        let here: Vec<Arc<dyn Steps>> = here.into_iter().flatten().collect();
        let mut services = platform::Services::default();
        if here.is_empty() {
            return services;
        }
        let all = SagaParticipants::new(here, max_calls, tasks.clone());
        services = services.with(all.server());
        if let Some(wallet) = &self.wallet {
            services = services.with(wallet.actions());
        }
        if let Some(product) = &self.product {
            services = services.with(product.actions());
        }
        if let Some(order) = &self.order {
            services = services.with(order.actions());
        }
        if let Some(coupon) = &self.coupon {
            services = services.with(coupon.actions());
        }
        services
    }

    /// How often each step was called.
    pub(super) fn calls(&self) -> Counts {
        let mut counts = Counts::new();
        let here = [
            self.wallet.as_ref().map(Wallet::calls),
            self.product.as_ref().map(Product::calls),
            self.order.as_ref().map(Order::calls),
            self.coupon.as_ref().map(Coupon::calls),
        ];
        for (step, calls) in here.into_iter().flatten().flatten() {
            *counts.entry(step.to_owned()).or_default() += calls;
        }
        counts
    }

    /// How many calls were told that a campaign is sold out, by who knew it.
    pub(super) fn turned_away(&self) -> TurnedAway {
        self.coupon.as_ref().map(Coupon::turned_away).unwrap_or_default()
    }

    /// What operators, the back office and other programs of the shop's owner call.
    pub(super) fn admin(&self) -> platform::Services {
        let mut services = platform::Services::default();
        if let Some(product) = &self.product {
            services = services.with(product.admin());
        }
        if let Some(coupon) = &self.coupon {
            services = services.with(coupon.admin());
        }
        if let Some(ranking) = &self.ranking {
            let server = RankingAdminServiceServer::from_arc(Arc::clone(ranking));
            services = services.with(platform::served!(server));
        }
        if let Some(orchestrator) = &self.orchestrator {
            services = services.with(orchestrator.admin()).with(orchestrator.submit());
        }
        if let Some(feeds) = &self.feeds {
            services = services.with(feeds.admin());
        }
        services
    }

    /// How to ask whether the services can answer.
    pub(super) fn probes(&self) -> Vec<Probe> {
        let wallet = self.wallet.clone().map(|it| health::lanes(move || it.health()));
        let product = self.product.clone().map(|it| health::lanes(move || it.health()));
        let order = self.order.clone().map(|it| health::lanes(move || it.health()));
        let coupon = self.coupon.clone().map(|it| health::lanes(move || it.health()));
        let orchestrator = self.orchestrator.as_ref().map(|it| it.engine().clone());
        let orchestrator = orchestrator.map(|it| health::lanes(move || it.journal().health()));
        let on_database = [
            (Role::Wallet, wallet, vec![WALLET, WALLET_STEPS]),
            (Role::Product, product, vec![PRODUCT, PRODUCT_ADMIN, PRODUCT_STEPS]),
            (Role::Order, order, vec![ORDER, ORDER_STEPS]),
            (Role::Coupon, coupon, vec![COUPON, COUPON_ADMIN, COUPON_STEPS]),
            (Role::Orchestrator, orchestrator, vec![CHECKOUT, SAGA_ADMIN, SAGAS]),
        ];
        let mut probes = Vec::new();
        for (role, lanes, services) in on_database {
            if let (Some(lanes), Some(database)) = (lanes, self.databases.get(&role)) {
                probes.push(health::on(database, lanes, services));
            }
        }
        let participants = self.databases.iter().filter(|(role, _)| role.is_participant());
        let participants: Vec<_> = participants.map(|(_, database)| database.clone()).collect();
        if !participants.is_empty() {
            probes.push(health::on_any(participants.clone(), SAGA_STEPS));
        }
        if self.feeds.is_some() {
            probes.push(health::on_any(participants, EVENTS));
        }
        if let Some(ranking) = &self.ranking {
            probes.push(health::ranking(ranking));
        }
        probes
    }

    /// Takes no more writes: sagas in flight may end for `patience`, what is queued in lanes still runs.
    pub(super) async fn close(&self, patience: Duration) {
        if let Some(orchestrator) = &self.orchestrator {
            orchestrator.engine().stop(patience).await;
        }
        if let Some(coupon) = &self.coupon {
            coupon.close();
        }
        if let Some(order) = &self.order {
            order.close();
        }
        if let Some(product) = &self.product {
            product.close();
        }
        if let Some(wallet) = &self.wallet {
            wallet.close();
        }
    }
}

impl Starting<'_> {
    async fn all(&self) -> Result<Services> {
        let (lanes, tasks) = (self.config.lanes, self.tasks);
        let mut databases = BTreeMap::new();
        let wallet = self.database(Role::Wallet, &mut databases).await?;
        let wallet = wallet.map(|db| Wallet::start(db, self.lanes(lanes.wallet), tasks));
        let product = self.database(Role::Product, &mut databases).await?;
        let product = match product {
            Some(db) => Some(self.product(db)?),
            None => None,
        };
        let order = self.database(Role::Order, &mut databases).await?;
        let order = order.map(|db| Order::start(db, self.lanes(lanes.order), tasks));
        let coupon = match self.database(Role::Coupon, &mut databases).await? {
            Some(db) => {
                let here = wallet.as_ref().map(|it| services(it.public()));
                let wallets = links::to_public(self.config, &self.inside, Role::Wallet, here)?;
                let wallets = WalletServiceClient::new(wallets);
                let notices = Notices::open(self.redis_url()?, &self.config.redis.prefix)?;
                Some(Coupon::start(db, self.lanes(lanes.coupon), wallets, notices, tasks))
            }
            None => None,
        };
        let (ranking, orchestrator, feeds) = (None, None, self.feeds().await?);
        let mut all =
            Services { wallet, product, order, coupon, ranking, orchestrator, feeds, databases };
        if self.roles.has(Role::Ranking) {
            all.ranking = Some(Arc::new(self.ranking(all.product.as_ref()).await?));
        }
        if self.roles.has(Role::Activity) && self.config.activity.enabled {
            self.activity().await?;
        }
        if self.roles.has(Role::Orchestrator) {
            let db = open(self.config, Schema::Orchestrator).await?;
            all.databases.insert(Role::Orchestrator, Database::new(db.clone()));
            all.orchestrator = Some(self.orchestrator(db, &all).await?);
        }
        Ok(all)
    }

    fn product(&self, db: Db) -> Result<Product> {
        let product = Product::start(db, self.lanes(self.config.lanes.product), self.tasks);
        let capacity = self.config.product_cache.capacity;
        if capacity == 0 {
            return Ok(product);
        }
        let cache = Cache::new(capacity);
        Ok(product.with_cache(cache.with_redis(self.redis_url()?, &self.config.redis.prefix)?))
    }

    /// The database of a role that is here, with its relay running.
    async fn database(
        &self,
        role: Role,
        databases: &mut BTreeMap<Role, Database>,
    ) -> Result<Option<Db>> {
        let Some(schema) = role.schema().filter(|_| self.roles.has(role)) else {
            return Ok(None);
        };
        let db = open(self.config, schema).await?;
        databases.insert(role, Database::new(db.clone()));
        self.watch_clock(&db).await;
        let bus = self.bus(schema)?;
        let relay = Relay::new(
            db.clone(),
            Arc::clone(&bus),
            Bell::default(),
            events::RelayOptions::default(),
        );
        self.supervise("relay", move |cancel| relay.clone().run(cancel));
        let interval = self.config.housekeeping.interval.into();
        let purge = Purge::new(db.clone(), bus, self.config.outbox.retention.into());
        let turn = self.turn("purge_outbox", schema)?;
        self.supervise("purge_outbox", move |cancel| {
            purge.clone().run(interval, turn.clone(), cancel)
        });
        let retention = self.config.idempotency.retention.into();
        let options = Housekeeping { interval, retention };
        let (turn, kept) = (self.turn("keep_house", schema)?, db.clone());
        self.supervise("keep_house", move |cancel| {
            Housekeeper::new(kept.clone(), options).run(turn.clone(), cancel)
        });
        Ok(Some(db))
    }

    /// Compares this process's clock with the database's: once before anything is dated by it, and from then on.
    async fn watch_clock(&self, db: &Db) {
        let clock = db.clock();
        if let Err(error) = clock.measure().await {
            tracing::warn!(%error, "the database's clock was not read");
        }
        self.supervise("clock", move |cancel| clock.clone().run(cancel));
    }

    /// Runs a task in the background until the process ends, and again when it panics.
    fn supervise<T>(
        &self,
        name: &'static str,
        mut task: impl FnMut(CancellationToken) -> T + Send + 'static,
    ) where
        T: Future<Output = ()> + Send + 'static,
    {
        let cancel = self.background.clone();
        self.tasks.spawn(supervised(name, cancel.clone(), move || task(cancel.clone())));
    }

    /// The right to a round of a schema's job. Replicas without a Redis, which the orchestrator may be, all do it.
    fn turn(&self, job: &str, schema: Schema) -> Result<Turn> {
        let locks = match self.config.redis.url() {
            Some(_) => Some(self.locks()?),
            None => None,
        };
        Ok(Turn::new(locks, &format!("{job}_{}", schema.name())))
    }

    fn locks(&self) -> Result<Locks> {
        Ok(Locks::new(self.redis()?, &self.config.redis.prefix)?)
    }

    fn bus(&self, schema: Schema) -> Result<Arc<dyn Bus>> {
        Carrier::of(self.config)?.bus(schema, &consumers(self.config, schema))
    }

    fn redis(&self) -> Result<redis::Client> {
        Ok(redis_link::client(self.redis_url()?)?)
    }

    fn redis_url(&self) -> Result<&str> {
        let url = self.config.redis.url();
        Ok(url.ok_or_else(|| Problem::needed("redis.url", "this process"))?)
    }

    async fn ranking(&self, product: Option<&Product>) -> Result<ranking::Service> {
        let store = Store::new(self.redis()?, &self.config.redis.prefix)?;
        // A Redis that is away is waited for later; one that is there and evicts is refused now.
        if let Err(error @ ranking::store::Error::Evicting(_)) = store.check().await {
            return Err(error.into());
        }
        let bus = self.bus(Schema::Order)?;
        let rebuild = Rebuild::new(store.clone(), Arc::clone(&bus), self.locks()?);
        let counter = Arc::new(Counter::new(store.clone(), rebuild.clone()));
        let (consumer, fit) = (Consumer::new(ranking::CONSUMER, bus, counter), store.clone());
        self.supervise("ranking", move |cancel| {
            let (consumer, fit) = (consumer.clone(), fit.clone());
            async move {
                if cancel.run_until_cancelled(fit.fit()).await.is_some() {
                    consumer.run(cancel).await;
                }
            }
        });
        let here = product.map(|it| services(it.public()));
        let products = links::to_public(self.config, &self.inside, Role::Product, here)?;
        let products = Arc::new(ProductServiceClient::new(products));
        Ok(ranking::Service::new(store, rebuild, products, ranking::COPY_LIFE))
    }

    /// The streams of the outboxes that are here, on connections of their own: streams keep no other call waiting.
    async fn feeds(&self) -> Result<Option<Feeds>> {
        const SOURCES: [(Role, Schema, EventSource); 4] = [
            (Role::Wallet, Schema::Wallet, EventSource::Wallet),
            (Role::Product, Schema::Product, EventSource::Product),
            (Role::Coupon, Schema::Coupon, EventSource::Coupon),
            (Role::Order, Schema::Order, EventSource::Order),
        ];
        let mut sources = Vec::new();
        for (role, schema, source) in SOURCES {
            if self.roles.has(role) {
                sources.push((source, open_pool(self.config, schema, FEED_CONNECTIONS).await?));
            }
        }
        if sources.is_empty() {
            return Ok(None);
        }
        let Limits { event_streams, connection_age, .. } = self.config.limits;
        let (streams, age) = (event_streams, connection_age.into());
        let options = feed::Options { streams, age, readers: FEED_READERS };
        Ok(Some(Feeds::start(sources, options, self.tasks, self.shutdown.clone())))
    }

    /// The log has no calls of its own: it follows the sources, wherever they are.
    async fn activity(&self) -> Result<()> {
        let db = open(self.config, Schema::Activity).await?;
        self.watch_clock(&db).await;
        for source in Source::ALL {
            let bus = self.bus(match source {
                Source::Wallet => Schema::Wallet,
                Source::Order => Schema::Order,
            })?;
            let log = Arc::new(Log::new(db.clone(), Arc::clone(&bus), source));
            let consumer = Consumer::new(activity::CONSUMER, bus, log).resting(activity::REST);
            self.supervise("activity_log", move |cancel| consumer.clone().run(cancel));
        }
        let interval = self.config.housekeeping.interval.into();
        let retention = self.config.activity.retention.into();
        let turn = self.turn("keep_days", Schema::Activity)?;
        self.supervise("keep_days", move |cancel| {
            Keeper::new(db.clone(), retention).run(interval, turn.clone(), cancel)
        });
        Ok(())
    }

    async fn orchestrator(&self, db: Db, here: &Services) -> Result<Orchestrator> {
        self.watch_clock(&db).await;
        let steps = |role, here: Option<Arc<dyn Steps>>| -> Result<Arc<dyn Steps>> {
            if let Some(here) = here {
                return Ok(here);
            }
            let way = links::to_participant(self.config, role)?;
            Ok(Arc::new(Remote::new(role.name(), way)))
        };
        let mut participants = vec![
            steps(Role::Product, here.product.as_ref().map(Product::steps))?,
            steps(Role::Coupon, here.coupon.as_ref().map(Coupon::steps))?,
            steps(Role::Wallet, here.wallet.as_ref().map(Wallet::steps))?,
            steps(Role::Order, here.order.as_ref().map(Order::steps))?,
        ];
        let saga = &self.config.saga;
        for (name, url) in
            saga.participants.as_deref().and_then(submit::participants).unwrap_or_default()
        {
            let way = platform::transport::remote(&[url], self.config.peers.connections)?;
            participants.push(Arc::new(Remote::new(&name, way)));
        }
        let submittable = saga.submit.as_deref().and_then(submit::methods).unwrap_or_default();
        let options = saga::runtime::Options {
            attempt: saga.attempt.into(),
            deadline: saga.deadline.into(),
            attention_after: saga.alert_after.into(),
            heartbeat: saga.heartbeat.into(),
            max_live: saga.max_live,
            max_recovering: saga.max_recovering,
        };
        let lane = self.lanes(1).lane;
        let orchestrator = Orchestrator::start(db, participants, options, lane, self.tasks);
        let orchestrator = orchestrator.with_submittable(submittable);
        let interval = self.config.housekeeping.interval.into();
        let retention = self.config.idempotency.retention.into();
        let turn = self.turn("keep_house", Schema::Orchestrator)?;
        let keeping = orchestrator.engine().clone();
        self.supervise("keep_house", move |cancel| {
            keeping.clone().keep_house(interval, retention, turn.clone(), cancel)
        });
        Ok(orchestrator)
    }

    fn lanes(&self, count: usize) -> participant::Options {
        let Lanes { capacity, max_batch, max_wait, .. } = self.config.lanes;
        let lane = lane::Options {
            capacity,
            max_batch,
            max_wait: max_wait.into(),
            ..lane::Options::default()
        };
        participant::Options { count, lane }
    }
}

/// Who must have had the events of a schema before they may go. Whoever is named and never comes holds them for ever.
fn consumers(config: &Config, schema: Schema) -> Vec<&'static str> {
    let log = config.activity.enabled.then_some(activity::CONSUMER);
    match schema {
        Schema::Wallet => log.into_iter().collect(),
        Schema::Order => [ranking::CONSUMER].into_iter().chain(log).collect(),
        _ => Vec::new(),
    }
}

/// One server as all the services of a way in process.
fn services<S>(server: S) -> platform::Services
where
    S: tower::Service<
            http::Request<tonic::body::Body>,
            Response = http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
        > + tonic::server::NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    platform::Services::default().with(server)
}
