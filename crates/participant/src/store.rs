//! The SQL of barrier, watermark and idempotency rows.

use crate::barrier::{Row, RowState};
use crate::desk::Verdict;
use crate::outcome::Told;
use crate::schema::{idempotency, saga_op, saga_watermark};
use crate::{Name, RequestHash, RequestKey, SagaId, StepNo};
use chrono::{DateTime, NaiveDateTime, Utc};
use db::{Bytes8, Bytes16, Conn, Error, Result, Script, any_of};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The row of the watermark.
const WATERMARK: i8 = 1;

/// A barrier row's key.
pub(crate) type OpKey = (SagaId, StepNo);

/// What a client was told.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    pub(crate) hash: RequestHash,
    pub(crate) refused: bool,
    pub(crate) reply: Vec<u8>,
}

impl Remembered {
    pub(crate) fn new(hash: RequestHash, verdict: Verdict) -> Self {
        let (refused, reply) = match verdict {
            Verdict::Done(reply) => (false, reply),
            Verdict::Rejected(rejection) => (true, rejection.encode_to_vec()),
        };
        Self { hash, refused, reply }
    }

    pub(crate) fn into_told(self, replayed: bool) -> Told {
        if self.refused {
            return Told::Rejected { rejection: self.reply, replayed };
        }
        Told::Done { reply: self.reply, replayed }
    }
}

/// A barrier row as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRow {
    /// The saga.
    pub saga: SagaId,
    /// The step's stable number.
    pub step: StepNo,
    /// What became of it.
    pub state: RowState,
    /// The recorded reply, refusal or abort reason.
    pub reply: Vec<u8>,
    /// When the row was written.
    pub at: DateTime<Utc>,
}

#[derive(Queryable)]
struct OpRow {
    saga_id: Bytes16,
    step: i16,
    state: i8,
    request_hash: Bytes8,
    reply: Vec<u8>,
    created_at: NaiveDateTime,
}

#[derive(Insertable)]
#[diesel(table_name = saga_op)]
struct NewOp<'a> {
    saga_id: Bytes16,
    step: i16,
    state: i8,
    request_hash: Bytes8,
    reply: &'a [u8],
    created_at: NaiveDateTime,
}

#[derive(Insertable)]
#[diesel(table_name = idempotency)]
struct NewRequest<'a> {
    request_id: Bytes16,
    subject: &'a Name,
    method: i8,
    request_hash: Bytes8,
    refused: bool,
    reply: &'a [u8],
    created_at: NaiveDateTime,
}

/// Request id, subject, method, digest, whether it was refused, and what was told.
type RequestRow = (Bytes16, Name, i8, Bytes8, bool, Vec<u8>);

/// All barrier rows of these sagas.
pub(crate) async fn ops(conn: &mut Conn, sagas: Vec<SagaId>) -> Result<HashMap<OpKey, Row>> {
    if sagas.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = load_ops(conn, sagas).await?;
    rows.into_iter()
        .map(|row| {
            let key = (SagaId(row.saga_id.0), StepNo(row.step));
            let state = state(row.state)?;
            Ok((key, Row { state, hash: RequestHash(row.request_hash.0), reply: row.reply }))
        })
        .collect()
}

/// All barrier rows of these sagas, for people: by saga and step.
///
/// # Errors
/// Those of the database.
pub async fn steps_of(conn: &mut Conn, sagas: Vec<SagaId>) -> Result<Vec<StepRow>> {
    let rows = load_ops(conn, sagas).await?;
    rows.into_iter()
        .map(|row| {
            Ok(StepRow {
                saga: SagaId(row.saga_id.0),
                step: StepNo(row.step),
                state: state(row.state)?,
                reply: row.reply,
                at: db::from_db(row.created_at),
            })
        })
        .collect()
}

async fn load_ops(conn: &mut Conn, sagas: Vec<SagaId>) -> Result<Vec<OpRow>> {
    let ids: BTreeSet<Bytes16> = sagas.into_iter().map(|saga| Bytes16(saga.0)).collect();
    let rows: Vec<OpRow> = saga_op::table
        .filter(any_of(saga_op::saga_id, ids.iter().copied()))
        .order((saga_op::saga_id, saga_op::step))
        .load(conn)
        .await?;
    conn.asked_for("saga_op", rows, |row: &OpRow| ids.contains(&row.saga_id))
}

fn state(code: i8) -> Result<RowState> {
    RowState::from_code(code).ok_or_else(|| Error::Corrupt(format!("barrier state {code}")))
}

