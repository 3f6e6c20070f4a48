//! A checkout that is still under way, and two cancellations of its order at once.
//!
//! Here executors are a soup: what any executor of a saga ever knew is kept for good and may act on it again at any
//! time. So any number of executors, crashed, frozen for long and revived, is covered, and so is every late or repeated
//! request.

use std::collections::BTreeSet;
use std::rc::Rc;

use participant::barrier::{RowState, StepNo};

use super::Violation;
use super::explore::{Model, Move};
use super::participants::{self, Rows, Ruling};
use crate::decide::{ActReply, Call, Command, Event, Known, UndoReply, VoidReply, decide};
use crate::outcome::{AbortReason, Outcome};
use crate::shape::Shape;

const DEBIT: StepNo = StepNo(1);
const CONFIRM: StepNo = StepNo(2);

const GATE: StepNo = StepNo(1);
const REFUND: StepNo = StepNo(2);
const RESTOCK: StepNo = StepNo(3);
const FINISH: StepNo = StepNo(4);

/// A rule that is broken, named by what happens instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    RegisterOfCancellationLast,
    GatePassesAnyCancellation,
    StepAfterGateRejects,
    ReplayedConfirmRevivesOrder,
    CheckoutPurgedWithoutWatermark,
    RefundWithoutRow,
    VoidUndoesDoneGate,
}

