//! The watermark without shared locks: one START, one raiser, and two copies of one step, statement by statement.
//!
//! Every statement reads what is committed at that moment (READ COMMITTED), and what is written is seen by others once it is
//! committed; only a lock or a key that another transaction inserted makes anybody wait. Time counts for nothing: between
//! two statements of a transaction a saga may end and its rows may be purged.

use super::Violation;
use super::explore::{Model, Move};

/// A rule that is broken, named by what happens instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    WatermarkReadBeforeRow,
    WatermarkNotReadAfterInsert,
    PurgedBeforeRaised,
    StartReadsBeforeLock,
    RaiserAnnouncesNothing,
    RaiserDoesNotWait,
    RaisedAfterLowered,
}

impl Broken {
    /// Every broken rule and what the explorer finds of it.
    pub(super) const ALL: [(Self, Violation); 7] = [
        (Self::WatermarkReadBeforeRow, Violation::EffectTwice),
        (Self::WatermarkNotReadAfterInsert, Violation::EffectTwice),
        (Self::PurgedBeforeRaised, Violation::EffectTwice),
        (Self::StartReadsBeforeLock, Violation::UnfinishedBelowWatermark),
        (Self::RaiserAnnouncesNothing, Violation::UnfinishedBelowWatermark),
        (Self::RaiserDoesNotWait, Violation::UnfinishedBelowWatermark),
        (Self::RaisedAfterLowered, Violation::UnfinishedBelowWatermark),
    ];
}

/// The bounds of an exploration.
pub(super) struct Watermark {
    pub(super) broken: Option<Broken>,
}

/// The transaction of START. Its replica's heartbeat row may come to be at any time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Start {
    Absent,
    Joined,
    Locked,
    /// Whether the raiser's announcement was read: then the id is drawn above it.
    Read(bool),
    ReadAndLocked(bool),
    Running,
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Raiser {
    Idle,
    Announced,
    /// The replicas were listed, START's among them or not.
    Listed(bool),
    Waited,
    /// Nothing unfinished stands below.
    Looked,
    Raised,
    GaveUp,
}

/// The transaction of one copy of the step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Copy {
    Due,
    RowMissing,
    /// The watermark was read, and the saga is above it.
    MayRun,
    Inserted,
    Guarded,
    Over,
}

#[expect(clippy::struct_excessive_bools, reason = "each stands for a row or a message")]
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct State {
    start: Start,
    /// Whether the saga's id is above what the raiser is about to raise to.
    above: bool,
    raiser: Raiser,
    announced: bool,
    lowered: bool,
    /// Whether the participant's watermark is raised.
    told: bool,
    row: bool,
    purged: bool,
    copies: [Copy; 2],
    effects: u8,
}

/// What happened.
#[derive(Debug)]
#[expect(dead_code, reason = "read by people, through Debug")]
pub(super) enum Label {
    Start(Start),
    Raiser(Raiser),
    Lowered,
    Told,
    Purged,
    Copy(usize, Copy),
    Ended,
}

