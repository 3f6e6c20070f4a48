//! Lists of sagas, newest first.
//!
//! A page ends after [`LOOKED_AT`] sagas were looked at, so that no filter makes a call read a table of millions: then it has
//! fewer sagas than wanted, and is not the last.

use super::record::{HistoryRow, Record, RunningState, SagaRow};
use super::schema::{saga, saga_history};
use super::{EndedAs, Journal};
use db::{Bytes16, Conn, Error, Result};
use diesel::mysql::Mysql;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use participant::{Name, SagaId};

/// Sagas that one page looks at, in each of the two tables.
const LOOKED_AT: i64 = 10_000;

/// Which sagas to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only those of this subject.
    pub subject: Option<Name>,
    /// Only those about this object.
    pub object: Option<Name>,
    /// Only those of this kind.
    pub kind: Option<i8>,
    /// Only those of this trace.
    pub trace_id: Option<String>,
    /// Unfinished ones in one of these states; empty for none.
    pub running: Vec<RunningState>,
    /// Finished ones with one of these outcomes; empty for none.
    pub ended: Vec<EndedAs>,
    /// Only those with this id or a greater one.
    pub from: Option<SagaId>,
    /// Only those with a smaller id: also where the page before ended.
    pub below: Option<SagaId>,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// The sagas, newest first.
    pub records: Vec<Record>,
    /// Below which id the list goes on; none on the last page.
    pub next: Option<SagaId>,
}

impl Filter {
    /// Whether sagas are passed over that no index passes over.
    fn passes_over(&self) -> bool {
        self.object.is_some()
            || self.kind.is_some()
            || self.trace_id.is_some()
            || self.running.len() < RunningState::ALL.len()
            || self.ended.len() < EndedAs::ALL.len()
    }
}

impl Journal {
    /// A page of at most `size` sagas.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list(&self, filter: Filter, size: usize) -> Result<Page> {
        self.db.read(async move |conn: &mut Conn| list(conn, &filter, size).await).await
    }
}

async fn list(conn: &mut Conn, filter: &Filter, size: usize) -> Result<Page> {
    let (mut floor, mut from) = (None, filter.from);
    if filter.passes_over() {
        floor = self::floor(conn, filter).await?;
        // Always a bound: one that is missing could make the database choose another plan.
        from = Some(from.max(floor).unwrap_or(SagaId([0; 16])));
    }
    let limit = size.saturating_add(1);
    let limit = i64::try_from(limit).map_err(|_| Error::Corrupt(format!("page of {size}")))?;
    let running = running(conn, filter, from, limit).await?;
    let (mut records, oldest) = ended(conn, filter, from, limit).await?;
    // A saga that ended between the two reads stands in both; the sort is stable, and its end is kept.
    records.extend(running);
    records.sort_by_key(|record| std::cmp::Reverse(record.start().saga));
    records.dedup_by_key(|record| record.start().saga);
    let is_full = records.len() > size;
    records.truncate(size);
    let next = if is_full {
        records.last().map(|record| record.start().saga)
    } else {
        // Some of them were not readable, and the others have not filled the page: it ends where they do.
        records.retain(|record| oldest.is_none_or(|oldest| record.start().saga >= oldest));
        oldest.max(floor)
    };
    Ok(Page { records, next })
}

/// The smallest id that a page may look at, where there are more sagas than that.
async fn floor(conn: &mut Conn, filter: &Filter) -> Result<Option<SagaId>> {
    let mut floor = None;
    if !filter.running.is_empty() {
        let mut ids = saga::table
            .select(saga::saga_id)
            .order(saga::saga_id.desc())
            .limit(1)
            .offset(LOOKED_AT - 1)
            .into_boxed::<Mysql>();
        if let Some(subject) = &filter.subject {
            ids = ids.filter(saga::subject.eq(subject));
        }
        if let Some(below) = filter.below {
            ids = ids.filter(saga::saga_id.lt(Bytes16(below.0)));
        }
        floor = floor.max(ids.first(conn).await.optional()?);
    }
    // All sagas about one object are found by its index.
    if !filter.ended.is_empty() && filter.object.is_none() {
        let mut ids = saga_history::table
            .select(saga_history::saga_id)
            .order(saga_history::saga_id.desc())
            .limit(1)
            .offset(LOOKED_AT - 1)
            .into_boxed::<Mysql>();
        if let Some(subject) = &filter.subject {
            ids = ids.filter(saga_history::subject.eq(subject));
        }
        if let Some(below) = filter.below {
            ids = ids.filter(saga_history::saga_id.lt(Bytes16(below.0)));
        }
        floor = floor.max(ids.first(conn).await.optional()?);
    }
    Ok(floor.map(|id: Bytes16| SagaId(id.0)))
}

