//! The rules of a single saga, each broken in its own way.

#[cfg(test)]
use std::collections::BTreeSet;

use participant::barrier::{RowState, StepNo};

use crate::decide::{ActReply, Call, Event, Known, Phase, UndoReply, VoidReply};
use crate::outcome::{AbortReason, Failure, Outcome};
use crate::shape::Shape;

#[cfg(test)]
use super::Violation;
#[cfg(test)]
use super::check::{Fault, Purge};
use super::saga::{Executor, Saga, State, is};

/// A rule that is broken, named by what happens instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "only the tests of the model break rules"))]
pub(super) enum Broken {
    // The barrier.
    RejectionNotRecorded,
    RegisterRefusesWithoutRow,
    RejectionOverwrittenByCompensation,
    TombstonedActionAnsweredDone,
    EffectCommittedWithoutRow,
    CompensationOfNothingLeavesNoTombstone,
    CompensationUndoesAgain,
    BusinessRuleAskedBeforeBarrier,
    VoidUndoesDoneRegister,
    VoidWritesNoReason,
    PurgedWithoutWatermark,
    PurgedWhileUnfinished,
    RowPurgedBeforeWatermarkRaised,
    WatermarkLowered,
    StartedBelowWatermark,
    // The executor.
    StartNotAwaited,
    AbortWithoutVoid,
    AbortWithoutVoidForOwnReason,
    TimedOutStepNotCompensated,
    TombstoneTakenForRejection,
    TombstoneCompensatesOnlyBelow,
    OwnReasonOutranksRows,
    VoidOutranksRejection,
    PurgedTakenForUndone,
    // Stages.
    StageBegunBeforeOneIsDone,
    StepsBesideRejectionLeft,
    UnansweredStepsBesideRejectionLeft,
    FirstRejectionSeenIsTheReason,
    ReasonToldBeforeStageAnswered,
    RefusalReadBesideStandingStep,
    ResolvedBesideStepWithoutRow,
    // What is told and recorded.
    FailureToldWhenStartIsUnknown,
    FailureToldBeforeVoid,
    FailureToldOnceVoided,
    FailureReadFromVoidedRegister,
    SuccessToldBeforeRegister,
    EndedBeforeUndone,
    EndedAgainstRegister,
    ResolvedAtAnyTime,
    ResolvedOnceRegisterClosed,
}

#[cfg(test)]
impl Broken {
    /// Every broken rule and what the explorer finds of it.
    pub(super) const ALL: [(Self, Violation); 40] = {
        use Broken::*;
        use Violation::*;
        [
            (RejectionNotRecorded, EffectAfterEnd),
            (RegisterRefusesWithoutRow, PivotWithoutSteps),
            (RejectionOverwrittenByCompensation, EndedForWrongReason),
            (TombstonedActionAnsweredDone, ToldSucceededInVain),
            (EffectCommittedWithoutRow, EffectTwice),
            (CompensationOfNothingLeavesNoTombstone, EffectAfterEnd),
            (CompensationUndoesAgain, UndoneTwice),
            (BusinessRuleAskedBeforeBarrier, EndedFailedInVain),
            (VoidUndoesDoneRegister, ToldSucceededInVain),
            (VoidWritesNoReason, ReasonLost),
            (PurgedWithoutWatermark, EffectAfterEnd),
            (PurgedWhileUnfinished, Stuck),
            (RowPurgedBeforeWatermarkRaised, EffectAfterEnd),
            (WatermarkLowered, EffectAfterEnd),
            (StartedBelowWatermark, Stuck),
            (StartNotAwaited, Stuck),
            (AbortWithoutVoid, ReasonLost),
            (AbortWithoutVoidForOwnReason, PivotWithoutSteps),
            (TimedOutStepNotCompensated, EffectAfterEnd),
            (TombstoneTakenForRejection, EndedForWrongReason),
            (TombstoneCompensatesOnlyBelow, ReasonLost),
            (OwnReasonOutranksRows, EndedForWrongReason),
            (VoidOutranksRejection, EndedForWrongReason),
            (PurgedTakenForUndone, EndedOtherwiseThanTold),
            (StageBegunBeforeOneIsDone, PivotWithoutSteps),
            (StepsBesideRejectionLeft, EndedFailedInVain),
            (UnansweredStepsBesideRejectionLeft, EffectAfterEnd),
            (FirstRejectionSeenIsTheReason, EndedForWrongReason),
            (ReasonToldBeforeStageAnswered, TwoAnswers),
            (RefusalReadBesideStandingStep, TwoAnswers),
            (ResolvedBesideStepWithoutRow, EffectAfterEnd),
            (FailureToldWhenStartIsUnknown, TwoAnswers),
            (FailureToldBeforeVoid, TwoAnswers),
            (FailureToldOnceVoided, TwoAnswers),
            (FailureReadFromVoidedRegister, TwoAnswers),
            (SuccessToldBeforeRegister, ToldSucceededInVain),
            (EndedBeforeUndone, EndedFailedInVain),
            (EndedAgainstRegister, EndedFailedInVain),
            (ResolvedAtAnyTime, EffectAfterEnd),
            (ResolvedOnceRegisterClosed, EffectAfterEnd),
        ]
    };

