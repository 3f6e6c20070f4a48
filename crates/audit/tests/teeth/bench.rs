//! Where rows are corrupted: a shop that is closed, its databases and its Redis still there.

use crate::history::History;
use audit::{Redis, Report, Targets};
use db::{Conn, Db, Error};
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use events::{Bus, RedisStreams};
use migrations::Schema;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use testkit::Shop;

/// One way to spoil rows, and what the audit must say of it.
pub(crate) struct Corruption {
    /// The tables that it touches: `schema.table`.
    pub(crate) tables: Vec<&'static str>,
    /// What it does.
    pub(crate) how: &'static str,
    /// How it is done, in the first table's schema.
    pub(crate) sql: String,
    /// Exactly the invariants that break, each with an id that it must name.
    pub(crate) breaks: Vec<(&'static str, String)>,
}

/// A closed shop with a history.
pub(crate) struct Bench {
    pub(crate) targets: Targets,
    schemas: BTreeMap<&'static str, Db>,
    bitten: RefCell<BTreeSet<&'static str>>,
    /// Holds the servers.
    shop: Shop,
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

impl Corruption {
    pub(crate) fn new(table: &'static str, how: &'static str, sql: impl Into<String>) -> Self {
        Self { tables: vec![table], how, sql: sql.into(), breaks: Vec::new() }
    }

    /// Another table of the same schema that it touches.
    pub(crate) fn and(mut self, table: &'static str) -> Self {
        self.tables.push(table);
        self
    }

    /// An invariant that breaks, and of what.
    pub(crate) fn breaks(mut self, name: &'static str, id: impl Into<String>) -> Self {
        self.breaks.push((name, id.into()));
        self
    }
}

impl Bench {
    /// Lets a shop live through a history, closes it, and sees that it is clean.
    pub(crate) async fn set_up() -> (Self, History) {
        let shop = Shop::start().await;
        let lived = History::live(&shop).await;
        shop.settled().await;
        let mut schemas = BTreeMap::new();
        for schema in Schema::ALL {
            schemas.insert(schema.name(), shop.db(schema).await);
        }
        let targets = shop.targets();
        let bench = Self { targets, schemas, bitten: RefCell::default(), shop };
        bench.fill_stream("wallet", activity::CONSUMER).await;
        bench.fill_stream("order", ranking::CONSUMER).await;
        bench.shop.settled().await;
        bench.shop.stop().await;
        let history = lived.looked_up(&bench).await;
        let report = bench.audit().await;
        assert!(report.is_clean(), "{report}");
        for check in &report.checks {
            assert!(
                check.rows_checked > 0 || check.name == "order-requests",
                "{} unread",
                check.name
            );
        }
        (bench, history)
    }

    /// What every consumer has read is trimmed, unless one of them reads it all again.
    async fn fill_stream(&self, schema: &str, consumer: &'static str) {
        let Redis { url, prefix } = self.redis();
        let client = ::redis::Client::open(url.as_str()).unwrap();
        let bus = RedisStreams::new(client, prefix, schema, &[consumer]).unwrap();
        bus.replay(consumer).await.unwrap();
        let last = "SELECT CAST(SUM(last_position) AS CHAR) AS name FROM outbox_shard";
        let last: i64 = self.text(schema, last).await[0].parse().unwrap();
        let filled = async || {
            let state = bus.state().await.unwrap();
            state.shards.iter().map(|(_, stream)| stream.top).sum::<i64>() == last
        };
        while !filled().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn redis(&self) -> &Redis {
        self.targets.ranking.as_ref().unwrap()
    }

    pub(crate) async fn audit(&self) -> Report {
        audit::run(&self.targets).await.unwrap()
    }

    /// Corrupts, audits, and puts everything back.
    pub(crate) async fn expect(&self, corruption: &Corruption) {
        let (schema, _) = split(corruption.tables[0]);
        for table in &corruption.tables {
            let (_, table) = split(table);
            let copy = format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}");
            self.run(schema, &copy).await;
        }
        self.run(schema, &corruption.sql).await;
        let report = self.audit().await;
        self.compare(&corruption.tables, corruption.how, &corruption.breaks, &report);
        for table in &corruption.tables {
            let (_, table) = split(table);
            let restore = format!(
                "DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table}; \
                DROP TABLE kept_{table}"
            );
            self.run(schema, &restore).await;
        }
    }

    pub(crate) fn compare(
        &self,
        tables: &[&str],
        how: &str,
        breaks: &[(&'static str, String)],
        report: &Report,
    ) {
        let expected: BTreeSet<&str> = breaks.iter().map(|(name, _)| *name).collect();
        let found: BTreeSet<&str> = report.broken().map(|check| check.name).collect();
        assert_eq!(found, expected, "{tables:?} {how}\n{report}");
        for (name, id) in breaks {
            let check = report.broken().find(|check| check.name == *name).unwrap();
            let named = check.offences.iter().any(|offence| offence == id);
            assert!(named, "{tables:?} {how}: {name} should name {id}: {:?}", check.offences);
        }
        self.bitten.borrow_mut().extend(breaks.iter().map(|(name, _)| *name));
    }

    /// The invariants that were seen broken.
    pub(crate) fn bitten(&self) -> BTreeSet<&'static str> {
        self.bitten.borrow().clone()
    }

    /// All tables that there are.
    pub(crate) async fn tables(&self) -> BTreeSet<String> {
        let mut tables = BTreeSet::new();
        for schema in self.schemas.keys() {
            let sql = "SELECT table_name AS name FROM information_schema.tables \
                WHERE table_schema = DATABASE()";
            let names = self.text(schema, sql).await;
            tables.extend(names.into_iter().map(|name| format!("{schema}.{name}")));
        }
        tables
    }

    /// A column of texts called `name`.
    pub(crate) async fn text(&self, schema: &str, sql: &str) -> Vec<String> {
        let sql = sql.to_owned();
        let read = async move |conn: &mut Conn| -> Result<Vec<Name>, Error> {
            Ok(diesel::sql_query(sql).load(conn).await?)
        };
        let rows = self.schemas[schema].read(read).await.unwrap();
        rows.into_iter().map(|row| row.name).collect()
    }

    async fn run(&self, schema: &str, sql: &str) {
        let text = sql.to_owned();
        let run = async move |conn: &mut Conn| -> Result<(), Error> {
            Ok(conn.batch_execute(&text).await?)
        };
        self.schemas[schema].read(run).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

fn split(table: &str) -> (&str, &str) {
    table.split_once('.').unwrap()
}
