//! What an executor does next: a pure function of what it knows and what has arrived.
//!
//! ```text
//! Starting ── Begun ──▶ Forward ── all steps done ─────────────▶ Ended(Succeeded)
//!                       │   │ ▲
//!         step rejected │   │ └── register is done ────┐
//!                       │   └── abort, tombstone ──▶ Voiding
//!                       ▼                              │ register is closed
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
//! - **A rejection at step k compensates the steps before k, with no void.** The row is sticky, so no executor ever
//!   passes k; the register cannot be reached.
//! - **An abort voids the register first.** Had it compensated at once, the register's request, sent before and
//!   delivered late, would have confirmed an order whose payment was just given back.
//! - **A void that finds the register done rolls forward.** The saga had succeeded before the abort was wanted.
//! - **After a void every step is compensated, the one in doubt too.** The step that timed out arrives after END.
//! - **A tombstone is a sign, not a reason.** Another executor is undoing this saga. One that took the sign for a
//!   rejection would tell "tombstoned" where the other told "sold out"; one that undid only what lies below might
//!   never learn the reason. So: void the register with no reason of one's own, compensate every step, and read
//!   the reason from the rows.
//! - **"Purged" means: ended long ago.** Nothing is known but what the journal says; answer that or nothing.
//! - **Past the register there is no way back.** An abort is ignored there, and a code that cannot heal parks the saga
//!   for a person.

mod event;

pub use event::{ActReply, Call, Event, UndoReply, VoidReply};

use std::collections::BTreeMap;

use participant::barrier::StepNo;

use crate::outcome::{AbortReason, Failure, Outcome};
use crate::shape::Shape;

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
    /// The action of a step is out.
    Forward {
        /// The step.
        step: StepNo,
    },
    /// The void of the register is out.
    Voiding {
        /// The reason to write should the void be the first; none when another executor's tombstone was met.
        reason: Option<AbortReason>,
    },
    /// The compensation of a step is out; the steps after it are undone.
    Compensating {
        /// The step.
        step: StepNo,
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
    /// The answer contradicts what is known, such as a rejection after the register.
    Contradiction,
}

