//! Ids against the blocks that they are taken from.

use crate::findings::Findings;
use crate::invariant::Invariant;
use crate::snapshot::Snapshot;
use anyhow::Result;
use diesel::QueryableByName;
use diesel::sql_types::Bool;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Bool)]
    below: bool,
}

/// Checks that of each kind of id the greatest in use, which a statement selects, was given out.
pub(crate) async fn check(
    invariant: &Invariant,
    kinds: &[(&str, &str)],
    snapshot: &mut Snapshot,
    findings: &mut Findings,
) -> Result<()> {
    for (name, greatest) in kinds {
        let sql = format!(
            "SELECT COALESCE(({greatest}), 0) < next_id AS below FROM id_block \
            WHERE name = '{name}'"
        );
        let rows: Vec<Row> = snapshot.all(sql).await?;
        let holds = rows.first().is_some_and(|row| row.below);
        findings.check(invariant, holds, format!("id block {name}"));
    }
    Ok(())
}
