//! What an executor does next: a pure function of what it knows and what has arrived.
//!
//! ```text
//! Starting ── Begun ──▶ Forward ── all steps done ─────────────▶ Ended(Succeeded)
//!                       │   │ ▲
//!         step rejected │   │ └── pivot is done ────┐
//!                       │   └── abort, tombstone ──▶ Voiding
//!                       ▼                              │ pivot is closed
//!                  Compensating ◀──────────────────────┘
//!                       └── all steps undone ─────────────────▶ Ended(Failed)
//! ```
//!
//! An executor writes no log. It begins at START whoever had the saga before, walks forward over outcomes that are
//! sticky, and meets there what others decided. Any number of executors on one saga come to the same end. The
//! rules, and the shortest story that goes wrong without each:
//!
//! - **`Begun` comes after START is durable.** Stock is reserved, START is lost with its transaction: nobody knows of a
//!   saga whose reservation to release.
//! - **A rejection in a stage compensates every other step of the stage, sent or not, and then the stages before it, with
//!   no void.** The row is sticky, so no executor ever passes the stage; the pivot cannot be reached. A step that was
//!   not sent from here may have been sent by an executor that stands still: its copy meets a tombstone.
//! - **No reason is told before the whole stage has answered.** Two of its steps may be refused, and each executor may see
//!   another one first; the lowest step number decides.
//! - **An abort voids the pivot first.** Had it compensated at once, the pivot's request, sent before and
//!   delivered late, would have confirmed an order whose payment was just given back.
//! - **A void that finds the pivot done rolls forward.** The saga had succeeded before the abort was wanted.
//! - **After a void every step is compensated, the one in doubt too.** The step that timed out arrives after END.
//! - **A tombstone is a sign, not a reason.** Another executor is undoing this saga. One that took the sign for a
//!   rejection would tell "tombstoned" where the other told "sold out"; one that undid only what lies below might
//!   never learn the reason. So: void the pivot with no reason of one's own, compensate every step, and read
//!   the reason from the rows.
//! - **"Purged" means: ended long ago.** Nothing is known but what the journal says; answer that or nothing.
//! - **Past the pivot there is no way back.** An abort is ignored there, and a code that cannot heal parks the saga
//!   for a person, when the other steps of the stage have answered.

mod event;

pub use event::{Call, Event, UndoReply, VoidReply};
pub use participant::ActReply;

use std::collections::{BTreeMap, BTreeSet};

use participant::barrier::StepNo;

use crate::outcome::{AbortReason, Failure, Outcome};
use crate::shape::{Shape, Stage};

/// What one executor knows of a saga.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Known {
    phase: Phase,
    replies: BTreeMap<StepNo, Vec<u8>>,
}

/// Where an executor is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Phase {
    /// START is not known to be durable: nothing may be sent.
    #[default]
    Starting,
    /// Actions of a stage are out.
    Forward(Out),
    /// The void of the pivot is out.
    Voiding {
        /// The reason to write should the void be the first; none when another executor's tombstone was met.
        reason: Option<AbortReason>,
    },
    /// Compensations of a stage are out; the stages after it are undone.
    Compensating {
        /// The stage's place among those before the pivot.
        stage: usize,
        /// Its steps.
        out: Out,
        /// Why the saga fails, as far as the rows that were seen tell.
        failure: Failure,
    },
    /// Nothing is left to do.
    Ended(Outcome),
    /// A participant has purged the saga: it ended long ago.
    Purged,
    /// Nothing more is tried until a person looks.
    Parked(Parked),
}

/// The calls of one stage.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Out {
    /// Steps whose answer is waited for.
    pub waiting: BTreeSet<StepNo>,
    /// Steps at which only a person can help. The saga parks when the others have answered.
    pub stopped: BTreeMap<StepNo, Why>,
}

/// A saga that waits for a person, and the call it stopped at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Parked {
    /// The call.
    pub call: Call,
    /// Why.
    pub why: Why,
}

/// Why a saga is parked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Why {
    /// The call answers with a code that no retry can heal, and the saga cannot be aborted here any more.
    CannotHeal {
        /// The gRPC status code.
        code: i32,
    },
    /// The participant knows the step with another content: the plan is not a function of START.
    OtherContent,
    /// The answer contradicts what is known, such as a rejection after the pivot.
    Contradiction,
    /// What the call is to send is not known: a recorded reply does not decode.
    Unreadable,
}

/// What an executor does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Send each of these until it is answered, all at once. Calls that are out already go on; any other is given up.
    Call(Vec<Call>),
    /// Tell whoever waits, and record END unless it is recorded.
    End(Outcome),
    /// Tell what the journal recorded, if anything; do no more.
    AnswerFromJournal,
    /// Mark the saga for a person; do no more.
    Park(Parked),
    /// Go on with what is under way.
    Wait,
}

