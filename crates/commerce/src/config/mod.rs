//! The configuration: one typed value, from a file, the environment and flags.
//!
//! A flag wins over the environment, the environment over the file, the file over the default. Every key, what it may be
//! and its default stand in [`keys::KEYS`]; whatever is not there is refused, and nothing is started.

pub mod keys;
mod load;
pub mod rule;
pub mod span;
pub mod submit;
#[cfg(test)]
mod tests;

pub use load::{Problem, Setting, Shown, Sources};

use migrations::Schema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use span::Span;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The whole configuration. What each key is for is told in [`keys::KEYS`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens.
    pub listen: Listen,
    /// Which pages may call it.
    #[serde(default)]
    pub web: Web,
    /// The databases.
    pub database: Database,
    /// The Redis.
    pub redis: Redis,
    /// What carries events.
    pub bus: BusKind,
    /// The Kafka.
    pub kafka: Kafka,
    /// The folder of private servers.
    pub data_dir: PathBuf,
    /// The lanes.
    pub lanes: Lanes,
    /// What is kept for those who only look.
    pub product_cache: ProductCache,
    /// The saga engine.
    pub saga: Saga,
    /// Deleting what is old.
    pub housekeeping: Housekeeping,
    /// Ended sagas and refused requests.
    pub idempotency: Kept,
    /// Events that everybody has had.
    pub outbox: Kept,
    /// The activity log.
    pub activity: Activity,
    /// What a listener bears.
    pub limits: Limits,
    /// Where other processes are.
    pub peers: Peers,
    /// The log.
    pub log: Log,
}

/// The three listeners' addresses.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Clients.
    pub public: SocketAddr,
    /// The orchestrator.
    pub participant: SocketAddr,
    /// Operators.
    pub admin: SocketAddr,
}

/// The pages that may call it by gRPC-Web.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Web {
    /// Their origins, as [`platform::Origins`] reads them; none where it is not set.
    pub allowed_origins: Option<String>,
}

/// How the databases are reached.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    url: Option<SecretString>,
    prefix: String,
    wallet: Option<Elsewhere>,
    product: Option<Elsewhere>,
    order: Option<Elsewhere>,
    coupon: Option<Elsewhere>,
    activity: Option<Elsewhere>,
    orchestrator: Option<Elsewhere>,
    auditor: Option<Elsewhere>,
    /// Connections a schema.
    pub pool_size: u32,
    /// How long a call waits for one.
    pub acquire_timeout: Span,
    /// Whether the start migrates.
    pub migrate: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Elsewhere {
    url: SecretString,
}

/// How Redis is reached.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    url: Option<SecretString>,
    /// What its keys begin with.
    pub prefix: String,
}

/// What carries events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BusKind {
    /// Redis Streams.
    Redis,
    /// Apache Kafka.
    Kafka,
}

/// How Kafka is reached.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// `HOST:PORT` of some brokers, with commas in between.
    pub brokers: Option<String>,
    /// What topics and groups begin with.
    pub prefix: String,
    /// Copies of each topic that is created.
    pub replication: u8,
}

/// The lanes of each service, and how each is.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lanes {
    /// Of the wallet service.
    pub wallet: usize,
    /// Of the product service.
    pub product: usize,
    /// Of the order service.
    pub order: usize,
    /// Of the coupon service.
    pub coupon: usize,
    /// Calls that wait in one.
    pub capacity: usize,
    /// Calls that share a commit.
    pub max_batch: usize,
    /// Estimated wait above which calls are shed.
    pub max_wait: Span,
}

/// The cache of products for read-only calls.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductCache {
    /// Products; 0 for no cache.
    pub capacity: usize,
}

/// The saga engine's temper.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saga {
    /// Until the pivot is done.
    pub deadline: Span,
    /// Of one attempt.
    pub attempt: Span,
    /// Until an operator is called.
    pub alert_after: Span,
    /// Between two signs of life.
    pub heartbeat: Span,
    /// In flight.
    pub max_live: usize,
    /// Driven for dead replicas.
    pub max_recovering: usize,
    /// Participants beside the shop's own, as [`submit::participants`] reads them.
    pub participants: Option<String>,
    /// What may be submitted, as [`submit::methods`] reads it.
    pub submit: Option<String>,
}

/// Deleting what is old.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Housekeeping {
    /// Between two rounds.
    pub interval: Span,
}

/// How long something is kept.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// So long.
    pub retention: Span,
}

/// The activity log.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activity {
    /// Whether there is one.
    pub enabled: bool,
    /// How long a day is kept.
    pub retention: Span,
}

/// What a listener bears.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Connections to a listener.
    pub connections: usize,
    /// Calls on one connection.
    pub streams: u32,
    /// Calls on a listener.
    pub in_flight: usize,
    /// Streams of events in a process.
    pub event_streams: usize,
    /// After which a connection is asked to end.
    pub connection_age: Span,
    /// At the end.
    pub drain: Span,
}

/// Where the services are that run in other processes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    /// The wallet service.
    #[serde(default)]
    pub wallet: Peer,
    /// The product service.
    #[serde(default)]
    pub product: Peer,
    /// The coupon service.
    #[serde(default)]
    pub coupon: Peer,
    /// The order service.
    #[serde(default)]
    pub order: Peer,
    /// Connections to each.
    pub connections: usize,
}

