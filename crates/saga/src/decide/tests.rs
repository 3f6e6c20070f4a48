//! The main paths, one event at a time.

use participant::barrier::Found;

use super::*;

const STOCK: StepNo = StepNo(10);
const COUPON: StepNo = StepNo(20);
const DEBIT: StepNo = StepNo(30);
const ORDER: StepNo = StepNo(40);
const MAIL: StepNo = StepNo(50);
const SHIP: StepNo = StepNo(60);
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
        let first = executor.shape.stages().next().unwrap().to_vec();
        assert_eq!(executor.on(Event::Begun), acts(&first));
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
    Shape { compensatable: Shape::chain([STOCK, COUPON]), pivot: ORDER, retriable: Vec::new() }
}

fn cancellation() -> Shape {
    Shape { compensatable: Vec::new(), pivot: GATE, retriable: Shape::chain([REFUND, CLOSE]) }
}

/// A stage of two steps, another one, the pivot, and a stage of two.
fn staged() -> Shape {
    let before = vec![vec![STOCK, COUPON], vec![DEBIT]];
    Shape { compensatable: before, pivot: ORDER, retriable: vec![vec![MAIL, SHIP]] }
}

fn acts(steps: &[StepNo]) -> Command {
    Command::Call(steps.iter().copied().map(Call::Act).collect())
}

fn act(step: StepNo) -> Command {
    acts(&[step])
}

fn undo(step: StepNo) -> Command {
    Command::Call(vec![Call::Undo(step)])
}

fn void(reason: Option<AbortReason>) -> Command {
    Command::Call(vec![Call::Void(reason)])
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
    assert_eq!(Known::default().calls(), []);
}

#[test]
fn a_checkout_whose_steps_are_all_done_succeeds_at_its_register() {
    let mut executor = Executor::begin(checkout());
    assert_eq!(executor.done(STOCK), act(COUPON));
    assert_eq!(executor.known.reply(STOCK), Some(reply_of(STOCK).as_slice()));
    assert_eq!(executor.done(COUPON), act(ORDER));
    assert!(!executor.known.is_past_pivot(&executor.shape));
    assert_eq!(executor.done(ORDER), Command::End(Outcome::Succeeded));
    assert_eq!(executor.known.reply(ORDER), Some(reply_of(ORDER).as_slice()));
}

#[test]
fn a_step_that_is_not_in_the_shape_is_never_asked() {
    let shape = Shape { compensatable: Shape::chain([STOCK]), pivot: ORDER, retriable: Vec::new() };
    let mut executor = Executor::begin(shape);
    assert_eq!(executor.done(STOCK), act(ORDER));
}

#[test]
fn a_rejection_compensates_the_steps_before_it_and_voids_nothing() {
    let mut executor = Executor::begin(checkout());
    executor.done(STOCK);
    assert_eq!(executor.on(rejected(COUPON)), undo(STOCK));
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
    assert_eq!(executor.on(DEADLINE), void(Some(AbortReason::Deadline)));
    assert_eq!(executor.on(voided(AbortReason::Deadline)), undo(COUPON));
    assert_eq!(executor.settled(COUPON), undo(STOCK));
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
    assert_eq!(executor.on(found), undo(STOCK));
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
        assert_eq!(executor.on(tombstoned), void(None), "{met}");
        executor.ignores(DEADLINE);
        assert_eq!(executor.on(voided(AbortReason::Operator)), undo(COUPON));
        assert_eq!(executor.settled(COUPON), undo(STOCK));
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
    assert_eq!(executor.done(GATE), act(REFUND));
    assert_eq!(executor.done(REFUND), act(CLOSE));
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
    assert_eq!(executor.on(done), act(REFUND));
    executor.ignores(DEADLINE);
}

#[test]
fn steps_after_a_register_in_the_middle_get_the_replies_they_are_built_from() {
    let shape = Shape { retriable: Shape::chain([StepNo(50)]), ..checkout() };
    let mut executor = Executor::begin(shape);
    executor.on(DEADLINE);
    let done = Event::Voided(VoidReply::Done(reply_of(ORDER)));
    assert_eq!(executor.on(done), act(STOCK));
    executor.ignores(DEADLINE);
    assert_eq!(executor.done(STOCK), act(COUPON));
    assert_eq!(executor.done(COUPON), act(StepNo(50)));
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
    assert_eq!(executor.clone().on(fault(STOCK)), void(Some(reason(STOCK))));
    executor.done(STOCK);
    executor.done(COUPON);
    assert_eq!(executor.on(fault(ORDER)), void(Some(reason(ORDER))));
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
    let void = Call::Void(Some(AbortReason::Deadline));
    assert_eq!(voiding.on(fault(void)), parked(void));
}

