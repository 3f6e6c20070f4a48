//! Whether an operator may close an unfinished saga by hand.
//!
//! Resolving is terminal: nobody will look at the saga again, so nothing of it may happen afterwards. Two stories of
//! what goes wrong otherwise: step 1 was sent and not answered, the saga is resolved, step 1 arrives, and its
//! reservation is nobody's; and the same with the pivot voided, which stops the end of a saga, not its beginning.
//! So the pivot must be closed *and* every step that may have been sent must have its row, which makes whatever is
//! still on its way a repetition.

use std::collections::BTreeMap;

use participant::barrier::{RowState, StepNo};

use crate::shape::Shape;

/// Why a saga cannot be resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unresolvable {
    /// The pivot can still be confirmed. Abort the saga first: that voids it.
    #[error("the saga can still succeed: abort it first")]
    Open,
    /// The pivot is done: the saga has succeeded, and can only be finished.
    #[error("the saga has passed its pivot: it can only be retried")]
    PastPivot,
    /// This step may have been sent and has no row: its effect can still come. Retry the saga until it has one.
    #[error("step {0} may still take effect: retry the saga")]
    MayStillRun(StepNo),
}

/// Checks that nothing of a saga can happen any more, given all its barrier rows.
///
/// # Errors
/// The first reason to refuse, see [`Unresolvable`].
pub fn may_resolve(shape: &Shape, rows: &BTreeMap<StepNo, RowState>) -> Result<(), Unresolvable> {
    let is_rejected = |step| rows.get(step) == Some(&RowState::Rejected);
    let rejected = shape.compensatable.iter().flatten().any(is_rejected);
    match rows.get(&shape.pivot) {
        Some(RowState::Done) => return Err(Unresolvable::PastPivot),
        None if !rejected => return Err(Unresolvable::Open),
        _ => {}
    }
    for stage in &shape.compensatable {
        if let Some(step) = stage.iter().find(|step| !rows.contains_key(step)) {
            return Err(Unresolvable::MayStillRun(*step));
        }
        // The next stage was sent only if each step of this one was seen to be done.
        let is_closed =
            |step| matches!(rows.get(step), Some(RowState::Rejected | RowState::Tombstone));
        if stage.iter().any(is_closed) {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use RowState::{Compensated, Done, Rejected, Tombstone};

    fn check(states: [Option<RowState>; 3]) -> Result<(), Unresolvable> {
        let [first, second, pivot] = [StepNo(1), StepNo(2), StepNo(3)];
        let before = Shape::chain([first, second]);
        let shape = Shape { compensatable: before, pivot, retriable: Vec::new() };
        let rows = [first, second, pivot].into_iter().zip(states);
        may_resolve(&shape, &rows.filter_map(|(step, state)| Some((step, state?))).collect())
    }

    #[test]
    fn an_open_register_refuses() {
        assert_eq!(check([None, None, None]), Err(Unresolvable::Open));
        assert_eq!(check([Some(Done), Some(Done), None]), Err(Unresolvable::Open));
    }

    #[test]
    fn a_done_register_refuses() {
        assert_eq!(check([Some(Done); 3]), Err(Unresolvable::PastPivot));
    }

    #[test]
    fn a_step_that_may_still_arrive_refuses() {
        let refused = Err(Unresolvable::MayStillRun(StepNo(1)));
        assert_eq!(check([None, None, Some(Tombstone)]), refused);
        let refused = Err(Unresolvable::MayStillRun(StepNo(2)));
        assert_eq!(check([Some(Done), None, Some(Tombstone)]), refused);
    }

    #[test]
    fn every_step_of_a_stage_may_still_arrive() {
        let steps = [StepNo(1), StepNo(2)];
        let shape =
            Shape { compensatable: vec![steps.to_vec()], pivot: StepNo(3), retriable: Vec::new() };
        let mut rows = [(StepNo(1), Rejected)].into();
        assert_eq!(may_resolve(&shape, &rows), Err(Unresolvable::MayStillRun(StepNo(2))));
        rows.insert(StepNo(2), Tombstone);
        assert_eq!(may_resolve(&shape, &rows), Ok(()));
    }

    #[test]
    fn a_closed_saga_resolves_whatever_it_leaves_standing() {
        assert_eq!(check([Some(Done), Some(Rejected), None]), Ok(()));
        assert_eq!(check([Some(Done), Some(Done), Some(Tombstone)]), Ok(()));
        assert_eq!(check([Some(Compensated), Some(Tombstone), Some(Tombstone)]), Ok(()));
        assert_eq!(check([Some(Tombstone), None, Some(Tombstone)]), Ok(()));
    }
}
