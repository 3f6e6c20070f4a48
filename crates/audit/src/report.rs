//! What an audit says, to people and to programs.

use serde::Serialize;
use std::fmt;

/// One invariant, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The invariant's stable name.
    pub name: &'static str,
    /// What it says.
    pub what: &'static str,
    /// Rows, or groups of rows, that it was checked on.
    pub rows_checked: u64,
    /// How many times it does not hold.
    pub offence_count: u64,
    /// Of what it does not hold: at most 100, by kind and id, such as `wallet 17`.
    pub offences: Vec<String>,
}

/// Something that breaks no invariant and that the reader should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// What it is.
    pub what: &'static str,
    /// How many there are.
    pub count: u64,
    /// Which: at most 100.
    pub ids: Vec<String>,
}

/// The result of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Every invariant, in a stable order.
    pub checks: Vec<Check>,
    /// What was left out of the checks, and why.
    pub explained: Vec<Explained>,
}

impl Report {
    /// Whether every invariant holds.
    pub fn is_clean(&self) -> bool {
        self.checks.iter().all(|check| check.offence_count == 0)
    }

    /// The invariants that do not hold.
    pub fn broken(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.offence_count > 0)
    }
}

/// A table for people: one line an invariant, the offending ids below it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
        for check in &self.checks {
            let Check { name, what, rows_checked, offence_count, .. } = check;
            let verdict = match (offence_count, rows_checked) {
                (0, 0) => "-".to_owned(),
                (0, _) => "ok".to_owned(),
                (broken, _) => format!("{broken} BROKEN"),
            };
            writeln!(f, "{name:width$}  {rows_checked:>9}  {verdict:<10}  {what}")?;
            write_ids(f, &check.offences, *offence_count)?;
        }
        for Explained { what, count, ids } in &self.explained {
            writeln!(f, "\n{count} {what}")?;
            write_ids(f, ids, *count)?;
        }
        let broken = self.broken().count();
        match broken {
            0 => writeln!(f, "\nclean: all {} invariants hold", self.checks.len()),
            1 => writeln!(f, "\n1 invariant is broken"),
            _ => writeln!(f, "\n{broken} invariants are broken"),
        }
    }
}

fn write_ids(f: &mut fmt::Formatter<'_>, ids: &[String], count: u64) -> fmt::Result {
    for id in ids {
        writeln!(f, "    {id}")?;
    }
    let unnamed = count.saturating_sub(u64::try_from(ids.len()).unwrap_or(u64::MAX));
    if unnamed > 0 {
        writeln!(f, "    … and {unnamed} more")?;
    }
    Ok(())
}
