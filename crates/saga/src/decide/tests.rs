//! The main paths, one event at a time.

use participant::barrier::Found;

use super::*;

const STOCK: StepNo = StepNo(10);
const COUPON: StepNo = StepNo(20);
const ORDER: StepNo = StepNo(40);
const GATE: StepNo = StepNo(1);
const REFUND: StepNo = StepNo(2);
const CLOSE: StepNo = StepNo(3);

/// One executor and the commands that it gave.
#[derive(Clone)]
struct Executor {
    shape: Shape,
    known: Known,
}

impl Executor {
    fn begin(shape: Shape) -> Self {
        let mut executor = Self { shape, known: Known::default() };
        let first = executor.shape.first();
        assert_eq!(executor.on(Event::Begun), Command::Act(first));
        executor
    }

    fn on(&mut self, event: Event) -> Command {
        let (known, command) = decide(&self.shape, std::mem::take(&mut self.known), event);
        self.known = known;
        command
    }

    fn done(&mut self, step: StepNo) -> Command {
        self.on(Event::Acted(step, ActReply::Done(reply_of(step))))
    }

    fn settled(&mut self, step: StepNo) -> Command {
        self.on(Event::Undone(step, UndoReply::Settled))
    }

    /// The event changes nothing at all.
    fn ignores(&mut self, event: Event) {
        let (before, name) = (self.known.clone(), format!("{event:?}"));
        assert_eq!(self.on(event), Command::Wait, "{name}");
        assert_eq!(self.known, before, "{name}");
    }
}

fn checkout() -> Shape {
    Shape { before: vec![STOCK, COUPON], register: ORDER, after: Vec::new() }
}

fn cancellation() -> Shape {
    Shape { before: Vec::new(), register: GATE, after: vec![REFUND, CLOSE] }
}

fn reply_of(step: StepNo) -> Vec<u8> {
    step.0.to_be_bytes().to_vec()
}

fn rejected(step: StepNo) -> Event {
    Event::Acted(step, ActReply::Rejected(b"no".to_vec()))
}

fn voided(reason: AbortReason) -> Event {
    Event::Voided(VoidReply::Tombstone(reason.encode()))
}

fn fails_rejected(step: StepNo) -> Command {
    Command::End(Outcome::Failed(Failure::Rejected { step, reply: b"no".to_vec() }))
}

fn fails_aborted(reason: AbortReason) -> Command {
    Command::End(Outcome::Failed(Failure::Aborted { reason: reason.encode() }))
}

const DEADLINE: Event = Event::AbortWanted(AbortReason::Deadline);

#[test]
fn nothing_is_sent_before_start_is_durable() {
    let (known, command) = decide(&checkout(), Known::default(), DEADLINE);
    assert_eq!((known, command), (Known::default(), Command::Wait));
    assert_eq!(Known::default().call(), None);
}

#[test]
fn a_checkout_whose_steps_are_all_done_succeeds_at_its_register() {
    let mut executor = Executor::begin(checkout());
    assert_eq!(executor.done(STOCK), Command::Act(COUPON));
    assert_eq!(executor.known.reply(STOCK), Some(reply_of(STOCK).as_slice()));
    assert_eq!(executor.done(COUPON), Command::Act(ORDER));
    assert!(!executor.known.is_past_register(&executor.shape));
    assert_eq!(executor.done(ORDER), Command::End(Outcome::Succeeded));
    assert_eq!(executor.known.reply(ORDER), Some(reply_of(ORDER).as_slice()));
}

#[test]
fn a_step_that_is_not_in_the_shape_is_never_asked() {
    let shape = Shape { before: vec![STOCK], register: ORDER, after: Vec::new() };
    let mut executor = Executor::begin(shape);
    assert_eq!(executor.done(STOCK), Command::Act(ORDER));
}

