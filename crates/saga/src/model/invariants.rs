//! What may never be true of a saga.

use std::collections::BTreeMap;

use participant::barrier::{RowState, StepNo};

use super::Violation;
use super::saga::{End, Saga, Start, State};
use crate::outcome::{Failure, Outcome};

impl Saga {
    /// What is wrong with a state in itself.
    pub(super) fn judge(&self, state: &State) -> Option<Violation> {
        let effect = |step: StepNo| state.effects.get(&step).copied().unwrap_or(0);
        let all = self.shape.steps().all(|step| effect(step) == 1);
        let none = state.effects.is_empty();
        let pivot = self.shape.pivot;
        let undone = |row: Option<&RowState>| row.is_some_and(|&state| state != RowState::Done);
        let rows: BTreeMap<_, _> =
            state.rows.iter().map(|(step, row)| (*step, row.state)).collect();
        let mut rejected = self.shape.stages().filter_map(|stage| {
            stage.iter().copied().find(|step| rows.get(step) == Some(&RowState::Rejected))
        });
        let first_rejected = rejected.next();
        let decided = match &state.end {
            Some(End::Decided(outcome)) => Some(outcome),
            Some(End::Resolved) | None => None,
        };
        let lost = |outcome: Option<&Outcome>| match outcome {
            Some(Outcome::Failed(Failure::Aborted { reason })) => reason.is_empty(),
            _ => false,
        };

        if state.violation.is_some() {
            return state.violation;
        }
        if state.effects.values().any(|&times| times > 1) {
            return Some(Violation::EffectTwice);
        }
        if effect(pivot) == 1
            && !self.shape.compensatable.iter().flatten().all(|&step| effect(step) == 1)
        {
            return Some(Violation::PivotWithoutSteps);
        }
        if rows.get(&pivot) == Some(&RowState::Done)
            && self.shape.compensatable.iter().flatten().any(|step| undone(rows.get(step)))
        {
            return Some(Violation::PivotDoneBesideUndoneStep);
        }
        if rejected.next().is_some() {
            return Some(Violation::TwoRejections);
        }
        if lost(state.told.as_ref()) || lost(decided) {
            return Some(Violation::ReasonLost);
        }
        match &state.told {
            Some(Outcome::Succeeded) if !all => return Some(Violation::ToldSucceededInVain),
            Some(Outcome::Failed(_)) if effect(pivot) > 0 => {
                return Some(Violation::ToldFailedInVain);
            }
            _ => {}
        }
        match decided {
            Some(Outcome::Succeeded) if !all => return Some(Violation::EndedSucceededInVain),
            Some(Outcome::Failed(_)) if !none => return Some(Violation::EndedFailedInVain),
            _ => {}
        }
        if let (Some(told), Some(decided)) = (&state.told, decided)
            && told != decided
        {
            return Some(Violation::EndedOtherwiseThanTold);
        }
        let Some(Outcome::Failed(failure)) = decided else { return None };
        let recorded = match first_rejected {
            Some(step) => Failure::Rejected { step, reply: Vec::new() },
            None => Failure::Aborted { reason: state.rows.get(&pivot)?.reply.clone() },
        };
        (state.watermarks.is_empty() && *failure != recorded)
            .then_some(Violation::EndedForWrongReason)
    }

    /// Whether the saga has come to its end, or never began.
    pub(super) fn settled(state: &State) -> bool {
        let never_began =
            state.start == Start::Lost && state.sent.is_empty() && state.told.is_none();
        state.executors.iter().all(Option::is_none) && (state.end.is_some() || never_began)
    }
}