/// The bounds of an exploration.
pub(super) struct Race {
    /// Whether the checkout's rows are purged once it ended.
    pub(super) purge: bool,
    pub(super) broken: Option<Broken>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct State {
    sagas: [Run; 3],
    order: Order,
    debits: u8,
    refunds: [u8; 2],
    restocks: [u8; 2],
    violation: Option<Violation>,
}

/// One saga and all that its executors ever knew.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Run {
    rows: Rows,
    purged: bool,
    known: BTreeSet<Rc<Known>>,
    told: Option<Outcome>,
    end: Option<Outcome>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Order {
    Absent,
    Confirmed,
    Cancelling(usize),
    Cancelled(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    Checkout,
    Cancel(usize),
}

/// What happened to which saga.
#[derive(Debug)]
#[expect(dead_code, reason = "read by people, through Debug")]
pub(super) enum Label {
    Acted(Which, StepNo, ActReply),
    AbortWanted(Which),
    Undone(Which, StepNo, UndoReply),
    Voided(Which, VoidReply),
    Tells(Which, Outcome),
    Ends(Which, Outcome),
    CheckoutPurged,
}

impl Broken {
    /// Every broken rule and what the explorer finds of it.
    pub(super) const ALL: [(Self, Violation); 7] = [
        (Self::RegisterOfCancellationLast, Violation::UndoesForwardStep),
        (Self::GatePassesAnyCancellation, Violation::EffectTwice),
        (Self::StepAfterGateRejects, Violation::Stuck),
        (Self::ReplayedConfirmRevivesOrder, Violation::EffectTwice),
        (Self::CheckoutPurgedWithoutWatermark, Violation::EffectAfterEnd),
        (Self::RefundWithoutRow, Violation::EffectTwice),
        (Self::VoidUndoesDoneGate, Violation::ToldFailedInVain),
    ];
}

impl State {
    /// The two cancellations are interchangeable.
    fn sort_cancellations(&mut self) {
        if self.sagas[1] <= self.sagas[2] {
            return;
        }
        self.sagas.swap(1, 2);
        self.refunds.swap(0, 1);
        self.restocks.swap(0, 1);
        self.order = match self.order {
            Order::Cancelling(number) => Order::Cancelling(1 - number),
            Order::Cancelled(number) => Order::Cancelled(1 - number),
            order => order,
        };
    }
}

impl Which {
    const ALL: [Self; 3] = [Self::Checkout, Self::Cancel(0), Self::Cancel(1)];

    fn of(self, state: &State) -> &Run {
        &state.sagas[self.index()]
    }

    fn of_mut(self, state: &mut State) -> &mut Run {
        &mut state.sagas[self.index()]
    }

    fn index(self) -> usize {
        match self {
            Self::Checkout => 0,
            Self::Cancel(number) => number + 1,
        }
    }
}

impl Race {
    fn breaks(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    fn shape(&self, which: Which) -> Shape {
        match which {
            Which::Checkout => {
                Shape { compensatable: vec![vec![DEBIT]], pivot: CONFIRM, retriable: vec![] }
            }
            Which::Cancel(_) if self.breaks(Broken::RegisterOfCancellationLast) => {
                let before = Shape::chain([GATE, REFUND, RESTOCK]);
                Shape { compensatable: before, pivot: FINISH, retriable: vec![] }
            }
            Which::Cancel(_) => {
                let after = vec![vec![REFUND, RESTOCK], vec![FINISH]];
                Shape { compensatable: vec![], pivot: GATE, retriable: after }
            }
        }
    }

    /// What the business rule may say in this state.
    fn rulings(&self, state: &State, which: Which, step: StepNo) -> Vec<Ruling> {
        match (which, step) {
            (Which::Checkout, DEBIT) => vec![Ruling::Accept, Ruling::Reject],
            (Which::Cancel(_), GATE) => {
                let passes = match state.order {
                    Order::Confirmed => true,
                    Order::Absent => false,
                    _ => self.breaks(Broken::GatePassesAnyCancellation),
                };
                vec![if passes { Ruling::Accept } else { Ruling::Reject }]
            }
            (Which::Cancel(_), RESTOCK) if self.breaks(Broken::StepAfterGateRejects) => {
                vec![Ruling::Accept, Ruling::Reject]
            }
            _ => vec![Ruling::Accept],
        }
    }

    fn act(&self, state: &State, which: Which, step: StepNo) -> Vec<(State, ActReply)> {
        let mut answers = Vec::new();
        for ruling in self.rulings(state, which, step) {
            let mut next = state.clone();
            let run = which.of_mut(&mut next);
            let watermark = run.purged && !self.breaks(Broken::CheckoutPurgedWithoutWatermark);
            let (reply, ran) = participants::act(&mut run.rows, watermark, step, ruling);
            if ran && run.end.is_some() {
                next.violation = Some(Violation::EffectAfterEnd);
            }
            let revives = self.breaks(Broken::ReplayedConfirmRevivesOrder)
                && (which, step) == (Which::Checkout, CONFIRM)
                && matches!(reply, ActReply::Done(_));
            if ran || revives {
                take_effect(&mut next, which, step);
            }
            if self.breaks(Broken::RefundWithoutRow) && which != Which::Checkout && step == REFUND {
                which.of_mut(&mut next).rows.remove(&step);
            }
            answers.push((next, reply));
        }
        answers
    }

    fn undo(&self, state: &State, which: Which, step: StepNo) -> (State, UndoReply) {
        let mut next = state.clone();
        let run = which.of_mut(&mut next);
        let watermark = run.purged && !self.breaks(Broken::CheckoutPurgedWithoutWatermark);
        let (reply, undone) = participants::undo(&mut run.rows, watermark, step);
        match which {
            _ if !undone => {}
            Which::Checkout => match next.debits.checked_sub(1) {
                Some(debits) => next.debits = debits,
                None => next.violation = Some(Violation::UndoneTwice),
            },
            // The buyer may have spent the refund, and another may have bought the stock.
            Which::Cancel(_) => next.violation = Some(Violation::UndoesForwardStep),
        }
        (next, reply)
    }

    fn void(&self, state: &State, which: Which) -> (State, VoidReply) {
        let pivot = self.shape(which).pivot;
        let reason = AbortReason::Deadline.encode();
        let mut next = state.clone();
        let run = which.of_mut(&mut next);
        let done = run.rows.get(&pivot).is_some_and(|row| row.state == RowState::Done);
        if let Which::Cancel(number) = which
            && done
            && self.breaks(Broken::VoidUndoesDoneGate)
        {
            participants::undo(&mut run.rows, false, pivot);
            if next.order == Order::Cancelling(number) {
                next.order = Order::Confirmed;
            }
            return (next, VoidReply::Tombstone(reason));
        }
        let watermark = run.purged && !self.breaks(Broken::CheckoutPurgedWithoutWatermark);
        let reply = participants::void(&mut run.rows, watermark, pivot, reason);
        (next, reply)
    }

    /// Some executor that knew this learns more; it is remembered beside what it knew before.
    fn learn(&self, state: &mut State, which: Which, known: &Known, event: Event) {
        let (known, _) = decide(&self.shape(which), known.clone(), event);
        which.of_mut(state).known.insert(Rc::new(known));
    }

    /// A call is answered.
    fn call(
        &self,
        state: &State,
        which: Which,
        known: &Known,
        call: Call,
    ) -> Vec<Move<State, Label>> {
        let answered = |mut next: State, event, label| {
            self.learn(&mut next, which, known, event);
            Move { label, fault: false, to: next }
        };
        match call {
            Call::Act(step) => {
                let answers = self.act(state, which, step).into_iter();
                let answers = answers.map(|(next, reply)| {
                    let label = Label::Acted(which, step, reply.clone());
                    answered(next, Event::Acted(step, reply), label)
                });
                answers.collect()
            }
            Call::Undo(step) => {
                let (next, reply) = self.undo(state, which, step);
                let label = Label::Undone(which, step, reply.clone());
                vec![answered(next, Event::Undone(step, reply), label)]
            }
            Call::Void(_) => {
                let (next, reply) = self.void(state, which);
                let label = Label::Voided(which, reply.clone());
                vec![answered(next, Event::Voided(reply), label)]
            }
        }
    }

    fn steps(&self, state: &State, which: Which, known: &Known) -> Vec<Move<State, Label>> {
        let mut moves = Vec::new();
        match known.command() {
            Command::Call(calls) => {
                for call in calls {
                    moves.extend(self.call(state, which, known, call));
                }
                let mut next = state.clone();
                self.learn(&mut next, which, known, Event::AbortWanted(AbortReason::Deadline));
                moves.push(Move { label: Label::AbortWanted(which), fault: true, to: next });
            }
            Command::End(outcome) => {
                let mut next = state.clone();
                settle(&mut next, which, &outcome, |run| &mut run.told, Violation::TwoAnswers);
                let label = Label::Tells(which, outcome.clone());
                moves.push(Move { label, fault: false, to: next });
                let mut next = state.clone();
                settle(&mut next, which, &outcome, |run| &mut run.end, Violation::TwoEnds);
                moves.push(Move { label: Label::Ends(which, outcome), fault: false, to: next });
            }
            Command::AnswerFromJournal | Command::Park(_) | Command::Wait => {}
        }
        moves
    }
}

impl Model for Race {
    type State = State;
    type Label = Label;

    fn initial(&self) -> State {
        let run = |which| {
            let (begun, _) = decide(&self.shape(which), Known::default(), Event::Begun);
            let known = BTreeSet::from([Rc::new(begun)]);
            Run { rows: Rows::new(), purged: false, known, told: None, end: None }
        };
        State {
            sagas: Which::ALL.map(run),
            order: Order::Absent,
            debits: 0,
            refunds: [0; 2],
            restocks: [0; 2],
            violation: None,
        }
    }

    fn moves(&self, state: &State) -> Vec<Move<State, Label>> {
        let mut moves = Vec::new();
        for which in Which::ALL {
            for known in &which.of(state).known {
                moves.extend(self.steps(state, which, known));
            }
        }
        let checkout = Which::Checkout.of(state);
        if self.purge && checkout.end.is_some() && !checkout.purged {
            let mut next = state.clone();
            let run = Which::Checkout.of_mut(&mut next);
            run.rows.clear();
            run.purged = true;
            moves.push(Move { label: Label::CheckoutPurged, fault: true, to: next });
        }
        moves.retain_mut(|step| {
            step.to.sort_cancellations();
            step.to != *state
        });
        moves
    }

    fn violation(&self, state: &State) -> Option<Violation> {
        let sum = |effects: [u8; 2]| effects.iter().sum::<u8>();
        if state.violation.is_some() {
            return state.violation;
        }
        if sum(state.refunds) > 1 || sum(state.restocks) > 1 || state.debits > 1 {
            return Some(Violation::EffectTwice);
        }
        if sum(state.refunds) > 0 && state.order == Order::Absent {
            return Some(Violation::RefundWithoutOrder);
        }
        Which::ALL.into_iter().find_map(|which| judge(state, which))
    }

    fn is_settled(&self, state: &State) -> bool {
        state.sagas.iter().all(|run| run.end.is_some())
    }

    fn abandoned(&self, _: &State) -> Option<State> {
        None
    }
}

fn judge(state: &State, which: Which) -> Option<Violation> {
    let run = which.of(state);
    let (all, none) = match which {
        Which::Checkout => (state.debits == 1 && state.order != Order::Absent, state.debits == 0),
        Which::Cancel(number) => {
            let effects = (state.refunds[number], state.restocks[number]);
            (effects == (1, 1), effects == (0, 0))
        }
    };
    match run.told {
        Some(Outcome::Succeeded) if !all => return Some(Violation::ToldSucceededInVain),
        Some(Outcome::Failed(_)) if !none => return Some(Violation::ToldFailedInVain),
        _ => {}
    }
    match run.end {
        Some(Outcome::Succeeded) if !all => return Some(Violation::EndedSucceededInVain),
        Some(Outcome::Failed(_)) if !none => return Some(Violation::EndedFailedInVain),
        _ => {}
    }
    let cancelled = matches!(state.order, Order::Cancelled(_));
    let succeeded = run.end == Some(Outcome::Succeeded);
    (which != Which::Checkout && succeeded && !cancelled).then_some(Violation::CancelledOrderAlive)
}

fn take_effect(state: &mut State, which: Which, step: StepNo) {
    match (which, step) {
        (Which::Checkout, DEBIT) => state.debits += 1,
        (Which::Checkout, _) => state.order = Order::Confirmed,
        (Which::Cancel(number), GATE) if state.order == Order::Confirmed => {
            state.order = Order::Cancelling(number);
        }
        (Which::Cancel(_), GATE) => {}
        (Which::Cancel(number), REFUND) => state.refunds[number] += 1,
        (Which::Cancel(number), RESTOCK) => state.restocks[number] += 1,
        (Which::Cancel(number), _) => state.order = Order::Cancelled(number),
    }
}

/// Writes an outcome where none is; another one there is a violation.
fn settle(
    state: &mut State,
    which: Which,
    outcome: &Outcome,
    place: fn(&mut Run) -> &mut Option<Outcome>,
    conflict: Violation,
) {
    let settled = place(which.of_mut(state)).get_or_insert_with(|| outcome.clone());
    if settled != outcome {
        state.violation = Some(conflict);
    }
}
