//! END: from the active table to the history, many at once.

use super::record::{EndedAs, HistoryRow, SagaRow};
use super::schema::{saga, saga_history};
use db::{Bytes16, Conn, Error, Result};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use participant::SagaId;
use std::collections::BTreeMap;

/// How a saga ended.
pub(super) struct End {
    pub(super) saga: SagaId,
    pub(super) outcome: EndedAs,
    pub(super) result: Vec<u8>,
}

/// The [`lane::Work`] of END. A saga that has ended already is left as it is.
pub(super) struct EndWork;

impl lane::Work for EndWork {
    type Op = End;
    type Reply = ();

    async fn run(&self, conn: &mut Conn, ops: &[&End]) -> Result<Vec<()>> {
        let mut first: BTreeMap<SagaId, &End> = BTreeMap::new();
        for op in ops {
            first.entry(op.saga).or_insert(op);
        }
        let ids: Vec<Bytes16> = first.keys().map(|saga| Bytes16(saga.0)).collect();
        let rows: Vec<SagaRow> = saga::table
            .filter(saga::saga_id.eq_any(ids))
            .order(saga::saga_id)
            .for_update()
            .load(conn)
            .await?;
        let unfinished: Vec<Bytes16> = rows.iter().map(|row| row.saga_id).collect();
        let ended_at = db::now_micros();
        let history: Vec<HistoryRow> = rows
            .into_iter()
            .filter_map(|row| {
                let end = first.get(&SagaId(row.saga_id.0))?;
                Some(row.into_history(end.outcome, end.result.clone(), ended_at))
            })
            .collect();
        if !history.is_empty() {
            let expected = unfinished.len();
            diesel::insert_into(saga_history::table).values(history).execute(conn).await?;
            let found = diesel::delete(saga::table.filter(saga::saga_id.eq_any(unfinished)))
                .execute(conn)
                .await?;
            Error::expect_count(expected, found)?;
        }
        Ok(vec![(); ops.len()])
    }
}
