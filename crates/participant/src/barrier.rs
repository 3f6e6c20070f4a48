//! The barrier: what makes a saga step happen once, be undone at most once, and never come back.
//!
//! Every step leaves one row beside its effect, in the same transaction. A request is answered from that row before
//! any business rule is asked; the functions here say how. They do no I/O: the caller read the row (locked), and
//! writes what they decide. A new row is a plain INSERT, so that of two replicas that both saw nothing one fails and
//! looks again; `DONE` becomes `COMPENSATED` by an UPDATE that names `DONE`, so that of two that both saw it one
//! matches nothing and looks again.
//!
//! Why each rule is there, as the shortest story that goes wrong without it:
//!
//! - **Rejections are recorded.** Step 1 refuses, the saga ends as failed, and a late copy of the same request then
//!   finds nothing, and takes the stock: nobody will give it back.
//! - **The row is read before the business rule.** Step 1 takes the last unit, its reply is lost; asked again, the
//!   rule says "sold out", and the saga fails with the unit gone.
//! - **A compensation that finds nothing writes a tombstone.** Step 2 is slow, the saga gives up, undoes "nothing"
//!   and ends; then the slow request arrives and debits.
//! - **A tombstoned action is refused visibly.** Answered "done", a second executor walks on and tells the client of
//!   a success whose steps were undone.
//! - **A compensation leaves a rejection as it is.** One executor tells the client "sold out"; another, which wanted
//!   to stop by deadline, overwrites that row, and tells "deadline exceeded".
//! - **A void never undoes a pivot that is done.** The pivot is confirmed, its reply lost, the deadline comes:
//!   had the void undone it, the executor that got the reply would have told a success that is no more.
//! - **Purged is not a tombstone.** A frozen executor wakes after the rows are gone; taking "gone" for "undone" it
//!   would tell a failure of a saga that succeeded.

use std::fmt;

use uuid::Uuid;

/// A saga's id: a UUID of version 7, so that ids of one node grow with time and a watermark under all unfinished sagas
/// exists. Ordered byte by byte, as `BINARY(16)` is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SagaId(pub [u8; 16]);

impl SagaId {
    /// The smallest id of this millisecond since 1970, with which an id begins (`UUIDv7`, RFC 9562). Later than 2^48 ms: the
    /// greatest id.
    pub fn at_millis(millis: u64) -> Self {
        match millis.to_be_bytes() {
            [0, 0, begin @ ..] => {
                let mut id = [0; 16];
                id.iter_mut().zip(begin).for_each(|(to, from)| *to = from);
                Self(id)
            }
            _ => Self([u8::MAX; 16]),
        }
    }
}

/// A step's number: fixed by the version of its plan, never a position, so that a plan can gain or skip steps while
/// older sagas are under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StepNo(pub i16);

/// A digest of a step's content, its method and payload, or of a client's request without its id. The same saga and step with another digest is a defect of the sender: it
/// must be a function of START and of earlier replies alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RequestHash(pub [u8; 8]);

/// What a barrier row records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RowState {
    /// The effect stands.
    Done,
    /// Refused for a business reason; there is no effect.
    Rejected,
    /// The effect stood and was undone.
    Compensated,
    /// There was no effect, and there will never be one.
    Tombstone,
}

/// A barrier row, keyed by saga and step.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Row {
    /// What happened.
    pub state: RowState,
    /// The digest of the action's request; of no meaning in a tombstone.
    pub hash: RequestHash,
    /// The reply of a done step, the reason of a rejected one, or the reason in a voided pivot; else empty. At
    /// most 4,096 bytes.
    pub reply: Vec<u8>,
}

/// What a compensation or a void found, before it did anything. Its answer names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Found {
    /// No row: a tombstone stands there now.
    Nothing,
    /// A row whose effect stood. A compensation has undone it; a void has left it.
    Done,
    /// A refused action.
    Rejected,
    /// A step that was undone before.
    Compensated,
    /// A tombstone.
    Tombstone,
    /// No row, at or below the watermark: the saga ended long ago, and nothing was written.
    Purged,
}

