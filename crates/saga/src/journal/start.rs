//! START: many sagas in one transaction, each once a request.

use super::record::{NewSaga, SagaRow, Started};
use super::schema::{request, saga, saga_floor};
use chrono::NaiveDateTime;
use db::{Bytes8, Bytes16, Conn, Error, LockWait, Result, Script, any_of, in_share_mode};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use lane::Decided;
use participant::{RequestHash, RequestKey, SagaId};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// The [`lane::Work`] of START.
pub(super) struct StartWork {
    pub(super) owner: Uuid,
}

/// What a request id stands for.
type Known = (SagaId, RequestHash);

#[derive(Insertable)]
#[diesel(table_name = request)]
struct NewRequest {
    request_id: Bytes16,
    subject: i64,
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
        let floor = floor(conn).await?;
        let mut known = known_requests(conn, ops).await?;
        let mut sagas = BTreeMap::new();
        let mut requests = BTreeMap::new();
        let mut replies = Vec::with_capacity(ops.len());
        for op in ops {
            let reply = match known.get(&op.request) {
                // A commit that was thought lost had happened after all.
                Some((saga, _)) if *saga == op.start.saga => Started::New(*saga),
                Some((saga, hash)) if *hash == op.hash => Started::Known(*saga),
                Some(_) => Started::Reused,
                None => {
                    let saga = above(floor, op.start.saga)?;
                    known.insert(op.request, (saga, op.hash));
                    requests.insert(op.request, (saga, op.hash));
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

/// An id above the floor: at or below it participants take a saga for purged.
fn above(floor: SagaId, drawn: SagaId) -> Result<SagaId> {
    if drawn > floor {
        return Ok(drawn);
    }
    let redrawn = SagaId::from(Uuid::now_v7());
    if redrawn > floor {
        return Ok(redrawn);
    }
    Err(Error::Corrupt("this machine's clock is behind the journal's floor: set it".to_owned()))
}

async fn floor(conn: &mut Conn) -> Result<SagaId> {
    let row = saga_floor::table.find(1).select(saga_floor::floor);
    let floor: Bytes16 = in_share_mode(row).get_result(conn).await?;
    Ok(SagaId(floor.0))
}

async fn known_requests(conn: &mut Conn, ops: &[&NewSaga]) -> Result<HashMap<RequestKey, Known>> {
    let ids = ops.iter().map(|op| Bytes16(op.request.request_id));
    let rows: Vec<(Bytes16, i64, i8, Bytes8, Bytes16)> = request::table
        .filter(any_of(request::request_id, ids))
        .select((
            request::request_id,
            request::subject,
            request::method,
            request::request_hash,
            request::saga_id,
        ))
        .load(conn)
        .await?;
    let rows = rows.into_iter().map(|(id, user_id, method, hash, saga)| {
        let key = RequestKey { request_id: id.0, user_id, method };
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
            subject: key.user_id,
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