#[test]
fn other_content_parks_and_an_abort_still_gets_through_before_the_register() {
    let mut executor = Executor::begin(checkout());
    let parked = Parked { call: Call::Act(STOCK), why: Why::OtherContent };
    let other = Event::Acted(STOCK, ActReply::OtherContent);
    assert_eq!(executor.on(other), Command::Park(parked));
    assert_eq!(executor.known.calls(), []);
    executor.ignores(Event::Acted(STOCK, ActReply::Done(Vec::new())));
    assert_eq!(executor.on(DEADLINE), void(Some(AbortReason::Deadline)));
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
    let void = Call::Void(Some(AbortReason::Deadline));
    assert_eq!(executor.on(Event::Voided(VoidReply::Compensated)), parked(void));
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

#[test]
fn a_stage_is_sent_at_once_and_the_next_one_when_all_of_it_is_done() {
    for [first, second] in [[STOCK, COUPON], [COUPON, STOCK]] {
        let mut executor = Executor::begin(staged());
        assert_eq!(executor.done(first), act(second));
        executor.ignores(Event::Acted(first, ActReply::Done(Vec::new())));
        assert_eq!(executor.done(second), act(DEBIT));
        assert_eq!(executor.done(DEBIT), act(ORDER));
        assert_eq!(executor.done(ORDER), acts(&[MAIL, SHIP]));
        assert_eq!(executor.done(SHIP), act(MAIL));
        assert_eq!(executor.done(MAIL), Command::End(Outcome::Succeeded));
    }
}

#[test]
fn a_rejection_compensates_the_other_steps_of_its_stage_sent_or_not_and_then_those_before() {
    let mut executor = Executor::begin(staged());
    assert_eq!(executor.on(rejected(COUPON)), undo(STOCK));
    executor.ignores(Event::Acted(STOCK, ActReply::Done(Vec::new())));
    assert_eq!(executor.settled(STOCK), fails_rejected(COUPON));

    let mut later = Executor::begin(staged());
    later.done(STOCK);
    later.done(COUPON);
    let both = Command::Call(vec![Call::Undo(STOCK), Call::Undo(COUPON)]);
    assert_eq!(later.on(rejected(DEBIT)), both);
    assert_eq!(later.settled(COUPON), undo(STOCK));
    assert_eq!(later.settled(STOCK), fails_rejected(DEBIT));
}

#[test]
fn of_two_rejections_in_a_stage_the_lowest_step_is_the_reason_whichever_came_first() {
    for [first, second] in [[STOCK, COUPON], [COUPON, STOCK]] {
        let mut executor = Executor::begin(staged());
        assert_eq!(executor.on(rejected(first)), undo(second));
        let found = Event::Undone(second, UndoReply::Rejected(b"no".to_vec()));
        assert_eq!(executor.on(found), fails_rejected(STOCK));
    }
}

#[test]
fn an_abort_compensates_the_stages_from_the_latest_to_the_first() {
    let mut executor = Executor::begin(staged());
    executor.done(STOCK);
    assert_eq!(executor.on(DEADLINE), void(Some(AbortReason::Deadline)));
    assert_eq!(executor.on(voided(AbortReason::Deadline)), undo(DEBIT));
    let both = Command::Call(vec![Call::Undo(STOCK), Call::Undo(COUPON)]);
    assert_eq!(executor.settled(DEBIT), both);
    executor.settled(STOCK);
    assert_eq!(executor.settled(COUPON), fails_aborted(AbortReason::Deadline));
}

#[test]
fn a_step_that_cannot_heal_parks_the_saga_when_the_others_of_its_stage_have_answered() {
    let fault = |call| Event::CannotHeal { call, code: 7 };
    let parked = |call| Command::Park(Parked { call, why: Why::CannotHeal { code: 7 } });

    let mut forward = Executor::begin(staged());
    for step in [STOCK, COUPON, DEBIT, ORDER] {
        forward.done(step);
    }
    assert_eq!(forward.on(fault(Call::Act(MAIL))), act(SHIP));
    assert_eq!(forward.clone().done(SHIP), parked(Call::Act(MAIL)));
    assert_eq!(forward.on(fault(Call::Act(SHIP))), parked(Call::Act(MAIL)));

    let mut back = Executor::begin(staged());
    back.on(DEADLINE);
    back.on(voided(AbortReason::Deadline));
    back.settled(DEBIT);
    assert_eq!(back.on(fault(Call::Undo(COUPON))), undo(STOCK));
    assert_eq!(back.settled(STOCK), parked(Call::Undo(COUPON)));
}
