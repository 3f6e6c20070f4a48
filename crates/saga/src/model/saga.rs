//! One saga: its journal, its participants, its executors, and all messages that were ever sent.

use std::collections::{BTreeMap, BTreeSet};

use participant::barrier::{RowState, StepNo};

use super::Violation;
use super::broken::Broken;
use super::check::{Fault, Purge};
use super::participants::{self, Rows, Ruling};
use crate::decide::{ActReply, Call, Command, Event, Known, UndoReply, VoidReply, decide};
use crate::outcome::{AbortReason, Outcome};
use crate::shape::Shape;

/// The bounds of an exploration.
#[derive(Clone, Debug)]
pub(super) struct Saga {
    pub(super) shape: Shape,
    pub(super) executors: usize,
    /// The steps that may be refused: of those before the pivot, and the pivot itself.
    pub(super) rejectable: BTreeSet<StepNo>,
    /// How barrier rows are purged once the saga ended.
    pub(super) purge: Purge,
    /// What may go wrong or interfere.
    pub(super) faults: BTreeSet<Fault>,
    pub(super) broken: Option<Broken>,
}

/// Everything that counts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct State {
    pub(super) start: Start,
    pub(super) end: Option<End>,
    /// The participants, by their step, whose watermarks this saga is not above.
    pub(super) watermarks: BTreeSet<StepNo>,
    pub(super) rows: Rows,
    /// How often a step's effect stands; absent for never.
    pub(super) effects: BTreeMap<StepNo, u8>,
    /// What was sent may be delivered at any later time, any number of times.
    pub(super) sent: BTreeSet<Call>,
    pub(super) executors: Vec<Option<Executor>>,
    pub(super) told: Option<Outcome>,
    pub(super) violation: Option<Violation>,
}

/// The START of the saga.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Start {
    Unasked,
    InFlight,
    Lost,
    Durable,
}

/// The END that the journal holds.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum End {
    Decided(Outcome),
    Resolved,
}

/// A process that runs the saga.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(super) struct Executor {
    pub(super) known: Known,
    /// It thinks of no step from this one up to the pivot any more; only where a rule is broken.
    pub(super) forgets: Option<StepNo>,
    /// The reason it aborted for; only where a rule is broken.
    pub(super) own: Option<AbortReason>,
}

impl State {
    /// Puts an executor, or none, in a place.
    pub(super) fn put(&mut self, number: usize, executor: Option<Executor>) {
        if let Some(place) = self.executors.get_mut(number) {
            *place = executor;
        }
    }
}

impl Saga {
    pub(super) fn blank(&self) -> State {
        State {
            start: Start::Unasked,
            end: None,
            watermarks: BTreeSet::new(),
            rows: Rows::new(),
            effects: BTreeMap::new(),
            sent: BTreeSet::new(),
            executors: vec![None; self.executors],
            told: None,
            violation: None,
        }
    }

