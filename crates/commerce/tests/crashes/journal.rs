//! What stands in the databases: the sagas that have not ended, and what each participant has on record for them.

use db::Conn;
use diesel::sql_types::{BigInt, Binary};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use std::collections::BTreeSet;
use uuid::Uuid;

/// What a kill left.
#[derive(Debug)]
pub(crate) struct Left {
    /// The checkouts that have not ended.
    pub(crate) sagas: Vec<Seen>,
    /// How many cancels have not ended.
    pub(crate) cancels: usize,
    /// The requests that have a saga, ended or not.
    pub(crate) begun: BTreeSet<Uuid>,
}

/// A checkout that has not ended: the states of its steps, 0 for those without a row.
#[derive(Debug, QueryableByName)]
pub(crate) struct Seen {
    #[diesel(sql_type = Binary)]
    pub(crate) request_id: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    pub(crate) reserve: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) redeem: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) debit: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) confirm: i64,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = Binary)]
    id: Vec<u8>,
}

/// One statement, so one instant.
const UNFINISHED: &str = "
SELECT q.request_id,
       CAST(COALESCE(p.state, 0) AS SIGNED) AS reserve, CAST(COALESCE(c.state, 0) AS SIGNED) AS redeem,
       CAST(COALESCE(w.state, 0) AS SIGNED) AS debit, CAST(COALESCE(r.state, 0) AS SIGNED) AS confirm
FROM orchestrator.saga s
JOIN orchestrator.request q ON q.saga_id = s.saga_id
LEFT JOIN product.saga_op p ON p.saga_id = s.saga_id AND p.step = 1
LEFT JOIN coupon.saga_op c ON c.saga_id = s.saga_id AND c.step = 2
LEFT JOIN wallet.saga_op w ON w.saga_id = s.saga_id AND w.step = 3
LEFT JOIN orders_.saga_op r ON r.saga_id = s.saga_id AND r.step = 4
WHERE s.kind = 1";

const UNDECIDED: &str = "
SELECT COUNT(*) AS count
FROM orchestrator.saga s
LEFT JOIN orders_.saga_op r ON r.saga_id = s.saga_id AND r.step = 4
WHERE s.kind = 1 AND r.state IS NULL";

async fn connect(server: &str) -> Conn {
    Conn::establish(server).await.expect("the database answers")
}

pub(crate) async fn execute(server: &str, sql: &str) {
    connect(server).await.batch_execute(sql).await.unwrap();
}

/// What stands there now.
pub(crate) async fn look(server: &str) -> Left {
    let sagas = sql_query(UNFINISHED).load(&mut connect(server).await).await.unwrap();
    let begun = ids(server, "SELECT request_id AS id FROM orchestrator.request").await;
    let cancels = "SELECT COUNT(*) AS count FROM orchestrator.saga WHERE kind = 2";
    Left { sagas, begun, cancels: usize::try_from(number(server, cancels).await).unwrap() }
}

/// How many checkouts have not come to their pivot.
pub(crate) async fn undecided(server: &str) -> usize {
    usize::try_from(number(server, UNDECIDED).await).unwrap()
}

/// A number, as `count`.
pub(crate) async fn number(server: &str, sql: &str) -> i64 {
    let count: Count = sql_query(sql).get_result(&mut connect(server).await).await.unwrap();
    count.count
}

/// Numbers, as `count`.
pub(crate) async fn numbers(server: &str, sql: &str) -> BTreeSet<i64> {
    let rows: Vec<Count> = sql_query(sql).load(&mut connect(server).await).await.unwrap();
    rows.iter().map(|row| row.count).collect()
}

/// Ids of sagas or requests, as `id`.
pub(crate) async fn ids(server: &str, sql: &str) -> BTreeSet<Uuid> {
    let rows: Vec<Id> = sql_query(sql).load(&mut connect(server).await).await.unwrap();
    rows.iter().map(|row| Uuid::from_slice(&row.id).unwrap()).collect()
}
