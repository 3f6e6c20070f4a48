//! START: many sagas in one transaction, each once a request.
//!
//! It locks its replica's heartbeat row before it reads the watermark, so that whoever raises the watermark can wait for it (see
//! `watermark.rs`). No other replica queues for that row, but to prune it.

use super::claim;
use super::record::{NewSaga, SagaRow, Started};
use super::schema::{heartbeat, request, saga};
use super::watermark::{self, above};
use chrono::NaiveDateTime;
use db::{Bytes8, Bytes16, Conn, Db, Error, LockWait, Result, Script, any_of};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use lane::Decided;
use participant::{Name, RequestHash, RequestKey, SagaId};
use std::collections::{BTreeMap, HashMap, HashSet};
use uuid::Uuid;

/// The [`lane::Work`] of START.
pub(super) struct StartWork {
    pub(super) db: Db,
    pub(super) owner: Uuid,
}

/// What a request id stands for.
type Known = (SagaId, RequestHash);

/// Request id, subject, method, digest and saga.
type RequestRow = (Bytes16, Name, i8, Bytes8, Bytes16);

#[derive(Insertable)]
#[diesel(table_name = request)]
struct NewRequest {
    request_id: Bytes16,
    subject: Name,
    method: i8,
    request_hash: Bytes8,
    saga_id: Bytes16,
    created_at: NaiveDateTime,
}

impl lane::Work for StartWork {
    type Op = NewSaga;
    type Reply = Started;
    type Key = ();

    async fn run(
        &self,
        conn: &mut Conn,
        ops: &[&NewSaga],
        _: LockWait,
    ) -> Result<Decided<Started>> {
        self.hold_heartbeat(conn).await?;
        let watermark = watermark::drawn_above(conn).await?;
        let mut known = known_requests(conn, ops).await?;
        let mut sagas = BTreeMap::new();
        let mut requests = BTreeMap::new();
        let mut replies = Vec::with_capacity(ops.len());
        for op in ops {
            let reply = match known.get(&op.request) {
                // A commit that was thought lost had happened after all.
                Some((saga, _)) if watermark::is_of(*saga, op.start.saga) => Started::New(*saga),
                Some((saga, hash)) if *hash == op.hash => Started::Known(*saga),
                Some(_) => Started::Reused,
                None => {
                    let saga = above(watermark, op.start.saga);
                    known.insert(op.request.clone(), (saga, op.hash));
                    requests.insert(op.request.clone(), (saga, op.hash));
                    sagas.insert(saga, SagaRow::new(op, saga, self.owner.into()));
                    Started::New(saga)
                }
            };
            replies.push(reply);
        }
        let writes = insert(sagas.into_values().collect(), requests)?;
        Ok(Decided { replies, writes })
    }
}

impl StartWork {
    /// Locks this replica's heartbeat row. Where it is missing, because there was no heartbeat yet or others took this replica
    /// for dead, it is made first, in a transaction of its own: a row that is not committed may hold up nobody.
    async fn hold_heartbeat(&self, conn: &mut Conn) -> Result<()> {
        let owner = Bytes16::from(self.owner);
        for _ in 0..2 {
            let row = heartbeat::table.find(owner).select(heartbeat::beat).for_update();
            let held: Option<i64> = row.first(conn).await.optional()?;
            if held.is_some() {
                return Ok(());
            }
            claim::join(&self.db, owner).await?;
        }
        Error::expect_count(1, 0)
    }
}

async fn known_requests(conn: &mut Conn, ops: &[&NewSaga]) -> Result<HashMap<RequestKey, Known>> {
    let ids: HashSet<Bytes16> = ops.iter().map(|op| Bytes16(op.request.request_id)).collect();
    let rows: Vec<RequestRow> = request::table
        .filter(any_of(request::request_id, ids.iter().copied()))
        .select((
            request::request_id,
            request::subject,
            request::method,
            request::request_hash,
            request::saga_id,
        ))
        .load(conn)
        .await?;
    let is_asked = |row: &RequestRow| ids.contains(&row.0);
    let rows = conn.asked_for("request", rows, is_asked)?;
    let rows = rows.into_iter().map(|(id, subject, method, hash, saga)| {
        let key = RequestKey { request_id: id.0, subject, method };
        (key, (SagaId(saga.0), RequestHash(hash.0)))
    });
    Ok(rows.collect())
}

fn insert(sagas: Vec<SagaRow>, requests: BTreeMap<RequestKey, Known>) -> Result<Script> {
    let created_at = db::to_db(db::now_micros());
    let requests: Vec<NewRequest> = requests
        .into_iter()
        .map(|(key, (saga, hash))| NewRequest {
            request_id: Bytes16(key.request_id),
            subject: key.subject,
            method: key.method,
            request_hash: Bytes8(hash.0),
            saga_id: Bytes16(saga.0),
            created_at,
        })
        .collect();
    let mut writes = Script::default();
    writes.insert(saga::table, sagas)?;
    writes.insert(request::table, requests)?;
    Ok(writes)
}