    pub(super) fn meets(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    pub(super) fn breaks(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    /// Gives an event to an executor; whatever its next command asks for is sent at once.
    pub(super) fn feed(&self, state: &mut State, executor: usize, event: Event) {
        let runs = state.executors.get_mut(executor).and_then(Option::take);
        let Some(mut runs) = runs else { return };
        let event = self.misread(&mut runs, event);
        let made_up = self.made_up(&event, &runs.known);
        let mut shape = self.shape.clone();
        for stage in &mut shape.compensatable {
            stage.retain(|&step| runs.forgets.is_none_or(|forgotten| step < forgotten));
        }
        shape.compensatable.retain(|stage| !stage.is_empty());
        self.restage(&mut shape, &runs.known, &event);
        let mut known = decide(&shape, runs.known, event).0;
        for event in made_up {
            known = decide(&shape, known, event).0;
        }
        self.send(state, &known);
        state.put(executor, Some(Executor { known, ..runs }));
    }

    fn send(&self, state: &mut State, known: &Known) {
        match known.command() {
            Command::Call(calls) => {
                for call in calls {
                    if let Call::Act(step) = call {
                        let mut earlier = self.shape.stages().take_while(|s| !s.contains(&step));
                        if !earlier.all(|s| s.iter().all(|&step| known.reply(step).is_some())) {
                            state.violation = Some(Violation::SentWithoutReplies);
                        }
                    }
                    if self.meets(Fault::LateCopy) {
                        state.sent.insert(call);
                    }
                }
            }
            Command::End(Outcome::Succeeded) if known.reply(self.shape.pivot).is_none() => {
                state.violation = Some(Violation::SentWithoutReplies);
            }
            _ => {}
        }
    }

    /// A participant gets an action: every answer it may give, and what it leaves.
    pub(super) fn act(&self, state: &State, step: StepNo) -> Vec<(State, ActReply)> {
        let is_pivot = step == self.shape.pivot;
        let may_reject = self.rejectable.contains(&step);
        let mut answers = Vec::new();
        let mut rule = |ruling| {
            let mut next = state.clone();
            let (reply, ran) =
                participants::act(&mut next.rows, self.watermark(state, step), step, ruling);
            if ran {
                take_effect(&mut next, step);
            }
            if ran && self.breaks(Broken::EffectCommittedWithoutRow) {
                let mut torn = next.clone();
                torn.rows.remove(&step);
                answers.push((torn, reply.clone()));
            }
            let reply = match (self.broken, reply) {
                (Some(Broken::TombstonedActionAnsweredDone), ActReply::Tombstoned) => {
                    ActReply::Done(Vec::new())
                }
                (Some(Broken::RejectionNotRecorded), ActReply::Rejected(reply)) => {
                    next.rows.remove(&step);
                    ActReply::Rejected(reply)
                }
                (_, reply) => reply,
            };
            answers.push((next, reply));
        };
        rule(Ruling::Accept);
        if may_reject && !state.rows.contains_key(&step) {
            rule(Ruling::Reject);
        }
        let refuses_anyway = match self.broken {
            Some(Broken::BusinessRuleAskedBeforeBarrier) => {
                may_reject && is(state, step, RowState::Done)
            }
            Some(Broken::RegisterRefusesWithoutRow) => is_pivot && !state.rows.contains_key(&step),
            _ => false,
        };
        if refuses_anyway {
            answers.push((state.clone(), ActReply::Rejected(Vec::new())));
        }
        answers
    }

    /// A participant gets a compensation.
    pub(super) fn undo(&self, state: &State, step: StepNo) -> (State, UndoReply) {
        let before = state.rows.get(&step).map(|row| row.state);
        let mut next = state.clone();
        let (reply, undone) = participants::undo(&mut next.rows, self.watermark(state, step), step);
        match (self.broken, before) {
            (Some(Broken::CompensationOfNothingLeavesNoTombstone), None) => {
                next.rows.remove(&step);
            }
            (Some(Broken::RejectionOverwrittenByCompensation), Some(RowState::Rejected)) => {
                participants::write(&mut next.rows, step, RowState::Tombstone, Vec::new());
                return (next, UndoReply::Settled);
            }
            (Some(Broken::CompensationUndoesAgain), Some(RowState::Compensated)) => {
                take_back(&mut next, step);
            }
            _ => {}
        }
        if undone {
            take_back(&mut next, step);
        }
        (next, reply)
    }

    /// The pivot's participant gets a void.
    pub(super) fn void(&self, state: &State, reason: Option<AbortReason>) -> (State, VoidReply) {
        let pivot = self.shape.pivot;
        if self.breaks(Broken::VoidUndoesDoneRegister) && is(state, pivot, RowState::Done) {
            let (next, _) = self.undo(state, pivot);
            return (next, VoidReply::Done(Vec::new()));
        }
        let mut written = reason.map(AbortReason::encode).unwrap_or_default();
        if self.breaks(Broken::VoidWritesNoReason) {
            written.clear();
        }
        let mut next = state.clone();
        let watermark = self.watermark(state, pivot);
        let reply = participants::void(&mut next.rows, watermark, pivot, written);
        (next, reply)
    }

    /// Whether the participant of a step, finding no row, takes the saga for a purged one.
    fn watermark(&self, state: &State, step: StepNo) -> bool {
        state.watermarks.contains(&step) && !self.breaks(Broken::PurgedWithoutWatermark)
    }
}

/// Whether a step's row says this.
pub(super) fn is(state: &State, step: StepNo, row: RowState) -> bool {
    state.rows.get(&step).is_some_and(|found| found.state == row)
}

/// Somebody is told how the saga ended.
pub(super) fn tell(state: &mut State, outcome: &Outcome) {
    match &state.told {
        Some(told) if told != outcome => state.violation = Some(Violation::TwoAnswers),
        Some(_) => {}
        None => state.told = Some(outcome.clone()),
    }
}

/// END is written, unless it is there.
pub(super) fn end(state: &mut State, outcome: &Outcome) {
    match &state.end {
        Some(End::Decided(decided)) if decided != outcome => {
            state.violation = Some(Violation::TwoEnds);
        }
        Some(_) => {}
        None => state.end = Some(End::Decided(outcome.clone())),
    }
}

fn take_effect(state: &mut State, step: StepNo) {
    if state.end.is_some() {
        state.violation = Some(Violation::EffectAfterEnd);
    }
    *state.effects.entry(step).or_insert(0) += 1;
}

fn take_back(state: &mut State, step: StepNo) {
    match state.effects.remove(&step) {
        None => state.violation = Some(Violation::UndoneTwice),
        Some(1) => {}
        Some(times) => {
            state.effects.insert(step, times - 1);
        }
    }
}
