//! A wallet's outbox, its bus, and the log that follows it.

use activity::{CONSUMER, Log, Source};
use api::wallet::v1::WalletCharged;
use chrono::{DateTime, Utc};
use db::{Conn, Db, Script};
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use embedded::{Redis, RedisOptions};
use events::{Bell, Consumer, Event, RedisStreams, Relay, RelayOptions, Shard};
use migrations::Schema;
use prost::{Message, Name};
use std::sync::Arc;
pub(crate) use testkit::until;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What the log follows, and the log's own schema.
pub(crate) struct Follower {
    pub(crate) redis: Redis,
    pub(crate) bus: Arc<RedisStreams>,
    pub(crate) wallet: Db,
    pub(crate) log: Db,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

impl Follower {
    pub(crate) async fn new() -> Self {
        // Shown when a test fails; the first test of the process wins.
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        let redis = Redis::start(RedisOptions::temporary()).await.unwrap();
        let client = redis::Client::open(redis.url()).unwrap();
        let bus = RedisStreams::new(client, "test", "wallet", &[CONSUMER]).unwrap();
        let wallet = testkit::database(Schema::Wallet).await.0;
        let log = testkit::database(Schema::Activity).await.0;
        Self { redis, bus: Arc::new(bus), wallet, log }
    }

    pub(crate) fn relay(&self) -> DropGuard {
        let options = RelayOptions::default();
        let relay = Relay::new(self.wallet.clone(), self.bus.clone(), Bell::default(), options);
        let cancel = CancellationToken::new();
        tokio::spawn(relay.run(cancel.clone()));
        cancel.drop_guard()
    }

    /// A replica that logs, until the guard is dropped.
    pub(crate) fn follow(&self) -> DropGuard {
        let log = Log::new(self.log.clone(), self.bus.clone(), Source::Wallet);
        let consumer = Consumer::new(CONSUMER, self.bus.clone(), Arc::new(log));
        let cancel = CancellationToken::new();
        tokio::spawn(consumer.run(cancel.clone()));
        cancel.drop_guard()
    }

    /// Commits charges of 1 won, each in a row of its own.
    pub(crate) async fn charge(&self, user_id: i64, seqs: std::ops::RangeInclusive<i64>) {
        let mut writes = Script::default();
        for seq in seqs {
            events::outbox::append(&mut writes, &[charge(user_id, seq, db::now_micros())]).unwrap();
        }
        self.commit(writes).await;
    }

    pub(crate) async fn commit(&self, writes: Script) {
        self.wallet.tx(async move |conn: &mut Conn| writes.run(conn).await).await.unwrap();
    }

    /// Waits until the bus has everything.
    pub(crate) async fn published(&self) {
        let pending = async |conn: &mut Conn| events::pending(conn).await;
        until(async || self.wallet.read(pending).await.unwrap() == 0).await;
    }

    /// The log's rows as `user version amount balance`, sorted.
    pub(crate) async fn rows(&self) -> Vec<String> {
        let sql = "SELECT CONCAT_WS(' ', user_id, version, amount, balance_after) AS line \
            FROM activity_log WHERE kind = 'CHARGE' ORDER BY user_id, version";
        lines(&self.log, sql).await
    }

    /// A shard's position, and whether the log lacks its beginning.
    pub(crate) async fn reach(&self, shard: Shard) -> String {
        let sql = format!(
            "SELECT CONCAT_WS(' ', position, complete_from > '1970-01-02') AS line \
            FROM consumer_position WHERE source = 'wallet' AND shard = {shard}"
        );
        lines(&self.log, &sql).await.pop().unwrap_or_default()
    }

    /// Removes from a stream what is below a position.
    pub(crate) async fn trim(&self, shard: Shard, below: i64) {
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut trim = redis::cmd("XTRIM");
        trim.arg(format!("test:{{wallet}}:events:{shard}")).arg("MINID").arg("=").arg(below);
        let _: i64 = trim.query_async(&mut connection).await.unwrap();
    }
}

/// A charge of 1 won that makes the balance `seq`.
pub(crate) fn charge(user_id: i64, seq: i64, occurred_at: DateTime<Utc>) -> Event {
    let payload = WalletCharged { user_id, seq, amount_won: 1, balance_after_won: seq };
    Event {
        event_type: WalletCharged::full_name(),
        aggregate_kind: "wallet",
        aggregate_id: user_id,
        version: seq,
        occurred_at,
        trace_id: "trace".to_owned(),
        traceparent: String::new(),
        payload: payload.encode_to_vec(),
    }
}

/// The rows that these charges make.
pub(crate) fn charged(user_id: i64, seqs: std::ops::RangeInclusive<i64>) -> Vec<String> {
    seqs.map(|seq| format!("{user_id} {seq} 1 {seq}")).collect()
}

/// A column of texts called `line`.
pub(crate) async fn lines(db: &Db, sql: &str) -> Vec<String> {
    let sql = sql.to_owned();
    let read = async move |conn: &mut Conn| -> db::Result<Vec<Line>> {
        Ok(diesel::sql_query(sql).load(conn).await?)
    };
    db.read(read).await.unwrap().into_iter().map(|row| row.line).collect()
}

pub(crate) async fn execute(db: &Db, sql: &str) {
    let sql = sql.to_owned();
    let run =
        async move |conn: &mut Conn| -> db::Result<()> { Ok(conn.batch_execute(&sql).await?) };
    db.read(run).await.unwrap();
}
