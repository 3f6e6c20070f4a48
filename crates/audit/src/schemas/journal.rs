//! The journal: each saga once, with its request; ids and watermarks.

use crate::findings::Findings;
use crate::ids;
use crate::invariant::{JOURNAL_IDS, JOURNAL_ONCE, JOURNAL_REQUESTS, JOURNAL_WATERMARKS};
use crate::snapshot::Snapshot;
use anyhow::Result;
use db::Bytes16;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Bool, Text};
use futures_util::TryStreamExt;
use participant::{Name, SagaId};
use std::collections::BTreeMap;

/// A checkout's kind, and its request's method.
pub(crate) const CHECKOUT: i64 = 1;
/// A cancel's kind, and its request's method.
pub(crate) const CANCEL: i64 = 2;
/// The kind of a saga that was submitted as data, and its request's method.
const SUBMITTED: i64 = 3;
/// All steps are done.
pub(crate) const SUCCEEDED: i64 = 1;
/// All steps are undone.
pub(crate) const FAILED: i64 = 2;
/// Closed by a person.
pub(crate) const RESOLVED: i64 = 3;

const BEGUN: i64 = 0;
const ENDED: i64 = 1;

/// A saga in either table, or a request that names it.
#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Binary)]
    saga_id: Bytes16,
    #[diesel(sql_type = BigInt)]
    part: i64,
    #[diesel(sql_type = BigInt)]
    kind: i64,
    #[diesel(sql_type = Text)]
    subject: Name,
    #[diesel(sql_type = Text)]
    object: Name,
    #[diesel(sql_type = Bool)]
    known: bool,
}

/// A request is about no object of its own; its subject stands there once more.
const ROWS: &str = "SELECT saga_id, 0 AS part, kind, subject, object, \
    state IN (1, 2, 3) AND (unique_object IS NULL OR unique_object = object) AS known FROM saga \
    UNION ALL SELECT saga_id, 1, kind, subject, object, outcome IN (1, 2, 3) FROM saga_history \
    UNION ALL SELECT saga_id, 2, method, subject, subject, 1 FROM request ORDER BY saga_id, part";

/// An unfinished saga.
#[derive(QueryableByName)]
pub(crate) struct Unfinished {
    #[diesel(sql_type = Binary)]
    saga_id: Bytes16,
    /// 1 running, 2 needs attention, 3 parked.
    #[diesel(sql_type = BigInt)]
    pub(crate) state: i64,
    /// What the operator should know.
    #[diesel(sql_type = Text)]
    pub(crate) attention: String,
}

impl Unfinished {
    /// Its id.
    pub(crate) fn saga(&self) -> SagaId {
        SagaId(self.saga_id.0)
    }
}

/// All unfinished sagas, which are few.
pub(crate) async fn unfinished(snapshot: &mut Snapshot) -> Result<Vec<Unfinished>> {
    const UNFINISHED: &str =
        "SELECT saga_id, state, COALESCE(attention, '') AS attention FROM saga ORDER BY saga_id";
    snapshot.all(UNFINISHED).await
}

#[derive(QueryableByName)]
struct Watermark {
    #[diesel(sql_type = Binary)]
    watermark: Bytes16,
}

/// A schema's watermark: sagas at or below it may have lost their barrier rows. `None` where the row is missing.
pub(crate) async fn watermark(snapshot: &mut Snapshot) -> Result<Option<SagaId>> {
    let rows: Vec<Watermark> =
        snapshot.all("SELECT watermark FROM saga_watermark WHERE id = 1").await?;
    Ok(rows.first().map(|row| SagaId(row.watermark.0)))
}

/// Checks watermarks: the participants' by name, and the journal's in a snapshot that is newer than theirs.
pub(crate) async fn check_watermarks(
    newer: &mut Snapshot,
    watermarks: &BTreeMap<&'static str, Option<SagaId>>,
    findings: &mut Findings,
) -> Result<()> {
    let journal = watermark(newer).await?;
    let first = unfinished(newer).await?.first().map(Unfinished::saga);
    let below = journal.is_some_and(|watermark| first.is_none_or(|first| watermark < first));
    findings.check(&JOURNAL_WATERMARKS, below, "watermark of orchestrator");
    for (schema, watermark) in watermarks {
        let holds = watermark.is_some_and(|watermark| Some(watermark) <= journal);
        findings.check(&JOURNAL_WATERMARKS, holds, format!("watermark of {schema}"));
    }
    Ok(())
}