/// How an action is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnAction<'row> {
    /// Ask the business rule, and write `Done` or `Rejected` with its reply in the same transaction.
    Run,
    /// Answer OK with the reply that was recorded.
    ReplayDone(&'row [u8]),
    /// Answer the rejection that was recorded.
    ReplayRejected(&'row [u8]),
    /// Refuse: the step was undone, or closed before it came.
    Tombstoned,
    /// Refuse: the step is known with other content. Never run it.
    OtherContent,
    /// Refuse: the saga ended and its rows are gone.
    Purged,
}

/// How a compensation is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnCompensation {
    /// Insert a tombstone with an empty reply.
    WriteTombstone,
    /// Undo what the row and the ledger recorded, and turn `Done` into `Compensated`.
    Undo,
    /// Write nothing.
    Leave(Found),
    /// Write nothing: the saga ended and its rows are gone.
    Purged,
}

/// How a void of the saga's pivot is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnVoid {
    /// Insert a tombstone that holds the void's reason, and answer that reason.
    WriteTombstone,
    /// Write nothing, and answer the recorded reply: the saga has passed its pivot.
    LeaveDone,
    /// Write nothing, and answer the reason in the row.
    LeaveClosed(Found),
    /// Write nothing: the saga ended and its rows are gone.
    Purged,
}

impl SagaId {
    /// The id as stored.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<Uuid> for SagaId {
    fn from(id: Uuid) -> Self {
        Self(id.into_bytes())
    }
}

impl From<SagaId> for Uuid {
    fn from(id: SagaId) -> Self {
        Self::from_bytes(id.0)
    }
}

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from(*self).hyphenated().fmt(f)
    }
}

impl fmt::Debug for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SagaId({self})")
    }
}

impl fmt::Display for StepNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl RowState {
    /// The code stored in the `state` column.
    pub const fn code(self) -> i8 {
        match self {
            Self::Done => 1,
            Self::Rejected => 2,
            Self::Compensated => 3,
            Self::Tombstone => 4,
        }
    }

    /// The state of a stored code; `None` for a code that no version wrote.
    pub const fn from_code(code: i8) -> Option<Self> {
        match code {
            1 => Some(Self::Done),
            2 => Some(Self::Rejected),
            3 => Some(Self::Compensated),
            4 => Some(Self::Tombstone),
            _ => None,
        }
    }
}

impl From<RowState> for Found {
    fn from(state: RowState) -> Self {
        match state {
            RowState::Done => Self::Done,
            RowState::Rejected => Self::Rejected,
            RowState::Compensated => Self::Compensated,
            RowState::Tombstone => Self::Tombstone,
        }
    }
}

impl OnCompensation {
    /// What the answer names.
    pub fn found(self) -> Found {
        match self {
            Self::WriteTombstone => Found::Nothing,
            Self::Undo => Found::Done,
            Self::Leave(found) => found,
            Self::Purged => Found::Purged,
        }
    }
}

impl OnVoid {
    /// What the answer names.
    pub fn found(self) -> Found {
        match self {
            Self::WriteTombstone => Found::Nothing,
            Self::LeaveDone => Found::Done,
            Self::LeaveClosed(found) => found,
            Self::Purged => Found::Purged,
        }
    }
}

/// Decides on an action whose request digests to `hash`.
///
/// `purged` says that no row was found and that the saga's id is at or below the participant's watermark, read after the
/// row in the same transaction. A row that is there counts, whatever the watermark says.
pub fn on_action(row: Option<&Row>, purged: bool, hash: RequestHash) -> OnAction<'_> {
    let Some(row) = row else {
        return if purged { OnAction::Purged } else { OnAction::Run };
    };
    match row.state {
        RowState::Compensated | RowState::Tombstone => OnAction::Tombstoned,
        RowState::Done | RowState::Rejected if row.hash != hash => OnAction::OtherContent,
        RowState::Done => OnAction::ReplayDone(&row.reply),
        RowState::Rejected => OnAction::ReplayRejected(&row.reply),
    }
}

/// Decides on a compensation of a step that is not the pivot. `purged` as in [`on_action`].
pub fn on_compensation(row: Option<&Row>, purged: bool) -> OnCompensation {
    match row.map(|row| row.state) {
        None if purged => OnCompensation::Purged,
        None => OnCompensation::WriteTombstone,
        Some(RowState::Done) => OnCompensation::Undo,
        Some(closed) => OnCompensation::Leave(closed.into()),
    }
}

