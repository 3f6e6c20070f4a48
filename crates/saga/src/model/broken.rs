//! The rules of a single saga, each broken in its own way.

use crate::decide::{ActReply, Event, Phase, UndoReply, VoidReply};
use crate::outcome::{AbortReason, Failure, Outcome};

use super::Violation;
use super::saga::{Executor, Purge, Saga};

/// A rule that is broken, named by what happens instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    PurgedWithoutFloor,
    PurgedWhileUnfinished,
    RowPurgedBeforeFloorRaised,
    FloorLowered,
    StartedBelowFloor,
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

impl Broken {
    /// Every broken rule and what the explorer finds of it.
    pub(super) const ALL: [(Self, Violation); 33] = {
        use Broken::*;
        use Violation::*;
        [
            (RejectionNotRecorded, EffectAfterEnd),
            (RegisterRefusesWithoutRow, RegisterWithoutSteps),
            (RejectionOverwrittenByCompensation, EndedForWrongReason),
            (TombstonedActionAnsweredDone, ToldSucceededInVain),
            (EffectCommittedWithoutRow, EffectTwice),
            (CompensationOfNothingLeavesNoTombstone, EffectAfterEnd),
            (CompensationUndoesAgain, UndoneTwice),
            (BusinessRuleAskedBeforeBarrier, EndedFailedInVain),
            (VoidUndoesDoneRegister, ToldSucceededInVain),
            (VoidWritesNoReason, ReasonLost),
            (PurgedWithoutFloor, EffectAfterEnd),
            (PurgedWhileUnfinished, Stuck),
            (RowPurgedBeforeFloorRaised, EffectAfterEnd),
            (FloorLowered, EffectAfterEnd),
            (StartedBelowFloor, Stuck),
            (StartNotAwaited, Stuck),
            (AbortWithoutVoid, ReasonLost),
            (AbortWithoutVoidForOwnReason, RegisterWithoutSteps),
            (TimedOutStepNotCompensated, EffectAfterEnd),
            (TombstoneTakenForRejection, EndedForWrongReason),
            (TombstoneCompensatesOnlyBelow, ReasonLost),
            (OwnReasonOutranksRows, EndedForWrongReason),
            (VoidOutranksRejection, EndedForWrongReason),
            (PurgedTakenForUndone, EndedOtherwiseThanTold),
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
}

impl Broken {
    /// What has to be purged for the rule to count, and whether it is about resolving.
    pub(super) fn needs(self) -> (Purge, bool) {
        let purge = match self {
            Self::PurgedWithoutFloor
            | Self::PurgedWhileUnfinished
            | Self::StartedBelowFloor
            | Self::PurgedTakenForUndone => Purge::Together,
            Self::RowPurgedBeforeFloorRaised | Self::FloorLowered => Purge::Each,
            _ => Purge::Never,
        };
        let resolve = matches!(self, Self::ResolvedAtAnyTime | Self::ResolvedOnceRegisterClosed);
        (purge, resolve)
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
                Phase::Forward { .. },
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
            (Broken::PurgedTakenForUndone, event, _) => match event {
                Event::Acted(step, ActReply::Purged) => Event::Acted(step, ActReply::Tombstoned),
                Event::Undone(step, UndoReply::Purged) => Event::Undone(step, UndoReply::Settled),
                Event::Voided(VoidReply::Purged) => Event::Voided(VoidReply::Tombstone(Vec::new())),
                event => event,
            },
            (_, event, _) => event,
        }
    }

    /// An event that follows by itself where a void is skipped.
    pub(super) fn skipped_void(&self, reason: AbortReason) -> Option<Event> {
        let reason = match self.broken? {
            Broken::AbortWithoutVoid => Vec::new(),
            Broken::AbortWithoutVoidForOwnReason => reason.encode(),
            _ => return None,
        };
        Some(Event::Voided(VoidReply::Tombstone(reason)))
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
    if let Phase::Forward { step } = executor.known.phase() {
        executor.forgets = Some(*step);
    }
}

/// Failed for this reason.
pub(super) fn aborted(reason: AbortReason) -> Outcome {
    Outcome::Failed(Failure::Aborted { reason: reason.encode() })
}
