//! Everything that can happen to a saga next.

use participant::barrier::{RowState, StepNo};

use super::Violation;
use super::broken::{Broken, aborted};
use super::check::{Fault, Purge};
use super::explore::{Model, Move, Taken};
use super::participants::Rows;
use super::saga::{End, Executor, Saga, Start, State, end, is, tell};
use super::words;
use crate::decide::{ActReply, Call, Command, Event, Known, Phase, UndoReply, VoidReply};
use crate::outcome::{AbortReason, Failure, Outcome};
use crate::recorded::{Found, Recorded, recorded};
use crate::resolve::may_resolve;

/// What happened; executors by number.
#[derive(Debug)]
pub(super) enum Label {
    ClientAsks(usize),
    StartDurable,
    StartLost,
    StartAgain(usize),
    Begins(usize),
    TakesOver(usize),
    Acted(usize, StepNo, ActReply),
    AbortWanted(usize, AbortReason),
    Undone(usize, StepNo, UndoReply),
    Voided(usize, VoidReply),
    Tells(usize, Outcome),
    Ends(usize, Outcome),
    AnswersFromJournal(usize),
    Crashes(usize),
    DeliveredLate(Call),
    ReadFromEnd,
    ReadFromRows,
    RowsPurged,
    WatermarkRaised(StepNo),
    RowPurged(StepNo),
    OperatorResolves,
    BreaksRule,
}

struct Moves<'s> {
    from: &'s State,
    all: Vec<Move<State, Label>>,
}

impl Moves<'_> {
    fn can(&mut self, label: Label, to: State) {
        self.add(label, false, to);
    }

    fn may(&mut self, label: Label, to: State) {
        self.add(label, true, to);
    }

    /// Executors are interchangeable: sorting them halves the states, and more.
    fn add(&mut self, label: Label, fault: bool, mut to: State) {
        to.executors.sort_unstable();
        if to != *self.from {
            self.all.push(Move { label, fault, to });
        }
    }
}

impl Model for Saga {
    type State = State;
    type Label = Label;

    fn initial(&self) -> State {
        self.blank()
    }

    fn moves(&self, state: &State) -> Vec<Move<State, Label>> {
        let mut moves = Moves { from: state, all: Vec::new() };
        for (number, executor) in state.executors.iter().enumerate() {
            match executor {
                None => self.idle(&mut moves, number),
                Some(executor) => {
                    if self.meets(Fault::Crash) {
                        let mut next = state.clone();
                        next.put(number, None);
                        moves.may(Label::Crashes(number), next);
                    }
                    self.running(&mut moves, number, executor);
                }
            }
        }
        self.messages(&mut moves);
        self.journal(&mut moves);
        self.reads(&mut moves);
        moves.all
    }

    fn violation(&self, state: &State) -> Option<Violation> {
        self.judge(state)
    }

    fn is_settled(&self, state: &State) -> bool {
        Self::settled(state)
    }

    fn abandoned(&self, state: &State) -> Option<State> {
        let unfinished = state.start == Start::Durable && state.end.is_none();
        let crashed = unfinished && self.meets(Fault::Crash);
        crashed.then(|| State { executors: vec![None], ..state.clone() })
    }

    fn in_words(&self, trace: &[Taken<State, Label>]) -> Vec<String> {
        words::of(&self.shape, trace)
    }
}

impl Saga {
    fn idle(&self, moves: &mut Moves<'_>, number: usize) {
        let from = moves.from;
        if from.start == Start::Unasked {
            let mut next = from.clone();
            next.start = Start::InFlight;
            next.put(number, Some(Executor::default()));
            moves.can(Label::ClientAsks(number), next);
        }
        if from.start == Start::Durable && from.end.is_none() {
            let mut next = from.clone();
            next.put(number, Some(Executor::default()));
            self.feed(&mut next, number, Event::Begun);
            moves.can(Label::TakesOver(number), next);
        }
    }

