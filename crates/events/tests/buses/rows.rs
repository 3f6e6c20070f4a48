//! A consumer whose effects and positions are rows of one transaction.

use crate::load::Versions;
use async_trait::async_trait;
use db::{Conn, Db};
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use events::{Batch, Bus, Consumer, Failure, Handler, PerShard, Positions};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The consumer.
#[derive(Clone)]
pub(crate) struct Rows(Db);

#[derive(QueryableByName)]
struct Pair {
    #[diesel(sql_type = BigInt)]
    a: i64,
    #[diesel(sql_type = BigInt)]
    b: i64,
}

impl Rows {
    pub(crate) const NAME: &str = "rows";

    /// In the schema of the events, whose tables are made by the first.
    pub(crate) async fn open(db: Db) -> Self {
        let rows = Self(db);
        for sql in [
            "CREATE TABLE IF NOT EXISTS effect (n BIGINT AUTO_INCREMENT PRIMARY KEY, a BIGINT, b BIGINT)",
            "CREATE TABLE IF NOT EXISTS reached (a BIGINT PRIMARY KEY, b BIGINT)",
        ] {
            rows.run(sql.to_owned()).await.unwrap();
        }
        rows
    }

    /// Consumes until the guard is dropped.
    pub(crate) fn consume(&self, bus: Arc<dyn Bus>) -> DropGuard {
        let cancel = CancellationToken::new();
        let consumer = Consumer::new(Self::NAME, bus, Arc::new(self.clone()));
        tokio::spawn(consumer.run(cancel.clone()));
        cancel.drop_guard()
    }

    /// The effects so far, in their order. An aggregate 0 tells of a consumer that started over.
    pub(crate) async fn effects(&self) -> Versions {
        let mut all = Versions::new();
        for Pair { a, b } in self.pairs("SELECT a, b FROM effect ORDER BY n").await.unwrap() {
            all.entry(a).or_default().push(b);
        }
        all
    }

    async fn pairs(&self, sql: &'static str) -> db::Result<Vec<Pair>> {
        let read = async move |conn: &mut Conn| -> db::Result<Vec<Pair>> {
            Ok(sql_query(sql).load(conn).await?)
        };
        self.0.read(read).await
    }

    async fn run(&self, sql: String) -> db::Result<()> {
        let run = async move |conn: &mut Conn| -> db::Result<()> {
            sql_query(sql.clone()).execute(conn).await?;
            Ok(())
        };
        self.0.tx(run).await
    }
}

#[async_trait]
impl Handler for Rows {
    async fn positions(&self) -> Result<Positions, Failure> {
        let reached = self.pairs("SELECT a, b FROM reached").await.map_err(later)?;
        let reached: BTreeMap<i64, i64> =
            reached.into_iter().map(|pair| (pair.a, pair.b)).collect();
        let of = |number| reached.get(&i64::from(number)).copied().unwrap_or_default();
        Ok(PerShard::from_fn(|shard| of(shard.number())))
    }

    async fn apply(&self, batches: &[Batch]) -> Result<(), Failure> {
        let stored = self.positions().await?;
        let mut sql = vec!["DO 0".to_owned()];
        for Batch { shard, after, through, events } in batches {
            if stored[*shard] != *after {
                return Err(Failure::Moved);
            }
            for event in events {
                let (id, version) = (event.envelope.aggregate_id, event.envelope.version);
                sql.push(format!("INSERT INTO effect (a, b) VALUES ({id}, {version})"));
            }
            sql.push(format!(
                "INSERT INTO reached (a, b) VALUES ({shard}, {through}) \
                 ON DUPLICATE KEY UPDATE b = VALUES(b)"
            ));
        }
        let run = async move |conn: &mut Conn| -> db::Result<()> {
            for sql in &sql {
                sql_query(sql.clone()).execute(conn).await?;
            }
            Ok(())
        };
        self.0.tx(run).await.map_err(later)
    }

    async fn start_over(&self) -> Result<(), Failure> {
        self.run("INSERT INTO effect (a, b) VALUES (0, 0)".to_owned()).await.map_err(later)
    }
}

fn later(error: impl std::fmt::Display) -> Failure {
    Failure::Later(error.to_string())
}
