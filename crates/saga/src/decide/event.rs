//! What arrives at an executor.

use participant::ActReply;
use participant::barrier::{Found, StepNo};

use crate::outcome::AbortReason;

/// Something that arrived at an executor. What no longer fits its phase (a late reply, a second abort) is ignored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// START is durable and this executor runs the saga, for the first time or after another.
    Begun,
    /// An action was answered.
    Acted(StepNo, ActReply),
    /// A compensation was answered.
    Undone(StepNo, UndoReply),
    /// The void was answered.
    Voided(VoidReply),
    /// The saga shall stop, if it is not too late.
    AbortWanted(AbortReason),
    /// A call was answered with an error that no retry can heal.
    CannotHeal {
        /// The call.
        call: Call,
        /// The gRPC status code.
        code: i32,
    },
    /// The plan cannot tell what a call is to send: a recorded reply does not decode.
    Unreadable(Call),
}

/// The answer of a compensation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UndoReply {
    /// The step has no effect, now and for ever.
    Settled,
    /// It never had: it was refused, with this recorded reply.
    Rejected(Vec<u8>),
    /// The saga's rows are gone.
    Purged,
}

/// The answer of a void.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VoidReply {
    /// Too late: the pivot is done; the recorded reply.
    Done(Vec<u8>),
    /// The pivot was refused; the recorded reply.
    Rejected(Vec<u8>),
    /// The pivot is closed, by this void or an earlier one; the reason in the row.
    Tombstone(Vec<u8>),
    /// The pivot was undone, which nobody may do.
    Compensated,
    /// The saga's rows are gone.
    Purged,
}

/// A call of a participant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Call {
    /// A step's action.
    Act(StepNo),
    /// A step's compensation.
    Undo(StepNo),
    /// The void of the pivot, with the reason to write should it be the first.
    Void(Option<AbortReason>),
}

impl UndoReply {
    /// What a compensation's answer means: what it found, and the reply recorded there.
    pub fn new(found: Found, reply: Vec<u8>) -> Self {
        match found {
            Found::Nothing | Found::Done | Found::Compensated | Found::Tombstone => Self::Settled,
            Found::Rejected => Self::Rejected(reply),
            Found::Purged => Self::Purged,
        }
    }
}

impl VoidReply {
    /// What a void's answer means: what it found, and the reply or reason that stands in the row now.
    pub fn new(found: Found, reply: Vec<u8>) -> Self {
        match found {
            Found::Nothing | Found::Tombstone => Self::Tombstone(reply),
            Found::Done => Self::Done(reply),
            Found::Rejected => Self::Rejected(reply),
            Found::Compensated => Self::Compensated,
            Found::Purged => Self::Purged,
        }
    }
}