    fn running(&self, moves: &mut Moves<'_>, number: usize, executor: &Executor) {
        let from = moves.from;
        match executor.known.command() {
            Command::Call(calls) => {
                for call in calls {
                    self.call(moves, number, call);
                }
                if let Phase::Forward(_) = executor.known.phase() {
                    if self.meets(Fault::Deadline) {
                        self.abort(moves, number, AbortReason::Deadline);
                    }
                    if self.meets(Fault::OperatorAborts) {
                        self.abort(moves, number, AbortReason::Operator);
                    }
                }
                self.premature(moves, number, executor);
            }
            Command::End(outcome) => {
                let outcome = Self::believed(executor, &outcome);
                let mut next = from.clone();
                tell(&mut next, &outcome);
                moves.can(Label::Tells(number, outcome.clone()), next);
                let mut next = from.clone();
                next.put(number, None);
                end(&mut next, &outcome);
                moves.can(Label::Ends(number, outcome), next);
            }
            Command::AnswerFromJournal => {
                let mut next = from.clone();
                next.put(number, None);
                if let Some(End::Decided(outcome)) = &from.end {
                    tell(&mut next, outcome);
                }
                moves.can(Label::AnswersFromJournal(number), next);
            }
            Command::Wait => self.starting(moves, number, &executor.known),
            Command::Park(_) => {}
        }
    }

    /// A call of an executor is answered.
    fn call(&self, moves: &mut Moves<'_>, number: usize, call: Call) {
        let from = moves.from;
        match call {
            Call::Act(step) => {
                for (mut next, reply) in self.act(from, step) {
                    self.feed(&mut next, number, Event::Acted(step, reply.clone()));
                    if self.breaks(Broken::SuccessToldBeforeRegister) {
                        tell_before_register(&mut next, number, self.shape.pivot);
                    }
                    moves.can(Label::Acted(number, step, reply), next);
                }
            }
            Call::Undo(step) => {
                let (mut next, reply) = self.undo(from, step);
                self.feed(&mut next, number, Event::Undone(step, reply.clone()));
                moves.can(Label::Undone(number, step, reply), next);
            }
            Call::Void(reason) => {
                let (mut next, reply) = self.void(from, reason);
                self.feed(&mut next, number, Event::Voided(reply.clone()));
                moves.can(Label::Voided(number, reply), next);
            }
        }
    }

    fn starting(&self, moves: &mut Moves<'_>, number: usize, known: &Known) {
        let from = moves.from;
        let impatient = self.breaks(Broken::StartNotAwaited) && from.start == Start::InFlight;
        if from.start == Start::Durable || impatient {
            let mut next = from.clone();
            self.feed(&mut next, number, Event::Begun);
            moves.can(Label::Begins(number), next);
        }
        if from.start == Start::Lost {
            moves.can(Label::StartAgain(number), State { start: Start::InFlight, ..from.clone() });
        }
        if self.breaks(Broken::FailureToldWhenStartIsUnknown)
            && from.start == Start::InFlight
            && *known.phase() == Phase::Starting
        {
            let mut next = from.clone();
            next.put(number, None);
            tell(&mut next, &aborted(AbortReason::Deadline));
            moves.may(Label::BreaksRule, next);
        }
    }

    fn abort(&self, moves: &mut Moves<'_>, number: usize, reason: AbortReason) {
        let mut next = moves.from.clone();
        self.feed(&mut next, number, Event::AbortWanted(reason));
        if next != *moves.from {
            if self.breaks(Broken::FailureToldBeforeVoid) {
                tell(&mut next, &aborted(reason));
            }
            if self.breaks(Broken::EndedAgainstRegister) {
                end(&mut next, &aborted(reason));
            }
        }
        moves.may(Label::AbortWanted(number, reason), next);
    }

    /// Answers and ENDs before all is undone: rules that are broken.
    fn premature(&self, moves: &mut Moves<'_>, number: usize, executor: &Executor) {
        let Phase::Compensating { failure, .. } = executor.known.phase() else { return };
        let outcome = Outcome::Failed(failure.clone());
        let mut next = moves.from.clone();
        let is_rejected = matches!(failure, Failure::Rejected { .. });
        if self.breaks(Broken::FailureToldOnceVoided)
            || (self.breaks(Broken::ReasonToldBeforeStageAnswered) && is_rejected)
        {
            tell(&mut next, &outcome);
        }
        if self.breaks(Broken::EndedBeforeUndone) {
            next.put(number, None);
            end(&mut next, &outcome);
        }
        moves.can(Label::BreaksRule, next);
    }

    /// A message that was sent before arrives now, perhaps again; its reply is lost.
    fn messages(&self, moves: &mut Moves<'_>) {
        let from = moves.from;
        for &message in &from.sent {
            let results = match message {
                Call::Act(step) => self.act(from, step).into_iter().map(|done| done.0).collect(),
                Call::Undo(step) => vec![self.undo(from, step).0],
                Call::Void(reason) => vec![self.void(from, reason).0],
            };
            for next in results {
                moves.may(Label::DeliveredLate(message), next);
            }
        }
    }