    /// What has to be purged for the rule to count, and what may interfere.
    pub(super) fn needs(self) -> (Purge, BTreeSet<Fault>) {
        let purge = match self {
            Self::PurgedWithoutWatermark
            | Self::PurgedWhileUnfinished
            | Self::StartedBelowWatermark
            | Self::PurgedTakenForUndone => Purge::Together,
            Self::RowPurgedBeforeWatermarkRaised | Self::WatermarkLowered => Purge::Each,
            _ => Purge::Never,
        };
        let resolve = matches!(
            self,
            Self::ResolvedAtAnyTime
                | Self::ResolvedOnceRegisterClosed
                | Self::ResolvedBesideStepWithoutRow
        );
        let mut faults = BTreeSet::from(Fault::ALL);
        if !resolve {
            faults.remove(&Fault::OperatorResolves);
        }
        (purge, faults)
    }

    /// Whether the rule is one of stages with several steps.
    pub(super) fn is_of_stages(self) -> bool {
        matches!(
            self,
            Self::StageBegunBeforeOneIsDone
                | Self::StepsBesideRejectionLeft
                | Self::UnansweredStepsBesideRejectionLeft
                | Self::FirstRejectionSeenIsTheReason
                | Self::ReasonToldBeforeStageAnswered
                | Self::RefusalReadBesideStandingStep
                | Self::ResolvedBesideStepWithoutRow
        )
    }
}

impl Saga {
    /// What the executor makes of an event before it decides: the event itself, unless a rule is broken.
    pub(super) fn misread(&self, executor: &mut Executor, event: Event) -> Event {
        let Some(broken) = self.broken else { return event };
        match (broken, event, executor.known.phase()) {
            (Broken::TombstoneTakenForRejection, Event::Acted(step, ActReply::Tombstoned), _) => {
                Event::Acted(step, ActReply::Rejected(b"tombstoned".to_vec()))
            }
            (Broken::TombstoneCompensatesOnlyBelow, event, _)
                if matches!(event, Event::Acted(_, ActReply::Tombstoned)) =>
            {
                forget_from_here(executor);
                event
            }
            (
                Broken::TimedOutStepNotCompensated,
                event @ Event::AbortWanted(_),
                Phase::Forward(_),
            ) => {
                forget_from_here(executor);
                event
            }
            (Broken::OwnReasonOutranksRows, event @ Event::AbortWanted(reason), _) => {
                executor.own = Some(reason);
                event
            }
            (Broken::VoidOutranksRejection, Event::Undone(step, UndoReply::Rejected(_)), _) => {
                Event::Undone(step, UndoReply::Settled)
            }
            (
                Broken::FirstRejectionSeenIsTheReason,
                Event::Undone(step, UndoReply::Rejected(_)),
                Phase::Compensating { failure: Failure::Rejected { .. }, .. },
            ) => Event::Undone(step, UndoReply::Settled),
            (Broken::PurgedTakenForUndone, event, _) => match event {
                Event::Acted(step, ActReply::Purged) => Event::Acted(step, ActReply::Tombstoned),
                Event::Undone(step, UndoReply::Purged) => Event::Undone(step, UndoReply::Settled),
                Event::Voided(VoidReply::Purged) => Event::Voided(VoidReply::Tombstone(Vec::new())),
                event => event,
            },
            (_, event, _) => event,
        }
    }