/// Checks what the schema says of itself.
pub(crate) async fn check(snapshot: &mut Snapshot, findings: &mut Findings) -> Result<()> {
    let mut rows = snapshot.rows::<Row>(ROWS).await?;
    let mut group: Vec<Row> = Vec::new();
    // Of checkouts alone: the order of a cancel is the client's word, and may be made up.
    let mut greatest_order = 0;
    while let Some(row) = rows.try_next().await? {
        if let Some(order) = row.placed_order() {
            greatest_order = greatest_order.max(order);
        }
        if group.first().is_some_and(|first| first.saga_id != row.saga_id) {
            check_saga(&group, findings);
            group.clear();
        }
        group.push(row);
    }
    check_saga(&group, findings);
    drop(rows);
    let greatest = format!("SELECT {greatest_order}");
    ids::check(&JOURNAL_IDS, &[("order", &greatest)], snapshot, findings).await
}

impl Row {
    fn is_request(&self) -> bool {
        !matches!(self.part, BEGUN | ENDED)
    }

    /// Whether its names are of its kind: a user and an order, or nobody and nothing.
    fn is_named(&self) -> bool {
        let names = [&self.subject, &self.object];
        match self.kind {
            CHECKOUT | CANCEL => names.iter().all(|name| name.number().is_some()),
            SUBMITTED => names.iter().all(|name| name.as_str().is_empty()),
            _ => false,
        }
    }

    /// The order that a checkout places.
    fn placed_order(&self) -> Option<i64> {
        (!self.is_request() && self.kind == CHECKOUT).then(|| self.object.number())?
    }
}

fn check_saga(group: &[Row], findings: &mut Findings) {
    let Some(first) = group.first() else { return };
    let name = || format!("saga {}", SagaId(first.saga_id.0));
    let sagas: Vec<&Row> = group.iter().filter(|row| !row.is_request()).collect();
    let requests = group.iter().filter(|row| row.is_request());
    let once = match sagas.as_slice() {
        [saga] => saga.known && saga.is_named(),
        // A request without a saga is told below.
        [] => true,
        _ => false,
    };
    findings.check(&JOURNAL_ONCE, once, name());
    let begun_by: Vec<(i64, &Name)> = requests.map(|row| (row.kind, &row.subject)).collect();
    let answers = sagas.first().is_some_and(|saga| begun_by == [(saga.kind, &saga.subject)]);
    findings.check(&JOURNAL_REQUESTS, answers, name());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(part: i64, kind: i64, [subject, object]: [&str; 2]) -> Row {
        let [subject, object] = [subject, object].map(|name| Name::new(name).unwrap());
        Row { saga_id: Bytes16([1; 16]), part, kind, subject, object, known: true }
    }

    /// The invariants that an ended saga of this kind breaks, with the request that began it.
    fn broken(kind: i64, names: [&str; 2]) -> Vec<&'static str> {
        let request = row(2, kind, [names[0]; 2]);
        let mut findings = Findings::default();
        check_saga(&[row(ENDED, kind, names), request], &mut findings);
        let broken = findings.into_checks().into_iter().filter(|check| check.offence_count > 0);
        broken.map(|check| check.name).collect()
    }

    #[test]
    fn a_saga_has_the_names_of_its_kind() {
        for (kind, good, bad) in [
            (CHECKOUT, ["7", "41"], ["7", "x"]),
            (CANCEL, ["7", "41"], ["", "41"]),
            (SUBMITTED, ["", ""], ["7", ""]),
        ] {
            assert!(broken(kind, good).is_empty(), "{kind}");
            assert_eq!(broken(kind, bad), [JOURNAL_ONCE.name], "{kind}");
        }
        assert_eq!(broken(9, ["", ""]), [JOURNAL_ONCE.name]);
    }
}
