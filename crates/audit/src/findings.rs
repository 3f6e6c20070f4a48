//! What an audit has found so far.

use crate::invariant::{INVARIANTS, Invariant};
use crate::report::Check;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

/// Offending ids that a report names for one invariant; the others are counted.
const NAMED: usize = 100;

#[derive(Default)]
struct Tally {
    rows: u64,
    count: u64,
    ids: BTreeSet<String>,
}

/// Counts rows and keeps offences, by invariant.
#[derive(Default)]
pub(crate) struct Findings(BTreeMap<&'static str, Tally>);

impl Findings {
    /// A row was checked.
    pub(crate) fn row(&mut self, invariant: &Invariant) {
        self.rows(invariant, 1);
    }

    /// So many rows were checked.
    pub(crate) fn rows(&mut self, invariant: &Invariant, rows: u64) {
        self.tally(invariant).rows += rows;
    }

    /// The invariant does not hold of this. Naming the same id again changes nothing.
    pub(crate) fn offend(&mut self, invariant: &Invariant, id: impl Display) {
        let tally = self.tally(invariant);
        let id = id.to_string();
        if tally.ids.contains(&id) {
            return;
        }
        tally.count += 1;
        if tally.ids.len() < NAMED {
            tally.ids.insert(id);
        }
    }

    /// Checks a row.
    pub(crate) fn check(&mut self, invariant: &Invariant, holds: bool, id: impl Display) {
        self.row(invariant);
        if !holds {
            self.offend(invariant, id);
        }
    }

    /// One check an invariant; those that were not asked have read no rows.
    pub(crate) fn into_checks(mut self) -> Vec<Check> {
        let check = |invariant: &Invariant| {
            let tally = self.0.remove(invariant.name).unwrap_or_default();
            Check {
                name: invariant.name,
                what: invariant.what,
                rows_checked: tally.rows,
                offence_count: tally.count,
                offences: tally.ids.into_iter().collect(),
            }
        };
        INVARIANTS.iter().map(check).collect()
    }

    fn tally(&mut self, invariant: &Invariant) -> &mut Tally {
        self.0.entry(invariant.name).or_default()
    }
}