#[test]
fn a_rejection_compensates_the_steps_before_it_and_voids_nothing() {
    let mut executor = Executor::begin(checkout());
    executor.done(STOCK);
    assert_eq!(executor.on(rejected(COUPON)), Command::Undo(STOCK));
    assert_eq!(executor.settled(STOCK), fails_rejected(COUPON));
}

#[test]
fn a_rejection_of_the_first_step_leaves_nothing_to_undo() {
    let mut executor = Executor::begin(checkout());
    assert_eq!(executor.on(rejected(STOCK)), fails_rejected(STOCK));
}

#[test]
fn an_abort_voids_the_register_and_then_compensates_every_step() {
    let mut executor = Executor::begin(checkout());
    assert_eq!(executor.on(DEADLINE), Command::Void(Some(AbortReason::Deadline)));
    assert_eq!(executor.on(voided(AbortReason::Deadline)), Command::Undo(COUPON));
    assert_eq!(executor.settled(COUPON), Command::Undo(STOCK));
    assert_eq!(executor.settled(STOCK), fails_aborted(AbortReason::Deadline));
}

#[test]
fn the_reason_in_the_register_wins_over_the_aborters_own() {
    let mut executor = Executor::begin(checkout());
    executor.on(DEADLINE);
    executor.on(voided(AbortReason::Operator));
    executor.settled(COUPON);
    assert_eq!(executor.settled(STOCK), fails_aborted(AbortReason::Operator));
}

#[test]
fn a_rejection_found_while_compensating_is_the_reason() {
    let mut executor = Executor::begin(checkout());
    executor.on(DEADLINE);
    executor.on(voided(AbortReason::Deadline));
    let found = Event::Undone(COUPON, UndoReply::Rejected(b"no".to_vec()));
    assert_eq!(executor.on(found), Command::Undo(STOCK));
    assert_eq!(executor.settled(STOCK), fails_rejected(COUPON));
}

#[test]
fn a_void_that_comes_too_late_succeeds() {
    let mut executor = Executor::begin(checkout());
    executor.on(DEADLINE);
    let done = Event::Voided(VoidReply::Done(reply_of(ORDER)));
    assert_eq!(executor.on(done), Command::End(Outcome::Succeeded));
    assert_eq!(executor.known.reply(ORDER), Some(reply_of(ORDER).as_slice()));
}

#[test]
fn a_tombstone_makes_the_executor_void_without_a_reason_and_compensate_everything() {
    for met in [STOCK, COUPON, ORDER] {
        let mut executor = Executor::begin(checkout());
        for step in [STOCK, COUPON].into_iter().take_while(|&step| step != met) {
            executor.done(step);
        }
        let tombstoned = Event::Acted(met, ActReply::Tombstoned);
        assert_eq!(executor.on(tombstoned), Command::Void(None), "{met}");
        executor.ignores(DEADLINE);
        assert_eq!(executor.on(voided(AbortReason::Operator)), Command::Undo(COUPON));
        assert_eq!(executor.settled(COUPON), Command::Undo(STOCK));
        assert_eq!(executor.settled(STOCK), fails_aborted(AbortReason::Operator));
    }
}

#[test]
fn replies_that_come_after_an_abort_are_ignored() {
    let mut executor = Executor::begin(checkout());
    executor.done(STOCK);
    executor.on(DEADLINE);
    executor.ignores(Event::Acted(COUPON, ActReply::Done(Vec::new())));
    executor.ignores(rejected(COUPON));
    executor.ignores(Event::CannotHeal { call: Call::Act(COUPON), code: 12 });
    executor.ignores(DEADLINE);
    executor.on(voided(AbortReason::Deadline));
    executor.ignores(voided(AbortReason::Deadline));
    executor.ignores(Event::Undone(STOCK, UndoReply::Settled));
    executor.ignores(DEADLINE);
}

