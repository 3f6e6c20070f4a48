//! END: from the active table to the history, many at once.

use super::record::{EndedAs, HistoryRow, Start};
use super::schema::{saga, saga_history};
use db::{Bytes16, Conn, LockWait, Result, Script, any_of, for_update};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use lane::Decided;
use participant::SagaId;
use std::collections::BTreeMap;

/// How a saga ended.
pub(super) struct End {
    pub(super) start: Start,
    pub(super) outcome: EndedAs,
    pub(super) result: Vec<u8>,
}

/// The [`lane::Work`] of END. A saga that has ended already is left as it is.
pub(super) struct EndWork;

impl lane::Work for EndWork {
    type Op = End;
    type Reply = ();
    type Key = SagaId;

    fn key(&self, end: &End) -> Option<SagaId> {
        Some(end.start.saga)
    }

    async fn run(&self, conn: &mut Conn, ops: &[&End], wait: LockWait) -> Result<Decided<()>> {
        let mut first: BTreeMap<SagaId, &End> = BTreeMap::new();
        for op in ops {
            first.entry(op.start.saga).or_insert(op);
        }
        let unfinished = saga::table
            .filter(any_of(saga::saga_id, first.keys().map(|saga| Bytes16(saga.0))))
            .order(saga::saga_id)
            .select(saga::saga_id);
        let unfinished: Vec<Bytes16> = for_update(unfinished, wait).load(conn).await?;
        let ended_at = db::now_micros();
        let history: Vec<HistoryRow> = unfinished
            .iter()
            .filter_map(|saga| first.get(&SagaId(saga.0)))
            .map(|end| HistoryRow::new(&end.start, end.outcome, end.result.clone(), ended_at))
            .collect();
        let mut writes = Script::default();
        if !history.is_empty() {
            writes.insert(saga_history::table, history)?;
            let ended = saga::table.filter(any_of(saga::saga_id, unfinished));
            writes.push(&diesel::delete(ended))?;
        }
        Ok(Decided { replies: vec![(); ops.len()], writes })
    }
}