/// The two listeners of a service that others call.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its public listener's URL.
    pub public: Option<String>,
    /// Its participant listener's URL.
    pub participant: Option<String>,
}

/// The log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged.
    pub filter: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Human,
    /// For programs.
    Json,
}

impl From<LogFormat> for platform::logging::Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Human => Self::Human,
            LogFormat::Json => Self::Json,
        }
    }
}

impl Config {
    /// The defaults with a few settings: for tests and for programs that start a shop of their own.
    ///
    /// # Errors
    /// See [`Problem`].
    pub fn with<'a>(
        settings: impl IntoIterator<Item = (&'a str, String)>,
    ) -> Result<Self, Problem> {
        let setting = |(key, value): (&str, String)| Setting {
            origin: "the program".to_owned(),
            key: key.to_owned(),
            value,
        };
        let flags = settings.into_iter().map(setting).collect();
        Ok(Sources { flags, ..Sources::default() }.load_without_file()?.0)
    }

    /// Rules that concern more than one key.
    fn check_together(&self) -> Result<(), Problem> {
        let Listen { public, participant, admin } = self.listen;
        let same = |a: SocketAddr, b: SocketAddr| a == b && a.port() != 0;
        let clash = |key: &str, allowed: &str| {
            Err(Problem::Clash { key: key.to_owned(), allowed: allowed.to_owned() })
        };
        if same(participant, public) {
            return clash("listen.participant", "another address than listen.public");
        }
        if same(admin, public) || same(admin, participant) {
            return clash("listen.admin", "another address than the other two listeners'");
        }
        if self.bus == BusKind::Kafka && !cfg!(feature = "kafka") {
            return clash("bus", "redis: this program was built without the feature `kafka`");
        }
        if self.bus == BusKind::Kafka && self.kafka.brokers.is_none() {
            return clash("kafka.brokers", "HOST:PORT of some brokers where bus is kafka");
        }
        Ok(())
    }
}

impl Config {
    /// The Redis to use from now on: one that the program started itself.
    pub fn use_redis(&mut self, url: String) {
        self.redis.url = Some(url.into());
    }

    /// The databases to use from now on, by schema, and the server as the auditor reads it.
    pub fn use_databases(&mut self, url: impl Fn(Schema) -> String, auditor: String) {
        let elsewhere = |url: String| Some(Elsewhere { url: url.into() });
        let database = &mut self.database;
        database.wallet = elsewhere(url(Schema::Wallet));
        database.product = elsewhere(url(Schema::Product));
        database.order = elsewhere(url(Schema::Order));
        database.coupon = elsewhere(url(Schema::Coupon));
        database.activity = elsewhere(url(Schema::Activity));
        database.orchestrator = elsewhere(url(Schema::Orchestrator));
        database.auditor = elsewhere(auditor);
    }
}

impl Database {
    /// Whether a database server is configured at all.
    pub fn is_configured(&self) -> bool {
        Schema::ALL.into_iter().any(|schema| self.schema_url(schema).is_some())
    }

    /// The server of all schemas, if one is configured.
    pub fn server_url(&self) -> Option<&str> {
        self.url.as_ref().map(ExposeSecret::expose_secret)
    }

    /// The name of a schema's database.
    pub fn name(&self, schema: Schema) -> String {
        format!("{}{}", self.prefix, schema.name())
    }

    /// The URL of a schema's database, if it is configured.
    pub fn schema_url(&self, schema: Schema) -> Option<String> {
        let elsewhere = match schema {
            Schema::Wallet => &self.wallet,
            Schema::Product => &self.product,
            Schema::Order => &self.order,
            Schema::Coupon => &self.coupon,
            Schema::Activity => &self.activity,
            Schema::Orchestrator => &self.orchestrator,
        };
        match elsewhere {
            Some(elsewhere) => Some(elsewhere.url.expose_secret().to_owned()),
            None => self.server_url().map(|server| with_schema(server, &self.name(schema))),
        }
    }

    /// The URL at which the audit reads a schema: the auditor's server, else the schema's own.
    pub fn audit_url(&self, schema: Schema) -> Option<String> {
        match &self.auditor {
            Some(server) => Some(with_schema(server.url.expose_secret(), &self.name(schema))),
            None => self.schema_url(schema),
        }
    }
}

impl Redis {
    /// `redis://HOST:PORT`, if one is configured.
    pub fn url(&self) -> Option<&str> {
        self.url.as_ref().map(ExposeSecret::expose_secret)
    }
}

/// The URL of a server with this schema chosen.
pub fn with_schema(server: &str, schema: &str) -> String {
    let (address, options) = server.split_once('?').map_or((server, None), |(a, o)| (a, Some(o)));
    let authority = address.find("://").map_or(0, |at| at + 3);
    let path = address.get(authority..).and_then(|rest| rest.rfind('/')).map(|at| authority + at);
    let login = address.rfind('@').unwrap_or(0);
    // A slash before the '@' is part of a password.
    let address = match path {
        Some(at) if at > login => address.get(..at).unwrap_or(address),
        _ => address,
    };
    match options {
        Some(options) => format!("{address}/{schema}?{options}"),
        None => format!("{address}/{schema}"),
    }
}
