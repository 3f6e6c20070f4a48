//! Every key there is: what it may be, what it is by default, and what it is for.

use super::rule::Rule;
use super::span::Span;

/// A key of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its path, such as `listen.public`.
    pub path: &'static str,
    /// What it may be set to.
    pub rule: Rule,
    /// What it is when nobody sets it; `None` is a meaning of its own, which `help` tells.
    pub default: Option<&'static str>,
    /// What it is for.
    pub help: &'static str,
}

impl Key {
    /// The environment variable that sets it, such as `COMMERCE_LISTEN_PUBLIC`.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.path.replace('.', "_").to_uppercase())
    }

    /// The key with this path.
    pub fn find(path: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.path == path)
    }
}

/// What every environment variable of the program begins with.
pub const PREFIX: &str = "COMMERCE_";

const fn key(path: &'static str, rule: Rule, default: &'static str, help: &'static str) -> Key {
    Key { path, rule, default: Some(default), help }
}

const fn unset(path: &'static str, rule: Rule, help: &'static str) -> Key {
    Key { path, rule, default: None, help }
}

const MYSQL: Rule = Rule::Url("mysql");
const HTTP: Rule = Rule::Url("http");
const LANES: Rule = Rule::Integer(1, 64);

const fn span(least_ms: u64, most_ms: u64) -> Rule {
    Rule::Span(Span::from_millis(least_ms), Span::from_millis(most_ms))
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// All keys, in the order in which they are printed.
pub const KEYS: &[Key] = &[
    key("listen.public", Rule::Address, "127.0.0.1:50051", "where clients call the services"),
    key(
        "listen.participant",
        Rule::Address,
        "127.0.0.1:50052",
        "where the orchestrator calls the steps; never for clients",
    ),
    key("listen.admin", Rule::Address, "127.0.0.1:50053", "where operators see sagas"),
    unset(
        "web.allowed_origins",
        Rule::Origins,
        "origins whose pages may call the public and the admin listener by gRPC-Web; without it no page, and HTTP/1 is not spoken",
    ),
    unset(
        "database.url",
        MYSQL,
        "the MySQL or MariaDB server of all schemas; without it `up` starts a private one",
    ),
    key("database.prefix", Rule::Prefix, "commerce_", "begins the schemas' database names"),
    unset("database.wallet.url", MYSQL, "the wallet database, name included, if it is elsewhere"),
    unset("database.product.url", MYSQL, "the product database, likewise"),
    unset("database.order.url", MYSQL, "the order database, likewise"),
    unset("database.coupon.url", MYSQL, "the coupon database, likewise"),
    unset("database.activity.url", MYSQL, "the activity database, likewise"),
    unset("database.orchestrator.url", MYSQL, "the journal's database, likewise"),
    unset(
        "database.auditor.url",
        MYSQL,
        "the server of all schemas as `audit` reads it, best as a user with SELECT and CREATE TEMPORARY TABLES alone; without it database.url",
    ),
    key(
        "database.pool_size",
        Rule::Integer(1, 1_000),
        "8",
        "connections a schema, beside those of the lanes",
    ),
    key(
        "database.acquire_timeout",
        span(1, MINUTE),
        "1s",
        "how long a call waits for a connection before it is refused",
    ),
    key("database.migrate", Rule::Bool, "true", "whether the start brings the schemas up to date"),
    unset(
        "redis.url",
        Rule::Url("redis"),
        "the Redis of events, ranking, locks, cached products and coupons that are sold out; without it `up` starts a private one",
    ),
    key("redis.prefix", Rule::Prefix, "commerce", "begins the keys in Redis"),
    key(
        "bus",
        Rule::OneOf(&["redis", "kafka"]),
        "redis",
        "what carries events; kafka needs a program built with the feature `kafka`, and the ranking its Redis all the same",
    ),
    unset("kafka.brokers", Rule::Text, "HOST:PORT of some brokers, with commas in between"),
    key("kafka.prefix", Rule::Prefix, "commerce", "begins the names of topics and groups"),
    key(
        "kafka.replication",
        Rule::Integer(1, 15),
        "1",
        "copies of each topic that is created; 3 where there are three brokers or more",
    ),
    key("data_dir", Rule::Path, ".data", "the folder of the private servers that `up` starts"),
    key("lanes.wallet", LANES, "1", "lanes of the wallet service, a connection each"),
    key("lanes.product", LANES, "1", "lanes of the product service"),
    key("lanes.order", LANES, "1", "lanes of the order service"),
    key("lanes.coupon", LANES, "1", "lanes of the coupon service"),
    key("lanes.capacity", Rule::Integer(1, 1_000_000), "8192", "calls that wait in a lane"),
    key("lanes.max_batch", Rule::Integer(1, 512), "256", "calls that share a commit"),
    key("lanes.max_wait", span(1, MINUTE), "200ms", "estimated wait above which calls are shed"),
    key(
        "product_cache.capacity",
        Rule::Integer(0, 1_000_000),
        "10000",
        "products cached in a process for read-only calls, at most 1 s old; 0: each call reads the database",
    ),
    key(
        "saga.deadline",
        span(100, HOUR),
        "30s",
        "how long a saga may take until its pivot is done",
    ),
    key("saga.attempt", span(10, MINUTE), "1s", "how long one attempt of a step may take"),
    key(
        "saga.alert_after",
        span(100, DAY),
        "5min",
        "how long a step that must succeed may fail before an operator is alerted",
    ),
    key("saga.heartbeat", span(10, MINUTE), "1s", "how often a replica shows that it lives"),
    key(
        "saga.max_live",
        Rule::Integer(1, 1_000_000),
        "20000",
        "sagas in flight, above which new ones are shed",
    ),
    key(
        "saga.max_recovering",
        Rule::Integer(1, 10_000),
        "64",
        "calls to one participant at once for sagas of dead replicas",
    ),
    unset(
        "saga.participants",
        Rule::Participants,
        "participants of submitted sagas, beside the shop's own",
    ),
    unset(
        "saga.submit",
        Rule::Methods,
        "who may submit which actions in sagas of their own; without it nobody",
    ),
    key("housekeeping.interval", span(SECOND, HOUR), "1min", "how often what is old is deleted"),
    key(
        "idempotency.retention",
        span(7 * DAY, 3_650 * DAY),
        "7d",
        "how long ended sagas and refused requests are remembered",
    ),
    key(
        "outbox.retention",
        span(3 * DAY, 3_650 * DAY),
        "4d",
        "how long events stay that everybody has had",
    ),
    key(
        "activity.enabled",
        Rule::Bool,
        "true",
        "whether there is an activity log; false where no process has the role activity, for events wait for it; alike in all processes",
    ),
    key(
        "activity.retention",
        span(DAY, 3_650 * DAY),
        "90d",
        "how long the activity log keeps a day",
    ),
    key(
        "limits.connections",
        Rule::Integer(1, 1_000_000),
        "10000",
        "connections to a listener; one more is closed at once",
    ),
    key("limits.streams", Rule::Integer(1, 65_535), "256", "calls in flight on one connection"),
    key("limits.in_flight", Rule::Integer(1, 1_000_000), "8192", "calls in flight on a listener"),
    key(
        "limits.event_streams",
        Rule::Integer(1, 10_000),
        "64",
        "streams of events at once in a process",
    ),
    key(
        "limits.connection_age",
        span(SECOND, 365 * DAY),
        "30min",
        "after which a connection is asked to end, so that clients find new replicas",
    ),
    key("limits.drain", span(0, HOUR), "10s", "how long calls in flight may take at the end"),
    unset("peers.wallet.public", HTTP, "where the wallet service is, if in another process"),
    unset("peers.wallet.participant", HTTP, "where its steps are"),
    unset("peers.product.public", HTTP, "where the product service is, if in another process"),
    unset("peers.product.participant", HTTP, "where its steps are"),
    unset("peers.coupon.participant", HTTP, "where the coupon steps are, if in another process"),
    unset("peers.order.participant", HTTP, "where the order steps are, if in another process"),
    key(
        "peers.connections",
        Rule::Integer(1, 64),
        "2",
        "connections to each peer; one in a mesh that balances calls itself",
    ),
    key("log.format", Rule::OneOf(&["human", "json"]), "human", "how log lines look"),
    key("log.filter", Rule::Text, "info", "what is logged, such as info,saga=debug"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_key_has_a_variable_of_its_own() {
        let variables: BTreeSet<_> = KEYS.iter().map(Key::variable).collect();
        assert_eq!(variables.len(), KEYS.len());
        assert!(variables.contains("COMMERCE_LISTEN_PUBLIC"));
    }
}