/// Takes in an event.
///
/// A new executor starts with `Known::default()` and [`Event::Begun`]. The command belongs to the phase that was
/// entered; [`Command::Wait`] says that the event changed nothing.
pub fn decide(shape: &Shape, mut known: Known, event: Event) -> (Known, Command) {
    let Some(phase) = known.next(shape, event) else {
        return (known, Command::Wait);
    };
    known.phase = phase;
    let command = known.command();
    (known, command)
}

impl Known {
    /// What whoever reads the rows knows: the recorded replies of the steps that are done.
    pub(crate) fn of_rows(replies: BTreeMap<StepNo, Vec<u8>>) -> Self {
        Self { phase: Phase::Starting, replies }
    }

    /// Where the executor is.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The recorded reply of a step that is known to be done. At success the pivot's is always there, and whenever
    /// an action is to be sent, so are those of all steps before it.
    pub fn reply(&self, step: StepNo) -> Option<&[u8]> {
        self.replies.get(&step).map(Vec::as_slice)
    }

    /// What belongs to the phase: the call to repeat, or how to finish.
    pub fn command(&self) -> Command {
        match &self.phase {
            Phase::Starting => Command::Wait,
            Phase::Forward(_) | Phase::Voiding { .. } | Phase::Compensating { .. } => {
                Command::Call(self.calls())
            }
            Phase::Ended(outcome) => Command::End(outcome.clone()),
            Phase::Purged => Command::AnswerFromJournal,
            Phase::Parked(parked) => Command::Park(*parked),
        }
    }

    /// The calls that are under way.
    pub fn calls(&self) -> Vec<Call> {
        match &self.phase {
            Phase::Forward(out) => out.waiting.iter().copied().map(Call::Act).collect(),
            Phase::Voiding { reason } => vec![Call::Void(*reason)],
            Phase::Compensating { out, .. } => {
                out.waiting.iter().copied().map(Call::Undo).collect()
            }
            Phase::Starting | Phase::Ended(_) | Phase::Purged | Phase::Parked(_) => Vec::new(),
        }
    }

    fn is_out(&self, call: Call) -> bool {
        self.calls().contains(&call)
    }

    /// Whether the pivot is known to be done.
    pub fn is_past_pivot(&self, shape: &Shape) -> bool {
        self.replies.contains_key(&shape.pivot)
    }

    fn next(&mut self, shape: &Shape, event: Event) -> Option<Phase> {
        match event {
            Event::Begun => {
                let starting = self.phase == Phase::Starting;
                starting.then(|| self.advance(shape))
            }
            Event::Acted(step, reply) => {
                self.is_out(Call::Act(step)).then(|| self.acted(shape, step, reply))
            }
            Event::Undone(step, reply) => {
                self.is_out(Call::Undo(step)).then(|| self.undone(shape, step, reply))
            }
            Event::Voided(reply) => match self.phase {
                Phase::Voiding { reason } => Some(self.voided(shape, reason, reply)),
                _ => None,
            },
            Event::AbortWanted(reason) => {
                self.may_abort(shape).then_some(Phase::Voiding { reason: Some(reason) })
            }
            Event::CannotHeal { call, code } => {
                self.is_out(call).then(|| self.cannot_heal(shape, call, code))
            }
            Event::Unreadable(call) => {
                self.is_out(call).then(|| self.stop(shape, call, Why::Unreadable))
            }
        }
    }

    fn acted(&mut self, shape: &Shape, step: StepNo, reply: ActReply) -> Phase {
        let call = Call::Act(step);
        match reply {
            ActReply::Done(reply) => {
                self.replies.insert(step, reply);
                let mut out = self.out();
                out.waiting.remove(&step);
                self.went_on(shape, out)
            }
            ActReply::Purged => Phase::Purged,
            ActReply::OtherContent => self.stop(shape, call, Why::OtherContent),
            ActReply::Rejected(_) | ActReply::Tombstoned if self.is_past_pivot(shape) => {
                self.stop(shape, call, Why::Contradiction)
            }
            ActReply::Rejected(reply) => {
                let (stage, failure) = (shape.stage(step), Failure::Rejected { step, reply });
                let others = shape.compensatable.get(stage).into_iter().flatten();
                let others = others.copied().filter(|other| *other != step).collect();
                compensate(shape, stage, Out { waiting: others, ..Out::default() }, failure)
            }
            ActReply::Tombstoned => Phase::Voiding { reason: None },
        }
    }

    /// The actions of the present stage.
    fn out(&mut self) -> Out {
        match &mut self.phase {
            Phase::Forward(out) => std::mem::take(out),
            _ => Out::default(),
        }
    }

