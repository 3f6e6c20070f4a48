//! How a saga stands by its rows, for whoever is not its executor.
//!
//! An executor tells an outcome before END is written, and any replica may be asked next. The rows are all there is then,
//! and they are enough: the outcome is a function of them. A row that was read after a client was told shows at least what
//! he was told.
//!
//! - The pivot is done, and so is every step after it that applies: succeeded.
//! - A step is refused, the other steps of its stage are refused, undone or closed, and the stages before it are undone:
//!   failed, for the refusal with the lowest step number. Nobody can pass the stage.
//! - The pivot is closed, and every step before it is undone or closed: failed, for the reason in the pivot, unless
//!   a person closes the saga otherwise. So executors tell that one only from END, and here it counts as not ended.
//! - A row that is missing where one is due was never written or is purged: END tells which.

use std::collections::BTreeMap;

use participant::barrier::{RowState, StepNo};

use crate::decide::Known;
use crate::outcome::{Failure, Outcome};
use crate::shape::Shape;

/// What was found of a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// Its participant cannot be asked.
    Unreachable,
    /// No row.
    Nothing,
    /// A row, with what it records.
    Row(RowState, Vec<u8>),
}

/// How a saga stands by its rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recorded {
    /// It has ended, and nobody can be told anything else.
    Ended(Outcome, Known),
    /// Nobody was told of an end before the rows were read, unless END stands in the journal by now.
    Open,
    /// The rows that could be read leave it open which.
    Unknown,
}

/// How a saga stands. `applies` tells whether a step after the pivot is taken at all.
pub fn recorded(
    shape: &Shape,
    applies: impl Fn(StepNo, &Known) -> bool,
    rows: &BTreeMap<StepNo, Found>,
) -> Recorded {
    let found = |step: StepNo| rows.get(&step).unwrap_or(&Found::Unreachable);
    let failed = |step: StepNo, reply: &[u8]| {
        let failure = Failure::Rejected { step, reply: reply.to_vec() };
        Recorded::Ended(Outcome::Failed(failure), Known::default())
    };
    let pivot = found(shape.pivot);
    if let Found::Row(RowState::Done, _) = pivot {
        return past_pivot(shape, applies, rows);
    }
    let open = match pivot {
        Found::Unreachable => Recorded::Unknown,
        Found::Nothing | Found::Row(..) => Recorded::Open,
    };
    for stage in &shape.compensatable {
        let stands =
            |step: &StepNo| matches!(found(*step), Found::Row(RowState::Done, _) | Found::Nothing);
        if stage.iter().any(stands) {
            return open;
        }
        if stage.iter().any(|step| *found(*step) == Found::Unreachable) {
            return Recorded::Unknown;
        }
        let refused = stage.iter().filter_map(|step| match found(*step) {
            Found::Row(RowState::Rejected, reply) => Some((*step, reply)),
            _ => None,
        });
        if let Some((step, reply)) = refused.min_by_key(|(step, _)| *step) {
            return failed(step, reply);
        }
    }
    match pivot {
        Found::Row(RowState::Rejected, reply) => failed(shape.pivot, reply),
        _ => open,
    }
}

fn past_pivot(
    shape: &Shape,
    applies: impl Fn(StepNo, &Known) -> bool,
    rows: &BTreeMap<StepNo, Found>,
) -> Recorded {
    let done = rows.iter().filter_map(|(step, found)| match found {
        Found::Row(RowState::Done, reply) => Some((*step, reply.clone())),
        _ => None,
    });
    let known = Known::of_rows(done.collect());
    let due = shape.retriable.iter().flatten().filter(|step| applies(**step, &known));
    let mut is_certain = true;
    for step in due {
        match rows.get(step) {
            Some(Found::Row(RowState::Done, _)) => {}
            Some(Found::Nothing | Found::Row(..)) => return Recorded::Open,
            Some(Found::Unreachable) | None => is_certain = false,
        }
    }
    if is_certain { Recorded::Ended(Outcome::Succeeded, known) } else { Recorded::Unknown }
}

#[cfg(test)]
mod tests;