/// Decides on a void of the pivot. `purged` as in [`on_action`].
pub fn on_void(row: Option<&Row>, purged: bool) -> OnVoid {
    match row.map(|row| row.state) {
        None if purged => OnVoid::Purged,
        None => OnVoid::WriteTombstone,
        Some(RowState::Done) => OnVoid::LeaveDone,
        Some(closed) => OnVoid::LeaveClosed(closed.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAME: RequestHash = RequestHash([1; 8]);
    const OTHER: RequestHash = RequestHash([2; 8]);

    fn row(state: RowState) -> Row {
        Row { state, hash: SAME, reply: b"recorded".to_vec() }
    }

    #[test]
    fn an_action_runs_only_where_nothing_is_known() {
        assert_eq!(on_action(None, false, SAME), OnAction::Run);
        assert_eq!(on_action(None, true, SAME), OnAction::Purged);
    }

    #[test]
    fn a_repeated_action_meets_its_recorded_outcome() {
        let (done, rejected) = (row(RowState::Done), row(RowState::Rejected));
        assert_eq!(on_action(Some(&done), false, SAME), OnAction::ReplayDone(b"recorded"));
        assert_eq!(on_action(Some(&rejected), false, SAME), OnAction::ReplayRejected(b"recorded"));
        assert_eq!(on_action(Some(&done), true, SAME), OnAction::ReplayDone(b"recorded"));
    }

    #[test]
    fn other_content_under_a_known_key_never_runs() {
        for state in [RowState::Done, RowState::Rejected] {
            assert_eq!(on_action(Some(&row(state)), false, OTHER), OnAction::OtherContent);
        }
    }

    #[test]
    fn an_action_after_its_compensation_is_refused_whatever_its_content() {
        for state in [RowState::Compensated, RowState::Tombstone] {
            for hash in [SAME, OTHER] {
                assert_eq!(on_action(Some(&row(state)), false, hash), OnAction::Tombstoned);
            }
        }
    }

    #[test]
    fn a_compensation_undoes_a_done_step_and_nothing_else() {
        assert_eq!(on_compensation(Some(&row(RowState::Done)), false), OnCompensation::Undo);
        for state in [RowState::Rejected, RowState::Compensated, RowState::Tombstone] {
            let decided = on_compensation(Some(&row(state)), false);
            assert_eq!(decided, OnCompensation::Leave(state.into()));
        }
    }

    #[test]
    fn a_compensation_or_void_that_comes_first_closes_the_step() {
        assert_eq!(on_compensation(None, false), OnCompensation::WriteTombstone);
        assert_eq!(on_void(None, false), OnVoid::WriteTombstone);
    }

    #[test]
    fn a_void_never_undoes() {
        assert_eq!(on_void(Some(&row(RowState::Done)), false), OnVoid::LeaveDone);
        for state in [RowState::Rejected, RowState::Compensated, RowState::Tombstone] {
            assert_eq!(on_void(Some(&row(state)), false), OnVoid::LeaveClosed(state.into()));
        }
    }

    #[test]
    fn below_the_watermark_nothing_is_written() {
        assert_eq!(on_compensation(None, true), OnCompensation::Purged);
        assert_eq!(on_void(None, true), OnVoid::Purged);
        assert_eq!(on_compensation(None, true).found(), Found::Purged);
        assert_eq!(on_void(None, true).found(), Found::Purged);
    }

    #[test]
    fn an_answer_names_what_was_found() {
        assert_eq!(on_compensation(None, false).found(), Found::Nothing);
        for state in
            [RowState::Done, RowState::Rejected, RowState::Compensated, RowState::Tombstone]
        {
            assert_eq!(on_compensation(Some(&row(state)), false).found(), Found::from(state));
            assert_eq!(on_void(Some(&row(state)), false).found(), Found::from(state));
        }
    }

    #[test]
    fn states_survive_their_codes() {
        for state in
            [RowState::Done, RowState::Rejected, RowState::Compensated, RowState::Tombstone]
        {
            assert_eq!(RowState::from_code(state.code()), Some(state));
        }
        assert_eq!(RowState::from_code(0), None);
        assert_eq!(RowState::from_code(5), None);
    }

    #[test]
    fn saga_ids_read_as_uuids_and_sort_as_bytes() {
        let id: Uuid = "0198c5f0-7a3c-7b4e-8d21-0f3a5b6c7d8e".parse().unwrap();
        let saga = SagaId::from(id);
        assert_eq!(saga.to_string(), "0198c5f0-7a3c-7b4e-8d21-0f3a5b6c7d8e");
        assert_eq!(Uuid::from(saga), id);
        assert!(SagaId([0; 16]) < saga);
    }
}
