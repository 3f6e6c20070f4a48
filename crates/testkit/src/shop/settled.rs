//! Waiting until nothing is under way.

use super::Shop;
use super::calls::patiently;
use crate::until;
use api::ranking::v1::ListTopProductsRequest;
use db::{Conn, Db};
use diesel::sql_types::{BigInt, TinyInt};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use events::Shard;
use migrations::Schema;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// The last position of each shard of an outbox.
const GIVEN: &str = "SELECT shard, last_position AS position FROM outbox_shard";

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct Position {
    #[diesel(sql_type = TinyInt)]
    shard: i8,
    #[diesel(sql_type = BigInt)]
    position: i64,
}

impl Shop {
    /// Waits until no saga is under way, every event is published, and the best sellers and the activity log have heard
    /// of everything.
    pub async fn settled(&self) {
        self.sagas_ended().await;
        for schema in [Schema::Wallet, Schema::Product, Schema::Coupon, Schema::Order] {
            let db = self.db(schema).await;
            until(async || {
                let pending = db.read(async |conn: &mut Conn| -> db::Result<i64> {
                    events::pending(conn).await
                });
                pending.await.expect("the outbox") == 0
            })
            .await;
        }
        self.ranking_caught_up().await;
        self.activity_caught_up().await;
    }

    /// Waits until no saga is running. Sagas that need attention do not run.
    pub async fn sagas_ended(&self) {
        let db = self.db(Schema::Orchestrator).await;
        until(async || {
            let running = "SELECT COUNT(*) AS count FROM saga WHERE state = 1";
            let count = db.read(async |conn: &mut Conn| -> db::Result<Count> {
                Ok(sql_query(running).get_result(conn).await?)
            });
            count.await.expect("the journal").count == 0
        })
        .await;
    }

    async fn activity_caught_up(&self) {
        let log = self.db(Schema::Activity).await;
        for schema in [Schema::Wallet, Schema::Order] {
            let given = positions(&self.db(schema).await, GIVEN).await;
            let logged = format!(
                "SELECT shard, position FROM consumer_position WHERE source = '{}'",
                schema.name()
            );
            until(async || {
                let logged: BTreeMap<i8, i64> =
                    positions(&log, &logged).await.into_iter().collect();
                given.iter().all(|(shard, last)| logged.get(shard).is_some_and(|at| at >= last))
            })
            .await;
        }
    }

    async fn ranking_caught_up(&self) {
        let positions = positions(&self.db(Schema::Order).await, GIVEN).await;
        let client = redis::Client::open(self.redis_url()).expect("the Redis has a URL");
        let store = ranking::Store::new(client, "commerce").expect("the Redis is reached");
        until(async || {
            let Ok((_, counted)) = store.positions().await else { return false };
            positions.iter().all(|(shard, last)| {
                let shard = u8::try_from(*shard).ok().and_then(Shard::new);
                shard.is_some_and(|shard| counted[shard] >= *last)
            })
        })
        .await;
        // What is served may be a copy from before.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        let now = (i64::try_from(now.as_secs()).expect("seconds"), now.subsec_nanos());
        until(async || {
            let request = ListTopProductsRequest { limit: 1 };
            let list = patiently(async || self.ranking().list_top_products(request).await).await;
            let as_of = list.expect("the list").into_inner().as_of.expect("an instant");
            (as_of.seconds, u32::try_from(as_of.nanos).unwrap_or_default()) >= now
        })
        .await;
    }
}

async fn positions(db: &Db, sql: &str) -> Vec<(i8, i64)> {
    let positions = db.read(async |conn: &mut Conn| -> db::Result<Vec<Position>> {
        Ok(sql_query(sql).load(conn).await?)
    });
    let positions = positions.await.expect("positions");
    positions.into_iter().map(|row| (row.shard, row.position)).collect()
}