/// What an executor does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Send this step's action until it is answered.
    Act(StepNo),
    /// Send this step's compensation until it is answered.
    Undo(StepNo),
    /// Void the register, with this reason, until it is answered.
    Void(Option<AbortReason>),
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

    /// The recorded reply of a step that is known to be done. At success the register's is always there, and whenever
    /// an action is to be sent, so are those of all steps before it.
    pub fn reply(&self, step: StepNo) -> Option<&[u8]> {
        self.replies.get(&step).map(Vec::as_slice)
    }

    /// What belongs to the phase: the call to repeat, or how to finish.
    pub fn command(&self) -> Command {
        match &self.phase {
            Phase::Starting => Command::Wait,
            Phase::Forward { step } => Command::Act(*step),
            Phase::Voiding { reason } => Command::Void(*reason),
            Phase::Compensating { step, .. } => Command::Undo(*step),
            Phase::Ended(outcome) => Command::End(outcome.clone()),
            Phase::Purged => Command::AnswerFromJournal,
            Phase::Parked(parked) => Command::Park(*parked),
        }
    }

    /// The call that is under way.
    pub fn call(&self) -> Option<Call> {
        match &self.phase {
            Phase::Forward { step } => Some(Call::Act(*step)),
            Phase::Voiding { .. } => Some(Call::Void),
            Phase::Compensating { step, .. } => Some(Call::Undo(*step)),
            Phase::Starting | Phase::Ended(_) | Phase::Purged | Phase::Parked(_) => None,
        }
    }

    /// Whether the register is known to be done.
    pub fn is_past_register(&self, shape: &Shape) -> bool {
        self.replies.contains_key(&shape.register)
    }

    fn next(&mut self, shape: &Shape, event: Event) -> Option<Phase> {
        match event {
            Event::Begun => {
                let starting = self.phase == Phase::Starting;
                starting.then(|| Phase::Forward { step: shape.first() })
            }
            Event::Acted(step, reply) => {
                (self.call()? == Call::Act(step)).then(|| self.acted(shape, step, reply))
            }
            Event::Undone(step, reply) => match &self.phase {
                Phase::Compensating { step: pending, failure } if *pending == step => {
                    Some(undone(shape, step, failure.clone(), reply))
                }
                _ => None,
            },
            Event::Voided(reply) => (self.call()? == Call::Void).then(|| self.voided(shape, reply)),
            Event::AbortWanted(reason) => {
                self.may_abort(shape).then_some(Phase::Voiding { reason: Some(reason) })
            }
            Event::CannotHeal { call, code } => {
                (self.call()? == call).then(|| self.cannot_heal(shape, call, code))
            }
        }
    }

    fn acted(&mut self, shape: &Shape, step: StepNo, reply: ActReply) -> Phase {
        let park = |why| Phase::Parked(Parked { call: Call::Act(step), why });
        match reply {
            ActReply::Done(reply) => {
                self.replies.insert(step, reply);
                self.advance(shape)
            }
            ActReply::Purged => Phase::Purged,
            ActReply::OtherContent => park(Why::OtherContent),
            ActReply::Rejected(_) | ActReply::Tombstoned if self.is_past_register(shape) => {
                park(Why::Contradiction)
            }
            ActReply::Rejected(reply) => {
                compensate_before(shape, step, Failure::Rejected { step, reply })
            }
            ActReply::Tombstoned => Phase::Voiding { reason: None },
        }
    }

    fn voided(&mut self, shape: &Shape, reply: VoidReply) -> Phase {
        let register = shape.register;
        match reply {
            VoidReply::Done(reply) => {
                self.replies.insert(register, reply);
                self.advance(shape)
            }
            VoidReply::Rejected(reply) => {
                compensate_before(shape, register, Failure::Rejected { step: register, reply })
            }
            VoidReply::Tombstone(reason) => {
                compensate_before(shape, register, Failure::Aborted { reason })
            }
            VoidReply::Compensated => {
                Phase::Parked(Parked { call: Call::Void, why: Why::Contradiction })
            }
            VoidReply::Purged => Phase::Purged,
        }
    }

    /// To the first step whose reply is not known. Steps before a register that a void found done are asked again only
    /// if steps after it need their replies: they are done, and answer what they recorded.
    fn advance(&self, shape: &Shape) -> Phase {
        if shape.after.is_empty() && self.is_past_register(shape) {
            return Phase::Ended(Outcome::Succeeded);
        }
        match shape.steps().find(|step| !self.replies.contains_key(step)) {
            Some(step) => Phase::Forward { step },
            None => Phase::Ended(Outcome::Succeeded),
        }
    }

    fn may_abort(&self, shape: &Shape) -> bool {
        let forward = match &self.phase {
            Phase::Forward { .. } => true,
            Phase::Parked(parked) => matches!(parked.call, Call::Act(_) | Call::Void),
            _ => false,
        };
        forward && !self.is_past_register(shape)
    }

    fn cannot_heal(&self, shape: &Shape, call: Call, code: i32) -> Phase {
        match call {
            Call::Act(step) if !self.is_past_register(shape) => {
                Phase::Voiding { reason: Some(AbortReason::CannotHeal { step, code }) }
            }
            call => Phase::Parked(Parked { call, why: Why::CannotHeal { code } }),
        }
    }
}

fn undone(shape: &Shape, step: StepNo, failure: Failure, reply: UndoReply) -> Phase {
    match reply {
        UndoReply::Settled => compensate_before(shape, step, failure),
        UndoReply::Rejected(reply) => {
            compensate_before(shape, step, failure.or_rejected(step, reply))
        }
        UndoReply::Purged => Phase::Purged,
    }
}

/// Compensates the steps before this one, the latest first.
fn compensate_before(shape: &Shape, step: StepNo, failure: Failure) -> Phase {
    match shape.previous(step) {
        Some(step) => Phase::Compensating { step, failure },
        None => Phase::Ended(Outcome::Failed(failure)),
    }
}

#[cfg(test)]
mod tests;
