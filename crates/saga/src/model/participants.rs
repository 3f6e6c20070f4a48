//! The participants' side of both models: the real barrier over rows in memory.

use std::collections::BTreeMap;

use participant::barrier::{
    OnAction, OnCompensation, OnVoid, RequestHash, Row, RowState, StepNo, on_action,
    on_compensation, on_void,
};

use crate::decide::{ActReply, UndoReply, VoidReply};

/// The barrier rows of one saga.
pub(super) type Rows = BTreeMap<StepNo, Row>;

/// What a business rule says when it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ruling {
    Accept,
    Reject,
}

/// An action; and whether it took effect now.
pub(super) fn act(rows: &mut Rows, purged: bool, step: StepNo, ruling: Ruling) -> (ActReply, bool) {
    match on_action(rows.get(&step), purged, RequestHash::default()) {
        OnAction::Run => match ruling {
            Ruling::Accept => {
                write(rows, step, RowState::Done, Vec::new());
                (ActReply::Done(Vec::new()), true)
            }
            Ruling::Reject => {
                write(rows, step, RowState::Rejected, Vec::new());
                (ActReply::Rejected(Vec::new()), false)
            }
        },
        OnAction::ReplayDone(reply) => (ActReply::Done(reply.to_vec()), false),
        OnAction::ReplayRejected(reply) => (ActReply::Rejected(reply.to_vec()), false),
        OnAction::Tombstoned => (ActReply::Tombstoned, false),
        OnAction::OtherContent => (ActReply::OtherContent, false),
        OnAction::Purged => (ActReply::Purged, false),
    }
}

/// A compensation; and whether it undid the effect now.
pub(super) fn undo(rows: &mut Rows, purged: bool, step: StepNo) -> (UndoReply, bool) {
    let decided = on_compensation(rows.get(&step), purged);
    let reply = rows.get(&step).map(|row| row.reply.clone()).unwrap_or_default();
    match decided {
        OnCompensation::WriteTombstone => write(rows, step, RowState::Tombstone, Vec::new()),
        OnCompensation::Undo => write(rows, step, RowState::Compensated, reply.clone()),
        OnCompensation::Leave(_) | OnCompensation::Purged => {}
    }
    (UndoReply::new(decided.found(), reply), decided == OnCompensation::Undo)
}

/// A void of the pivot.
pub(super) fn void(rows: &mut Rows, purged: bool, pivot: StepNo, reason: Vec<u8>) -> VoidReply {
    let decided = on_void(rows.get(&pivot), purged);
    if decided == OnVoid::WriteTombstone {
        write(rows, pivot, RowState::Tombstone, reason);
    }
    let reply = rows.get(&pivot).map(|row| row.reply.clone()).unwrap_or_default();
    VoidReply::new(decided.found(), reply)
}

/// Writes a row, whatever stood there.
pub(super) fn write(rows: &mut Rows, step: StepNo, state: RowState, reply: Vec<u8>) {
    rows.insert(step, Row { state, hash: RequestHash::default(), reply });
}
