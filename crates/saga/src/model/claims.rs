//! Two replicas claim the saga of a third, which may only have been slow: a plain read, then a conditional update by key.

use super::Violation;
use super::explore::{Model, Move};

/// A rule that is broken, named by what happens instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    UpdateNamesNoOwner,
    UpdateNamesNoCounter,
}

impl Broken {
    /// Every broken rule and what the explorer finds of it.
    pub(super) const ALL: [(Self, Violation); 2] = [
        (Self::UpdateNamesNoOwner, Violation::ClaimedTwice),
        (Self::UpdateNamesNoCounter, Violation::ClaimedFromTheLiving),
    ];
}

/// The bounds of an exploration.
pub(super) struct Claims {
    pub(super) broken: Option<Broken>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Owner {
    Slow,
    Claimant(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Claimant {
    /// Has seen the owner's counter stand still at this number.
    Saw(u8),
    /// Has read the row, and whose it is.
    Read(u8, Owner),
    Claimed,
    GoesEmpty,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct State {
    beat: u8,
    owner: Owner,
    claimants: [Claimant; 2],
    of_the_living: bool,
}

/// What happened.
#[derive(Debug)]
#[expect(dead_code, reason = "read by people, through Debug")]
pub(super) enum Label {
    Beats,
    LooksAgain(usize),
    Reads(usize),
    Updates(usize),
}

impl Claims {
    fn update(&self, state: &State, number: usize, (beat, of): (u8, Owner)) -> State {
        let names_owner = self.broken != Some(Broken::UpdateNamesNoOwner);
        let names_counter = self.broken != Some(Broken::UpdateNamesNoCounter);
        let matches = (state.owner == of || !names_owner) && (state.beat == beat || !names_counter);
        let mut next = state.clone();
        if !matches {
            next.claimants[number] = Claimant::GoesEmpty;
            return next;
        }
        next.of_the_living |= state.beat != beat;
        next.owner = Owner::Claimant(number);
        next.claimants[number] = Claimant::Claimed;
        next
    }
}

impl Model for Claims {
    type State = State;
    type Label = Label;

    fn initial(&self) -> State {
        let claimants = [Claimant::Saw(0); 2];
        State { beat: 0, owner: Owner::Slow, claimants, of_the_living: false }
    }

    fn moves(&self, state: &State) -> Vec<Move<State, Label>> {
        let mut moves = Vec::new();
        if state.beat < 3 {
            let to = State { beat: state.beat + 1, ..state.clone() };
            moves.push(Move { label: Label::Beats, fault: true, to });
        }
        for (number, claimant) in state.claimants.iter().enumerate() {
            let mut next = state.clone();
            let label = match *claimant {
                Claimant::Saw(beat) if state.owner == Owner::Slow => {
                    next.claimants[number] = Claimant::Read(beat, state.owner);
                    Label::Reads(number)
                }
                Claimant::Saw(_) => {
                    next.claimants[number] = Claimant::GoesEmpty;
                    Label::Reads(number)
                }
                Claimant::Read(beat, owner) => {
                    next = self.update(state, number, (beat, owner));
                    Label::Updates(number)
                }
                Claimant::GoesEmpty if state.owner == Owner::Slow => {
                    next.claimants[number] = Claimant::Saw(state.beat);
                    Label::LooksAgain(number)
                }
                Claimant::Claimed | Claimant::GoesEmpty => continue,
            };
            moves.push(Move { label, fault: false, to: next });
        }
        moves
    }

    fn violation(&self, state: &State) -> Option<Violation> {
        if state.of_the_living {
            return Some(Violation::ClaimedFromTheLiving);
        }
        (state.claimants == [Claimant::Claimed; 2]).then_some(Violation::ClaimedTwice)
    }

    fn is_settled(&self, state: &State) -> bool {
        state.claimants.contains(&Claimant::Claimed)
    }

    fn abandoned(&self, _: &State) -> Option<State> {
        None
    }
}