    /// Forward, where some of the stage may be under way still.
    fn went_on(&self, shape: &Shape, out: Out) -> Phase {
        match out.stopped.first_key_value() {
            _ if !out.waiting.is_empty() => Phase::Forward(out),
            Some((step, why)) => Phase::Parked(Parked { call: Call::Act(*step), why: *why }),
            None => self.advance(shape),
        }
    }

    /// Nothing more is tried at this call.
    fn stop(&mut self, shape: &Shape, call: Call, why: Why) -> Phase {
        match (call, self.phase.clone()) {
            (Call::Act(step), Phase::Forward(mut out)) if self.is_past_pivot(shape) => {
                out.waiting.remove(&step);
                out.stopped.insert(step, why);
                self.went_on(shape, out)
            }
            (Call::Undo(step), Phase::Compensating { stage, mut out, failure }) => {
                out.waiting.remove(&step);
                out.stopped.insert(step, why);
                compensate(shape, stage, out, failure)
            }
            (call, _) => Phase::Parked(Parked { call, why }),
        }
    }

    fn undone(&mut self, shape: &Shape, step: StepNo, reply: UndoReply) -> Phase {
        let Phase::Compensating { stage, mut out, failure } = self.phase.clone() else {
            return self.phase.clone();
        };
        out.waiting.remove(&step);
        match reply {
            UndoReply::Settled => compensate(shape, stage, out, failure),
            UndoReply::Rejected(reply) => {
                compensate(shape, stage, out, failure.or_rejected(step, reply))
            }
            UndoReply::Purged => Phase::Purged,
        }
    }

    fn voided(&mut self, shape: &Shape, reason: Option<AbortReason>, reply: VoidReply) -> Phase {
        let pivot = shape.pivot;
        match reply {
            VoidReply::Done(reply) => {
                self.replies.insert(pivot, reply);
                self.advance(shape)
            }
            VoidReply::Rejected(reply) => {
                compensate_all(shape, Failure::Rejected { step: pivot, reply })
            }
            VoidReply::Tombstone(reason) => compensate_all(shape, Failure::Aborted { reason }),
            VoidReply::Compensated => {
                Phase::Parked(Parked { call: Call::Void(reason), why: Why::Contradiction })
            }
            VoidReply::Purged => Phase::Purged,
        }
    }

    /// To the first stage with a step whose reply is not known. Steps before a pivot that a void found done are asked
    /// again only if steps after it need their replies: they are done, and answer what they recorded.
    fn advance(&self, shape: &Shape) -> Phase {
        if shape.retriable.is_empty() && self.is_past_pivot(shape) {
            return Phase::Ended(Outcome::Succeeded);
        }
        let is_due = |step: &StepNo| !self.replies.contains_key(step);
        let due = |stage: &[StepNo]| stage.iter().copied().filter(is_due).collect();
        match shape.stages().map(due).find(|due: &BTreeSet<_>| !due.is_empty()) {
            Some(waiting) => Phase::Forward(Out { waiting, ..Out::default() }),
            None => Phase::Ended(Outcome::Succeeded),
        }
    }

    fn may_abort(&self, shape: &Shape) -> bool {
        let forward = match &self.phase {
            Phase::Forward(_) => true,
            Phase::Parked(parked) => matches!(parked.call, Call::Act(_) | Call::Void(_)),
            _ => false,
        };
        forward && !self.is_past_pivot(shape)
    }

    fn cannot_heal(&mut self, shape: &Shape, call: Call, code: i32) -> Phase {
        match call {
            Call::Act(step) if !self.is_past_pivot(shape) => {
                Phase::Voiding { reason: Some(AbortReason::CannotHeal { step, code }) }
            }
            call => self.stop(shape, call, Why::CannotHeal { code }),
        }
    }
}

/// Every step before the pivot, the latest stage first.
fn compensate_all(shape: &Shape, failure: Failure) -> Phase {
    compensate(shape, shape.compensatable.len(), Out::default(), failure)
}

/// Compensates what is out of this stage, and then the stages before it, the latest first.
fn compensate(shape: &Shape, stage: usize, out: Out, failure: Failure) -> Phase {
    if !out.waiting.is_empty() {
        return Phase::Compensating { stage, out, failure };
    }
    if let Some((step, why)) = out.stopped.first_key_value() {
        return Phase::Parked(Parked { call: Call::Undo(*step), why: *why });
    }
    let earlier = shape.compensatable.get(..stage).and_then(<[Stage]>::split_last);
    let Some((latest, before)) = earlier else { return Phase::Ended(Outcome::Failed(failure)) };
    let out = Out { waiting: latest.iter().copied().collect(), ..Out::default() };
    compensate(shape, before.len(), out, failure)
}

#[cfg(test)]
mod tests;