#[test]
fn repeated_replies_and_beginnings_are_ignored() {
    let mut executor = Executor::begin(checkout());
    executor.done(STOCK);
    executor.ignores(Event::Begun);
    executor.ignores(Event::Acted(STOCK, ActReply::Done(reply_of(STOCK))));
    executor.ignores(Event::Voided(VoidReply::Purged));
}

#[test]
fn an_ended_saga_ignores_everything() {
    let mut executor = Executor::begin(checkout());
    executor.on(rejected(STOCK));
    for event in [Event::Begun, DEADLINE, rejected(STOCK), Event::Voided(VoidReply::Purged)] {
        executor.ignores(event);
    }
}

#[test]
fn a_cancellation_is_answered_when_its_last_step_is_done() {
    let mut executor = Executor::begin(cancellation());
    assert_eq!(executor.done(GATE), Command::Act(REFUND));
    assert_eq!(executor.done(REFUND), Command::Act(CLOSE));
    assert_eq!(executor.done(CLOSE), Command::End(Outcome::Succeeded));
}

#[test]
fn a_refused_gate_fails_the_cancellation() {
    let mut executor = Executor::begin(cancellation());
    assert_eq!(executor.on(rejected(GATE)), fails_rejected(GATE));

    let mut aborter = Executor::begin(cancellation());
    aborter.on(DEADLINE);
    let found = Event::Voided(VoidReply::Rejected(b"no".to_vec()));
    assert_eq!(aborter.on(found), fails_rejected(GATE));
}

#[test]
fn a_voided_gate_fails_the_cancellation() {
    let mut executor = Executor::begin(cancellation());
    executor.on(DEADLINE);
    assert_eq!(executor.on(voided(AbortReason::Deadline)), fails_aborted(AbortReason::Deadline));
}

#[test]
fn past_the_register_an_abort_is_ignored() {
    let mut executor = Executor::begin(cancellation());
    executor.done(GATE);
    executor.ignores(DEADLINE);
    executor.ignores(Event::AbortWanted(AbortReason::Operator));
}

#[test]
fn a_void_that_finds_the_gate_done_goes_on_after_it() {
    let mut executor = Executor::begin(cancellation());
    executor.on(DEADLINE);
    let done = Event::Voided(VoidReply::Done(reply_of(GATE)));
    assert_eq!(executor.on(done), Command::Act(REFUND));
    executor.ignores(DEADLINE);
}

#[test]
fn steps_after_a_register_in_the_middle_get_the_replies_they_are_built_from() {
    let shape = Shape { before: vec![STOCK, COUPON], register: ORDER, after: vec![StepNo(50)] };
    let mut executor = Executor::begin(shape);
    executor.on(DEADLINE);
    let done = Event::Voided(VoidReply::Done(reply_of(ORDER)));
    assert_eq!(executor.on(done), Command::Act(STOCK));
    executor.ignores(DEADLINE);
    assert_eq!(executor.done(STOCK), Command::Act(COUPON));
    assert_eq!(executor.done(COUPON), Command::Act(StepNo(50)));
    assert_eq!(executor.done(StepNo(50)), Command::End(Outcome::Succeeded));
}

#[test]
fn a_purged_saga_is_answered_from_the_journal() {
    let purged = [
        (vec![], Event::Acted(STOCK, ActReply::Purged)),
        (vec![DEADLINE], Event::Voided(VoidReply::Purged)),
        (vec![DEADLINE, voided(AbortReason::Deadline)], Event::Undone(COUPON, UndoReply::Purged)),
    ];
    for (before, last) in purged {
        let mut executor = Executor::begin(checkout());
        for event in before {
            executor.on(event);
        }
        assert_eq!(executor.on(last), Command::AnswerFromJournal);
        executor.ignores(DEADLINE);
    }
}

