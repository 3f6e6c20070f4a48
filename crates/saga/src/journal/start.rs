//! START: many sagas in one transaction, each once a request.

use super::record::{NewSaga, SagaRow, Started};
use super::schema::{request, saga};
use chrono::NaiveDateTime;
use db::{Bytes8, Bytes16, Conn, Error, Result};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
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

    async fn run(&self, conn: &mut Conn, ops: &[&NewSaga]) -> Result<Vec<Started>> {
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
        insert(conn, sagas.into_values().collect(), requests).await?;
        Ok(replies)
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

#[derive(QueryableByName)]
struct FloorRow {
    #[diesel(sql_type = diesel::sql_types::Binary)]
    floor: Bytes16,
}

async fn floor(conn: &mut Conn) -> Result<SagaId> {
    // Diesel's for_share() says FOR SHARE, which MariaDB does not know.
    let row: FloorRow =
        diesel::sql_query("SELECT floor FROM saga_floor WHERE id = 1 LOCK IN SHARE MODE")
            .get_result(conn)
            .await?;
    Ok(SagaId(row.floor.0))
}

async fn known_requests(conn: &mut Conn, ops: &[&NewSaga]) -> Result<HashMap<RequestKey, Known>> {
    let ids: Vec<Bytes16> = ops.iter().map(|op| Bytes16(op.request.request_id)).collect();
    let rows: Vec<(Bytes16, i64, i8, Bytes8, Bytes16)> = request::table
        .filter(request::request_id.eq_any(ids))
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

async fn insert(
    conn: &mut Conn,
    sagas: Vec<SagaRow>,
    requests: BTreeMap<RequestKey, Known>,
) -> Result<()> {
    if sagas.is_empty() {
        return Ok(());
    }
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
    diesel::insert_into(saga::table).values(sagas).execute(conn).await?;
    diesel::insert_into(request::table).values(requests).execute(conn).await?;
    Ok(())
}