    fn journal(&self, moves: &mut Moves<'_>) {
        let from = moves.from;
        if from.start == Start::InFlight {
            moves.can(Label::StartDurable, State { start: Start::Durable, ..from.clone() });
            if self.meets(Fault::StartLost) {
                moves.may(Label::StartLost, State { start: Start::Lost, ..from.clone() });
            }
        }
        self.purging(moves);
        if self.meets(Fault::OperatorResolves) && from.end.is_none() && from.start == Start::Durable
        {
            let rows = from.rows.iter().map(|(&step, row)| (step, row.state)).collect();
            let closed = is(from, self.shape.pivot, RowState::Tombstone);
            let allowed = match self.broken {
                Some(Broken::ResolvedAtAnyTime) => true,
                Some(Broken::ResolvedOnceRegisterClosed) => closed,
                Some(Broken::ResolvedBesideStepWithoutRow) => {
                    may_resolve(&self.shape_of_rows(from), &rows).is_ok()
                }
                _ => may_resolve(&self.shape, &rows).is_ok(),
            };
            if allowed {
                let end = Some(End::Resolved);
                moves.may(Label::OperatorResolves, State { end, ..from.clone() });
            }
        }
    }

    /// Participants raise their watermarks, each by itself, and only then purge. The journal's watermark, which they follow, is above
    /// no unfinished saga, and START draws an id that is above it.
    fn purging(&self, moves: &mut Moves<'_>) {
        let from = moves.from;
        let over = from.end.is_some()
            || match self.broken {
                Some(Broken::PurgedWhileUnfinished) => from.start == Start::Durable,
                Some(Broken::StartedBelowWatermark) => from.start == Start::InFlight,
                _ => false,
            };
        match self.purge {
            Purge::Never => {}
            Purge::Together if !over => {}
            Purge::Together => {
                let (watermarks, rows) = (self.shape.steps().collect(), Rows::new());
                moves.may(Label::RowsPurged, State { watermarks, rows, ..from.clone() });
            }
            Purge::Each => self.purging_each(moves, over),
        }
    }

    fn purging_each(&self, moves: &mut Moves<'_>, over: bool) {
        let from = moves.from;
        for step in self.shape.steps() {
            let raised = from.watermarks.contains(&step);
            if over && !raised {
                let mut next = from.clone();
                next.watermarks.insert(step);
                moves.may(Label::WatermarkRaised(step), next);
            }
            if raised && self.breaks(Broken::WatermarkLowered) {
                let mut next = from.clone();
                next.watermarks.remove(&step);
                moves.may(Label::BreaksRule, next);
            }
            if raised || (over && self.breaks(Broken::RowPurgedBeforeWatermarkRaised)) {
                let mut next = from.clone();
                next.rows.remove(&step);
                moves.may(Label::RowPurged(step), next);
            }
        }
    }

    /// Answers given by a replica that runs nothing.
    fn reads(&self, moves: &mut Moves<'_>) {
        let from = moves.from;
        if let Some(End::Decided(outcome)) = &from.end {
            let mut next = from.clone();
            tell(&mut next, outcome);
            moves.can(Label::ReadFromEnd, next);
        }
        let shape = if self.breaks(Broken::RefusalReadBesideStandingStep) {
            self.shape_of_refusals(from)
        } else {
            self.shape.clone()
        };
        let found = |step: StepNo| match from.rows.get(&step) {
            Some(row) => Found::Row(row.state, row.reply.clone()),
            None => Found::Nothing,
        };
        let found = self.shape.steps().map(|step| (step, found(step))).collect();
        if let Recorded::Ended(outcome, _) = recorded(&shape, |_, _| true, &found) {
            let mut next = from.clone();
            tell(&mut next, &outcome);
            moves.can(Label::ReadFromRows, next);
        }
        if self.breaks(Broken::FailureReadFromVoidedRegister)
            && let Some(reason) = voided_for(from, self.shape.pivot)
        {
            let mut next = from.clone();
            tell(&mut next, &aborted(reason));
            moves.can(Label::BreaksRule, next);
        }
    }
}

fn voided_for(state: &State, pivot: StepNo) -> Option<AbortReason> {
    let row = state.rows.get(&pivot)?;
    (row.state == RowState::Tombstone).then(|| AbortReason::decode(&row.reply))?
}

fn tell_before_register(state: &mut State, number: usize, pivot: StepNo) {
    let executor = state.executors.get(number).and_then(Option::as_ref);
    let command = executor.map(|executor| executor.known.command());
    if command == Some(Command::Call(vec![Call::Act(pivot)])) {
        tell(state, &Outcome::Succeeded);
    }
}