/// The watermark, as it is committed now.
pub(crate) async fn watermark(conn: &mut Conn) -> Result<SagaId> {
    let row = saga_watermark::table.find(WATERMARK).select(saga_watermark::watermark);
    let watermark: Bytes16 = row.first(conn).await?;
    Ok(SagaId(watermark.0))
}

/// Fails, as a duplicate key, so that the whole batch runs again, if the watermark is no longer below a saga of which rows were
/// inserted before. Between the read that found no row and the insert, another copy of the step may have run, its saga
/// ended, and its row been purged; once the row is inserted, nothing of that can happen any more.
fn guard_watermark(writes: &mut Script, first: SagaId) -> Result<()> {
    let columns = (saga_watermark::id, saga_watermark::watermark);
    let reached = saga_watermark::table
        .filter(saga_watermark::id.eq(WATERMARK))
        .filter(saga_watermark::watermark.ge(Bytes16(first.0)))
        .select(columns);
    writes.push(&reached.insert_into(saga_watermark::table).into_columns(columns))
}

/// Inserts barrier rows, unless one of their sagas is purged by then.
pub(crate) fn insert_ops(
    writes: &mut Script,
    ops: &BTreeMap<OpKey, Row>,
    at: DateTime<Utc>,
) -> Result<()> {
    let rows: Vec<NewOp<'_>> = ops
        .iter()
        .map(|((saga, step), row)| NewOp {
            saga_id: Bytes16(saga.0),
            step: step.0,
            state: row.state.code(),
            request_hash: Bytes8(row.hash.0),
            reply: &row.reply,
            created_at: db::to_db(at),
        })
        .collect();
    writes.insert(saga_op::table, rows)?;
    let first = ops.keys().next().map(|(saga, _)| *saga);
    first.map_or(Ok(()), |first| guard_watermark(writes, first))
}

/// DONE → COMPENSATED; another replica may have been faster, which the matched count tells.
pub(crate) async fn mark_compensated(conn: &mut Conn, keys: &[OpKey]) -> Result<()> {
    let mut by_step: BTreeMap<StepNo, Vec<Bytes16>> = BTreeMap::new();
    for (saga, step) in keys {
        by_step.entry(*step).or_default().push(Bytes16(saga.0));
    }
    for (step, mut sagas) in by_step {
        sagas.sort_unstable();
        let expected = sagas.len();
        let rows = saga_op::table
            .filter(saga_op::saga_id.eq_any(sagas))
            .filter(saga_op::step.eq(step.0))
            .filter(saga_op::state.eq(RowState::Done.code()));
        let found = diesel::update(rows)
            .set(saga_op::state.eq(RowState::Compensated.code()))
            .execute(conn)
            .await?;
        Error::expect_count(expected, found)?;
    }
    Ok(())
}

pub(crate) async fn requests(
    conn: &mut Conn,
    keys: &[RequestKey],
) -> Result<HashMap<RequestKey, Remembered>> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: BTreeSet<Bytes16> = keys.iter().map(|key| Bytes16(key.request_id)).collect();
    let rows: Vec<RequestRow> = idempotency::table
        .filter(any_of(idempotency::request_id, ids.iter().copied()))
        .select((
            idempotency::request_id,
            idempotency::subject,
            idempotency::method,
            idempotency::request_hash,
            idempotency::refused,
            idempotency::reply,
        ))
        .load(conn)
        .await?;
    let is_asked = |row: &RequestRow| ids.contains(&row.0);
    let rows = conn.asked_for("idempotency", rows, is_asked)?;
    let rows = rows.into_iter().map(|(id, subject, method, hash, refused, reply)| {
        let key = RequestKey { request_id: id.0, subject, method };
        (key, Remembered { hash: RequestHash(hash.0), refused, reply })
    });
    Ok(rows.collect())
}

pub(crate) fn insert_requests(
    writes: &mut Script,
    rows: &BTreeMap<RequestKey, Remembered>,
    at: DateTime<Utc>,
) -> Result<()> {
    let rows: Vec<NewRequest<'_>> = rows
        .iter()
        .map(|(key, remembered)| NewRequest {
            request_id: Bytes16(key.request_id),
            subject: &key.subject,
            method: key.method,
            request_hash: Bytes8(remembered.hash.0),
            refused: remembered.refused,
            reply: &remembered.reply,
            created_at: db::to_db(at),
        })
        .collect();
    writes.insert(idempotency::table, rows)
}