#[test]
fn a_code_that_cannot_heal_aborts_up_to_the_register() {
    let mut executor = Executor::begin(checkout());
    let reason = |step| AbortReason::CannotHeal { step, code: 12 };
    let fault = |step| Event::CannotHeal { call: Call::Act(step), code: 12 };
    executor.ignores(fault(COUPON));
    assert_eq!(executor.clone().on(fault(STOCK)), Command::Void(Some(reason(STOCK))));
    executor.done(STOCK);
    executor.done(COUPON);
    assert_eq!(executor.on(fault(ORDER)), Command::Void(Some(reason(ORDER))));
    executor.on(voided(reason(ORDER)));
    executor.settled(COUPON);
    assert_eq!(executor.settled(STOCK), fails_aborted(reason(ORDER)));
}

#[test]
fn a_code_that_cannot_heal_parks_where_nothing_can_be_aborted() {
    let parked = |call| Command::Park(Parked { call, why: Why::CannotHeal { code: 7 } });
    let fault = |call| Event::CannotHeal { call, code: 7 };

    let mut cancelling = Executor::begin(cancellation());
    cancelling.done(GATE);
    assert_eq!(cancelling.on(fault(Call::Act(REFUND))), parked(Call::Act(REFUND)));
    cancelling.ignores(DEADLINE);

    let mut compensating = Executor::begin(checkout());
    compensating.done(STOCK);
    compensating.on(rejected(COUPON));
    assert_eq!(compensating.on(fault(Call::Undo(STOCK))), parked(Call::Undo(STOCK)));
    compensating.ignores(DEADLINE);

    let mut voiding = Executor::begin(checkout());
    voiding.on(DEADLINE);
    assert_eq!(voiding.on(fault(Call::Void)), parked(Call::Void));
}

#[test]
fn other_content_parks_and_an_abort_still_gets_through_before_the_register() {
    let mut executor = Executor::begin(checkout());
    let parked = Parked { call: Call::Act(STOCK), why: Why::OtherContent };
    let other = Event::Acted(STOCK, ActReply::OtherContent);
    assert_eq!(executor.on(other), Command::Park(parked));
    assert_eq!(executor.known.call(), None);
    executor.ignores(Event::Acted(STOCK, ActReply::Done(Vec::new())));
    assert_eq!(executor.on(DEADLINE), Command::Void(Some(AbortReason::Deadline)));
}

#[test]
fn answers_that_no_rule_allows_park() {
    let parked = |call| Command::Park(Parked { call, why: Why::Contradiction });
    for reply in [ActReply::Rejected(Vec::new()), ActReply::Tombstoned] {
        let mut executor = Executor::begin(cancellation());
        executor.done(GATE);
        assert_eq!(executor.on(Event::Acted(REFUND, reply)), parked(Call::Act(REFUND)));
    }
    let mut executor = Executor::begin(checkout());
    executor.on(DEADLINE);
    assert_eq!(executor.on(Event::Voided(VoidReply::Compensated)), parked(Call::Void));
}

#[test]
fn found_rows_read_as_replies() {
    for found in [Found::Nothing, Found::Done, Found::Compensated, Found::Tombstone] {
        assert_eq!(UndoReply::new(found, b"kept".to_vec()), UndoReply::Settled);
    }
    assert_eq!(UndoReply::new(Found::Purged, Vec::new()), UndoReply::Purged);
    let kept = || b"kept".to_vec();
    assert_eq!(UndoReply::new(Found::Rejected, kept()), UndoReply::Rejected(kept()));
    for found in [Found::Nothing, Found::Tombstone] {
        assert_eq!(VoidReply::new(found, kept()), VoidReply::Tombstone(kept()));
    }
    assert_eq!(VoidReply::new(Found::Done, kept()), VoidReply::Done(kept()));
    assert_eq!(VoidReply::new(Found::Rejected, kept()), VoidReply::Rejected(kept()));
    assert_eq!(VoidReply::new(Found::Compensated, kept()), VoidReply::Compensated);
    assert_eq!(VoidReply::new(Found::Purged, Vec::new()), VoidReply::Purged);
}
