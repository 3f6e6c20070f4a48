//! Traces in words.

use participant::barrier::{RowState, StepNo};

use super::explore::Taken;
use super::moves::Label;
use super::saga::State;
use crate::decide::{ActReply, Call, UndoReply, VoidReply};
use crate::outcome::{AbortReason, Failure, Outcome};
use crate::shape::Shape;

/// A trace in words, one line per move.
pub(super) fn of(shape: &Shape, trace: &[Taken<State, Label>]) -> Vec<String> {
    let places = trace.first().map_or(0, |taken| taken.from.executors.len());
    let mut words = Words { shape, names: vec![0; places], last: 0 };
    trace.iter().map(|taken| words.line(taken)).collect()
}

struct Words<'s> {
    shape: &'s Shape,
    /// The number of the executor in each place, as people count them: a new one for each that begins. The places change
    /// with every move, because states keep executors sorted.
    names: Vec<usize>,
    /// The last number given.
    last: usize,
}

impl Words<'_> {
    fn line(&mut self, taken: &Taken<State, Label>) -> String {
        let Taken { from, label, to } = taken;
        let place = place(label);
        if matches!(label, Label::ClientAsks(_) | Label::TakesOver(_)) {
            self.last += 1;
            if let Some(name) = place.and_then(|place| self.names.get_mut(place)) {
                *name = self.last;
            }
        }
        let name = place.and_then(|place| self.names.get(place)).copied().unwrap_or_default();
        let line = self.happened(label, name, to) + &self.row_written(label, from, to);
        self.follow(from, place, name, to);
        line
    }

    /// Finds the executors again in the places that they have after a move.
    fn follow(&mut self, from: &State, moved: Option<usize>, name: usize, to: &State) {
        let executors = from.executors.iter().zip(self.names.iter().copied()).enumerate();
        let mut others: Vec<_> = executors
            .filter(|(place, _)| Some(*place) != moved)
            .map(|(_, executor)| executor)
            .collect();
        let names = to.executors.iter().map(|executor| {
            match others.iter().position(|(other, _)| *other == executor) {
                Some(found) => others.swap_remove(found).1,
                None => name,
            }
        });
        self.names = names.collect();
    }

    fn happened(&self, label: &Label, name: usize, to: &State) -> String {
        let executor = format!("executor {name}");
        match label {
            Label::ClientAsks(_) => format!("a client asks, and {executor} sends START"),
            Label::StartDurable => "START is durable".to_owned(),
            Label::StartLost => "START is lost".to_owned(),
            Label::StartAgain(_) => format!("{executor} sends START again"),
            Label::Begins(_) => format!("{executor} learns that START is durable, and begins"),
            Label::TakesOver(_) => format!("{executor} takes over the saga"),
            Label::Acted(_, step, reply) => {
                let reply = match reply {
                    ActReply::Done(_) => "done",
                    ActReply::Rejected(_) => "rejected",
                    ActReply::Tombstoned => "refused, there is a tombstone",
                    ActReply::OtherContent => "refused, the row has other content",
                    ActReply::Purged => "refused, the rows are purged",
                };
                format!("{executor} calls {}: {reply}", self.step(*step))
            }
            Label::AbortWanted(_, AbortReason::Deadline) => {
                format!("the deadline passes, and {executor} aborts")
            }
            Label::AbortWanted(_, AbortReason::Operator) => {
                format!("an operator asks for it, and {executor} aborts")
            }
            Label::AbortWanted(_, AbortReason::CannotHeal { step, .. }) => {
                format!("{} cannot heal, and {executor} aborts", self.step(*step))
            }
            Label::Undone(_, step, reply) => {
                let reply = match reply {
                    UndoReply::Settled => "it has no effect now",
                    UndoReply::Rejected(_) => "it was rejected",
                    UndoReply::Purged => "the rows are purged",
                };
                format!("{executor} compensates {}: {reply}", self.step(*step))
            }
            Label::Voided(_, reply) => {
                let reply = match reply {
                    VoidReply::Done(_) => "it is done already".to_owned(),
                    VoidReply::Rejected(_) => "it was rejected".to_owned(),
                    VoidReply::Tombstone(reason) => format!("it is closed, {}", recorded(reason)),
                    VoidReply::Compensated => "it was compensated".to_owned(),
                    VoidReply::Purged => "the rows are purged".to_owned(),
                };
                format!("{executor} voids {}: {reply}", self.step(self.shape.pivot))
            }
            Label::Tells(_, outcome) => {
                format!("{executor} tells the client: {}", self.outcome(outcome))
            }
            Label::Ends(_, outcome) => {
                format!("{executor} records END unless it is there: {}", self.outcome(outcome))
            }
            Label::AnswersFromJournal(_) => {
                format!("{executor} stops, and answers what END says, if anything")
            }
            Label::Crashes(_) => format!("{executor} crashes"),
            Label::DeliveredLate(call) => {
                let call = match call {
                    Call::Act(step) => format!("the action of {}", self.step(*step)),
                    Call::Undo(step) => format!("the compensation of {}", self.step(*step)),
                    Call::Void(_) => format!("the void of {}", self.step(self.shape.pivot)),
                };
                format!("a copy of {call} arrives")
            }
            Label::ReadFromEnd => format!("a client asks again, and END tells: {}", self.told(to)),
            Label::ReadFromRows => {
                format!("a client asks again, and the rows tell: {}", self.told(to))
            }
            Label::RowsPurged => {
                "the participants raise their watermarks and purge all rows".to_owned()
            }
            Label::WatermarkRaised(step) => {
                format!("the participant of {} raises its watermark", self.step(*step))
            }
            Label::RowPurged(step) => format!("the row of {} is purged", self.step(*step)),
            Label::OperatorResolves => "an operator resolves the saga by hand".to_owned(),
            Label::BreaksRule => "a rule is broken".to_owned(),
        }
    }

    /// What a call wrote into its row, if anything.
    fn row_written(&self, label: &Label, from: &State, to: &State) -> String {
        let step = match label {
            Label::Acted(_, step, _)
            | Label::Undone(_, step, _)
            | Label::DeliveredLate(Call::Act(step) | Call::Undo(step)) => *step,
            Label::Voided(..) | Label::DeliveredLate(Call::Void(_)) => self.shape.pivot,
            _ => return String::new(),
        };
        let row = |state: &State| state.rows.get(&step).map(|row| row.state);
        let written = match row(to) {
            after if after == row(from) => return String::new(),
            None => "no row",
            Some(RowState::Done) => "DONE",
            Some(RowState::Rejected) => "REJECTED",
            Some(RowState::Compensated) => "COMPENSATED",
            Some(RowState::Tombstone) => "TOMBSTONE",
        };
        format!(" [writes {written}]")
    }

    fn step(&self, step: StepNo) -> String {
        if step == self.shape.pivot {
            format!("step {step} (the pivot)")
        } else {
            format!("step {step}")
        }
    }

    fn told(&self, state: &State) -> String {
        state.told.as_ref().map_or_else(String::new, |outcome| self.outcome(outcome))
    }

    fn outcome(&self, outcome: &Outcome) -> String {
        match outcome {
            Outcome::Succeeded => "succeeded".to_owned(),
            Outcome::Failed(Failure::Rejected { step, .. }) => {
                format!("failed, rejected by {}", self.step(*step))
            }
            Outcome::Failed(Failure::Aborted { reason }) => {
                format!("failed, {}", recorded(reason))
            }
        }
    }
}

/// The place of the executor that does something.
fn place(label: &Label) -> Option<usize> {
    match label {
        Label::ClientAsks(place)
        | Label::StartAgain(place)
        | Label::Begins(place)
        | Label::TakesOver(place)
        | Label::Acted(place, ..)
        | Label::AbortWanted(place, _)
        | Label::Undone(place, ..)
        | Label::Voided(place, _)
        | Label::Tells(place, _)
        | Label::Ends(place, _)
        | Label::AnswersFromJournal(place)
        | Label::Crashes(place) => Some(*place),
        Label::StartDurable
        | Label::StartLost
        | Label::DeliveredLate(_)
        | Label::ReadFromEnd
        | Label::ReadFromRows
        | Label::RowsPurged
        | Label::WatermarkRaised(_)
        | Label::RowPurged(_)
        | Label::OperatorResolves
        | Label::BreaksRule => None,
    }
}

/// The reason in the pivot's row.
fn recorded(reason: &[u8]) -> String {
    match AbortReason::decode(reason) {
        Some(reason) => format!("reason {}", String::from_utf8_lossy(&reason.encode())),
        None => "no reason".to_owned(),
    }
}