async fn running(
    conn: &mut Conn,
    filter: &Filter,
    from: Option<SagaId>,
    limit: i64,
) -> Result<Vec<Record>> {
    if filter.running.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = saga::table.order(saga::saga_id.desc()).limit(limit).into_boxed();
    // States that this program does not know count as standing still.
    let is_wanted = |state: &RunningState| filter.running.contains(state);
    let states = RunningState::ALL.into_iter();
    if !is_wanted(&RunningState::Parked) {
        let wanted: Vec<i8> = states.filter(is_wanted).map(RunningState::code).collect();
        query = query.filter(saga::state.eq_any(wanted));
    } else if filter.running.len() < RunningState::ALL.len() {
        let others = states.filter(|state| !is_wanted(state)).map(RunningState::code);
        query = query.filter(saga::state.ne_all(others.collect::<Vec<i8>>()));
    }
    if let Some(subject) = &filter.subject {
        query = query.filter(saga::subject.eq(subject));
    }
    if let Some(object) = &filter.object {
        query = query.filter(saga::object.eq(object));
    }
    if let Some(kind) = filter.kind {
        query = query.filter(saga::kind.eq(kind));
    }
    if let Some(trace_id) = &filter.trace_id {
        query = query.filter(saga::trace_id.eq(trace_id));
    }
    if let Some(from) = from {
        query = query.filter(saga::saga_id.ge(Bytes16(from.0)));
    }
    if let Some(below) = filter.below {
        query = query.filter(saga::saga_id.lt(Bytes16(below.0)));
    }
    let rows: Vec<SagaRow> = query.load(conn).await?;
    Ok(rows.into_iter().map(|row| Record::Running(row.into_running())).collect())
}

/// The finished ones, and, where there may be more, the smallest id among them.
async fn ended(
    conn: &mut Conn,
    filter: &Filter,
    from: Option<SagaId>,
    limit: i64,
) -> Result<(Vec<Record>, Option<SagaId>)> {
    if filter.ended.is_empty() {
        return Ok((Vec::new(), None));
    }
    let mut query =
        saga_history::table.order(saga_history::saga_id.desc()).limit(limit).into_boxed();
    if filter.ended.len() < EndedAs::ALL.len() {
        let outcomes: Vec<i8> = filter.ended.iter().map(|outcome| outcome.code()).collect();
        query = query.filter(saga_history::outcome.eq_any(outcomes));
    }
    if let Some(subject) = &filter.subject {
        query = query.filter(saga_history::subject.eq(subject));
    }
    if let Some(object) = &filter.object {
        query = query.filter(saga_history::object.eq(object));
    }
    if let Some(kind) = filter.kind {
        query = query.filter(saga_history::kind.eq(kind));
    }
    if let Some(trace_id) = &filter.trace_id {
        query = query.filter(saga_history::trace_id.eq(trace_id));
    }
    if let Some(from) = from {
        query = query.filter(saga_history::saga_id.ge(Bytes16(from.0)));
    }
    if let Some(below) = filter.below {
        query = query.filter(saga_history::saga_id.lt(Bytes16(below.0)));
    }
    let rows: Vec<HistoryRow> = query.load(conn).await?;
    let is_cut = i64::try_from(rows.len()).is_ok_and(|len| len == limit);
    let oldest = rows.last().filter(|_| is_cut).map(|row| SagaId(row.saga_id.0));
    // One that does not decode must not hide the others.
    let readable = |row: HistoryRow| {
        let saga = SagaId(row.saga_id.0);
        let ended = row.into_ended();
        ended.inspect_err(|error| tracing::error!(%saga, %error, "finished saga not readable")).ok()
    };
    Ok((rows.into_iter().filter_map(readable).map(Record::Ended).collect(), oldest))
}