impl Watermark {
    fn breaks(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    fn start(&self, state: &State) -> Option<State> {
        let to = |start| Some(State { start, ..state.clone() });
        let runs = |read| Some(State { start: Start::Running, above: read, ..state.clone() });
        match state.start {
            Start::Absent => to(Start::Joined),
            Start::Joined if self.breaks(Broken::StartReadsBeforeLock) => {
                to(Start::Read(state.announced))
            }
            Start::Joined => to(Start::Locked),
            Start::Locked => to(Start::ReadAndLocked(state.announced)),
            Start::Read(read) => to(Start::ReadAndLocked(read)),
            Start::ReadAndLocked(read) => runs(read),
            Start::Running | Start::Ended => None,
        }
    }

    fn raiser(&self, state: &State) -> Option<State> {
        let to = |raiser| Some(State { raiser, ..state.clone() });
        let is_locked = matches!(state.start, Start::Locked | Start::ReadAndLocked(_));
        match state.raiser {
            Raiser::Idle if self.breaks(Broken::RaiserAnnouncesNothing) => to(Raiser::Announced),
            Raiser::Idle => {
                Some(State { raiser: Raiser::Announced, announced: true, ..state.clone() })
            }
            Raiser::Announced => to(Raiser::Listed(state.start != Start::Absent)),
            Raiser::Listed(true) if is_locked && !self.breaks(Broken::RaiserDoesNotWait) => None,
            Raiser::Listed(_) => to(Raiser::Waited),
            Raiser::Waited if state.start == Start::Running && !state.above => to(Raiser::GaveUp),
            Raiser::Waited => to(Raiser::Looked),
            Raiser::Looked if state.lowered && !self.breaks(Broken::RaisedAfterLowered) => {
                to(Raiser::GaveUp)
            }
            Raiser::Looked => to(Raiser::Raised),
            Raiser::Raised | Raiser::GaveUp => None,
        }
    }

    /// The next statement of a copy of the step; none where it waits.
    fn copy(&self, state: &State, number: usize) -> Option<State> {
        let mut next = state.clone();
        let other_holds_key = matches!(state.copies[1 - number], Copy::Inserted | Copy::Guarded);
        let is_purged = state.told && !state.above;
        let early = self.breaks(Broken::WatermarkReadBeforeRow);
        let read_row = if state.row { Copy::Over } else { Copy::RowMissing };
        next.copies[number] = match state.copies[number] {
            // The two reads, in the wrong order where that is what is broken.
            Copy::Due if early && is_purged => Copy::Over,
            Copy::Due if early => Copy::MayRun,
            Copy::MayRun if early && state.row => Copy::Over,
            Copy::Due => read_row,
            Copy::RowMissing if is_purged => Copy::Over,
            Copy::RowMissing => Copy::MayRun,
            Copy::MayRun if other_holds_key => return None,
            // A duplicate key: the whole batch runs again.
            Copy::MayRun if state.row => Copy::Due,
            Copy::MayRun => Copy::Inserted,
            Copy::Inserted if early || self.breaks(Broken::WatermarkNotReadAfterInsert) => {
                Copy::Guarded
            }
            Copy::Inserted if is_purged => Copy::Due,
            Copy::Inserted => Copy::Guarded,
            Copy::Guarded => {
                next.row = true;
                next.effects += 1;
                Copy::Over
            }
            Copy::Over => return None,
        };
        Some(next)
    }
}

impl Model for Watermark {
    type State = State;
    type Label = Label;

    fn initial(&self) -> State {
        State {
            start: Start::Absent,
            above: false,
            raiser: Raiser::Idle,
            announced: false,
            lowered: false,
            told: false,
            row: false,
            purged: false,
            copies: [Copy::Due; 2],
            effects: 0,
        }
    }

    fn moves(&self, state: &State) -> Vec<Move<State, Label>> {
        let mut moves = Vec::new();
        let mut can = |label, fault, to| moves.push(Move { label, fault, to });
        if let Some(to) = self.start(state) {
            can(Label::Start(to.start), false, to);
        }
        if let Some(to) = self.raiser(state) {
            can(Label::Raiser(to.raiser), true, to);
        }
        // An operator lowers the watermark, and with it what STARTs draw their ids above.
        if state.announced && !state.lowered && state.raiser != Raiser::Raised {
            can(Label::Lowered, true, State { announced: false, lowered: true, ..state.clone() });
        }
        if state.raiser == Raiser::Raised && !state.told {
            can(Label::Told, true, State { told: true, ..state.clone() });
        }
        let may_go = match self.broken {
            Some(Broken::PurgedBeforeRaised) => state.raiser == Raiser::Raised,
            _ => state.told,
        };
        if may_go && state.row && !state.above {
            can(Label::Purged, true, State { row: false, purged: true, ..state.clone() });
        }
        // A step is sent once START is committed, and a copy of it may come at any time after that.
        for number in 0..2 {
            let sent = matches!(state.start, Start::Running | Start::Ended);
            if let Some(to) = self.copy(state, number).filter(|_| sent) {
                can(Label::Copy(number, to.copies[number]), false, to);
            }
        }
        if state.start == Start::Running && state.row {
            can(Label::Ended, false, State { start: Start::Ended, ..state.clone() });
        }
        moves
    }

    fn violation(&self, state: &State) -> Option<Violation> {
        if state.effects > 1 {
            return Some(Violation::EffectTwice);
        }
        let unfinished = state.start == Start::Running && !state.above;
        (unfinished && state.raiser == Raiser::Raised)
            .then_some(Violation::UnfinishedBelowWatermark)
    }

    fn is_settled(&self, state: &State) -> bool {
        state.start == Start::Ended && state.copies == [Copy::Over; 2]
    }

    fn abandoned(&self, _: &State) -> Option<State> {
        None
    }
}