    /// What the executor takes for the stages when it decides, where a rule of stages is broken.
    pub(super) fn restage(&self, shape: &mut Shape, known: &Known, event: &Event) {
        let Event::Acted(answered, reply) = event else { return };
        let is_left = |step: StepNo| match (self.broken, reply) {
            (Some(Broken::StepsBesideRejectionLeft), ActReply::Rejected(_)) => true,
            (Some(Broken::UnansweredStepsBesideRejectionLeft), ActReply::Rejected(_)) => {
                known.reply(step).is_none()
            }
            _ => false,
        };
        for stage in &mut shape.compensatable {
            if stage.contains(answered) {
                stage.retain(|step| step == answered || !is_left(*step));
            }
        }
    }

    /// The shape without the steps of a stage that have no row.
    pub(super) fn shape_of_rows(&self, state: &State) -> Shape {
        self.shape_with(|step| state.rows.contains_key(&step))
    }

    /// The shape without the steps beside one that is refused.
    pub(super) fn shape_of_refusals(&self, state: &State) -> Shape {
        self.shape_with(|step| is(state, step, RowState::Rejected))
    }

    /// The shape with only the matching steps of each stage; a stage without any stays as it is.
    fn shape_with(&self, matches: impl Fn(StepNo) -> bool) -> Shape {
        let mut shape = self.shape.clone();
        for stage in &mut shape.compensatable {
            if stage.iter().any(|step| matches(*step)) {
                stage.retain(|step| matches(*step));
            }
        }
        shape
    }

    /// The events that an executor makes up after one, where a rule is broken: the answer of a void that it skips, and those
    /// of the steps beside one that is done.
    pub(super) fn made_up(&self, event: &Event, known: &Known) -> Vec<Event> {
        match (self.broken, event) {
            (Some(Broken::AbortWithoutVoid), Event::AbortWanted(_)) => {
                vec![Event::Voided(VoidReply::Tombstone(Vec::new()))]
            }
            (Some(Broken::AbortWithoutVoidForOwnReason), Event::AbortWanted(reason)) => {
                vec![Event::Voided(VoidReply::Tombstone(reason.encode()))]
            }
            (
                Some(Broken::StageBegunBeforeOneIsDone),
                Event::Acted(step, ActReply::Done(reply)),
            ) => {
                let beside = known.calls().into_iter().filter_map(|call| match call {
                    Call::Act(other) if other != *step => Some(other),
                    _ => None,
                });
                beside.map(|step| Event::Acted(step, ActReply::Done(reply.clone()))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The outcome that an executor believes in at its end.
    pub(super) fn believed(executor: &Executor, outcome: &Outcome) -> Outcome {
        match (outcome, executor.own) {
            (Outcome::Failed(_), Some(own)) => aborted(own),
            _ => outcome.clone(),
        }
    }
}

fn forget_from_here(executor: &mut Executor) {
    if let Phase::Forward(out) = executor.known.phase() {
        executor.forgets = out.waiting.first().copied();
    }
}

/// Failed for this reason.
pub(super) fn aborted(reason: AbortReason) -> Outcome {
    Outcome::Failed(Failure::Aborted { reason: reason.encode() })
}
