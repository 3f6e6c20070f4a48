//! The plans, called: what each step sends and what an end means, from START and from replies that the tests make. No
//! server, no database, no time.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot be set up has failed"
)]

use api::checkout::v1::{Checkout, CheckoutFailure, PlacedOrder, PlacedOrderLine};
use api::coupon::v1::{RedeemCouponPayload, RedeemCouponReply, RestoreCouponPayload};
use api::order::v1::{
    BeginCancelPayload, BeginCancelReply, ConfirmOrderPayload, ConfirmOrderReply, ConfirmedLine,
    FinishCancelPayload, FinishCancelReply, Order, OrderLine, OrderState,
};
use api::product::v1::{
    PricedLine, ReserveStockPayload, ReserveStockReply, RestockProductsPayload,
    RestockProductsReply, StockLine,
};
use api::saga::v1::StepRole;
use api::wallet::v1::{DebitWalletPayload, DebitWalletReply, RefundWalletPayload};
use api::{Reason, Refusal};
use chrono::DateTime;
use orchestrator::kind::{CANCEL, CHECKOUT};
use orchestrator::{CancelPlan, CheckoutPlan};
use participant::{ActReply, Name, SagaId, StepNo, Trace};
use prost::Message;
use prost_types::Timestamp;
use saga::decide::{Command, Event, Known, UndoReply, VoidReply, decide};
use saga::journal::{PlanId, Start};
use saga::outcome::{AbortReason, Failure, Outcome};
use saga::runtime::{Plan, SagaInstance, ToSend, Unreadable};
use saga::shape::Shape;
use std::collections::BTreeSet;
use std::sync::Arc;

const USER: i64 = 7;
const ORDER: i64 = 41;
const COUPON: i64 = 5;
const ISSUED: i64 = 55;
const AT: Timestamp = Timestamp { seconds: 1_700_000_000, nanos: 123_456_000 };
const LATER: Timestamp = Timestamp { seconds: 1_700_000_900, nanos: 0 };

/// What START keeps of a checkout. Sagas of an earlier program have it in the journal, so that it never changes.
#[derive(Clone, PartialEq, Eq, Message)]
struct KeptCheckout {
    #[prost(message, repeated, tag = "1")]
    lines: Vec<KeptLine>,
    #[prost(int64, optional, tag = "2")]
    coupon_id: Option<i64>,
    #[prost(int64, optional, tag = "3")]
    expected_total: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct KeptLine {
    #[prost(int64, tag = "1")]
    product_id: i64,
    #[prost(int64, tag = "2")]
    quantity: i64,
}

/// What START keeps of a cancel.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct KeptCancel {
    #[prost(int64, tag = "1")]
    order_id: i64,
}

fn start(kind: i8, request: Vec<u8>) -> Start {
    let placed_at = DateTime::from_timestamp(AT.seconds, AT.nanos.try_into().unwrap()).unwrap();
    Start {
        saga: SagaId([1; 16]),
        plan: PlanId { kind, version: 1 },
        subject: USER.into(),
        object: ORDER.into(),
        weight: 0,
        request,
        placed_at,
        deadline_at: placed_at,
        trace: Trace::default(),
        request_id: None,
    }
}

/// One saga and what its executor knows.
struct Saga {
    instance: Arc<dyn SagaInstance>,
    known: Known,
}

impl Saga {
    fn of(plan: &dyn Plan, start: &Start) -> Self {
        let instance = plan.instance(start).unwrap();
        let mut saga = Self { instance, known: Known::default() };
        saga.on(Event::Begun);
        saga
    }

    /// Two of product 9 and one of product 3.
    fn checkout(coupon_id: Option<i64>) -> Self {
        let lines = [(9, 2), (3, 1)];
        let lines = lines.map(|(product_id, quantity)| KeptLine { product_id, quantity }).to_vec();
        let request = KeptCheckout { lines, coupon_id, expected_total: Some(2_700) };
        Self::of(&CheckoutPlan, &start(CHECKOUT, request.encode_to_vec()))
    }

    fn cancel() -> Self {
        let request = KeptCancel { order_id: ORDER };
        Self::of(&CancelPlan, &start(CANCEL, request.encode_to_vec()))
    }

    fn on(&mut self, event: Event) -> Command {
        let known = std::mem::take(&mut self.known);
        let (known, command) = decide(self.instance.shape(), known, event);
        self.known = known;
        command
    }

    fn done(&mut self, step: i16, reply: &impl Message) -> Command {
        self.answered(step, reply.encode_to_vec())
    }

    fn answered(&mut self, step: i16, reply: Vec<u8>) -> Command {
        let command = self.on(Event::Acted(StepNo(step), ActReply::Done(reply)));
        assert_ne!(command, Command::Wait, "step {step} was not out");
        command
    }

    fn request(&self, step: i16) -> Result<ToSend, Unreadable> {
        self.instance.request(StepNo(step), &self.known)
    }

    fn sends<M: Message + Default>(&self, step: i16) -> M {
        match self.request(step).unwrap() {
            ToSend::Payload(payload) => M::decode(payload.as_slice()).unwrap(),
            ToSend::Nothing => panic!("step {step} sends nothing"),
        }
    }

    /// Why a step cannot be sent.
    fn unsendable(&self, step: i16) -> String {
        self.request(step).unwrap_err().0
    }

    fn succeeded(&self) -> Result<Checkout, Unreadable> {
        self.instance.succeeded(&self.known).map(|result| read(&result))
    }

    fn failed(&self, failure: &Failure) -> CheckoutFailure {
        let Checkout { order, failure, .. } = read(&self.instance.failed(failure).unwrap());
        assert_eq!(order, None);
        failure.unwrap()
    }
}

fn read(result: &[u8]) -> Checkout {
    Checkout::decode(result).unwrap()
}

/// No message has a field of this type.
fn garbage() -> Vec<u8> {
    vec![0x0f]
}

fn reserved() -> ReserveStockReply {
    // In the participant's order, which is not the request's.
    let priced = |(product_id, quantity, unit_price)| PricedLine {
        product_id,
        quantity,
        unit_price_won: unit_price,
    };
    let lines = [(3, 1, 700), (9, 2, 1_000)].map(priced).to_vec();
    ReserveStockReply { lines, total_won: 2_700, order_id: ORDER }
}

fn redeemed(discount: i64) -> RedeemCouponReply {
    RedeemCouponReply {
        discount_won: discount,
        issued_coupon_id: ISSUED,
        coupon_id: COUPON,
        user_id: USER,
        order_id: ORDER,
    }
}

fn debited(amount: i64) -> DebitWalletReply {
    DebitWalletReply {
        balance_after_won: 1,
        seq: 2,
        user_id: USER,
        amount_won: amount,
        order_id: ORDER,
    }
}

fn order(coupon: bool) -> Order {
    let line = |(product_id, quantity, unit_price)| OrderLine {
        product_id,
        quantity,
        unit_price_won: unit_price,
    };
    let discount = if coupon { 270 } else { 0 };
    Order {
        order_id: ORDER,
        user_id: USER,
        state: OrderState::Confirmed.into(),
        total_won: 2_700,
        discount_won: discount,
        paid_won: 2_700 - discount,
        coupon_id: coupon.then_some(COUPON),
        issued_coupon_id: coupon.then_some(ISSUED),
        lines: [(9, 2, 1_000), (3, 1, 700)].map(line).to_vec(),
        created_at: Some(AT),
        cancelled_at: None,
    }
}

/// The same as a client is shown it.
fn placed(coupon: bool, cancelled_at: Option<Timestamp>) -> Checkout {
    let Order {
        order_id,
        total_won: total,
        discount_won: discount,
        paid_won: paid,
        issued_coupon_id,
        ..
    } = order(coupon);
    let line = |(product_id, quantity, unit_price)| PlacedOrderLine {
        product_id,
        quantity,
        unit_price_won: unit_price,
    };
    let lines = [(9, 2, 1_000), (3, 1, 700)].map(line).to_vec();
    let created_at = Some(AT);
    let order = PlacedOrder {
        order_id,
        total_won: total,
        discount_won: discount,
        paid_won: paid,
        issued_coupon_id,
        created_at,
        lines,
        cancelled_at,
    };
    Checkout { order: Some(order), ..Checkout::default() }
}

fn chain(steps: &[i16]) -> Vec<Vec<StepNo>> {
    Shape::chain(steps.iter().copied().map(StepNo))
}

fn stock(lines: &[(i64, i32)]) -> Vec<StockLine> {
    lines.iter().map(|&(product_id, quantity)| StockLine { product_id, quantity }).collect()
}

fn reserve() -> ReserveStockPayload {
    ReserveStockPayload {
        order_id: ORDER,
        user_id: USER,
        placed_at: Some(AT),
        lines: stock(&[(9, 2), (3, 1)]),
        expected_total_won: Some(2_700),
    }
}

fn debit(amount: i64) -> DebitWalletPayload {
    DebitWalletPayload { order_id: ORDER, user_id: USER, amount_won: amount, placed_at: Some(AT) }
}

fn confirm(coupon: bool) -> ConfirmOrderPayload {
    let line = |(product_id, quantity, unit_price)| ConfirmedLine {
        product_id,
        quantity,
        unit_price_won: unit_price,
    };
    let discount = if coupon { 270 } else { 0 };
    ConfirmOrderPayload {
        order_id: ORDER,
        user_id: USER,
        placed_at: Some(AT),
        lines: [(9, 2, 1_000), (3, 1, 700)].map(line).to_vec(),
        total_won: 2_700,
        discount_won: discount,
        paid_won: 2_700 - discount,
        coupon_id: coupon.then_some(COUPON),
        issued_coupon_id: coupon.then_some(ISSUED),
    }
}

#[test]
fn a_checkout_without_a_coupon_reserves_debits_and_confirms() {
    let mut saga = Saga::checkout(None);
    let shape = Shape { compensatable: chain(&[1, 3]), pivot: StepNo(4), retriable: Vec::new() };
    assert_eq!(*saga.instance.shape(), shape);
    assert_eq!(saga.sends::<ReserveStockPayload>(1), reserve());
    saga.done(1, &reserved());
    assert_eq!(saga.sends::<DebitWalletPayload>(3), debit(2_700));
    saga.done(3, &debited(2_700));
    assert_eq!(saga.sends::<ConfirmOrderPayload>(4), confirm(false));
    let ended = saga.done(4, &ConfirmOrderReply { order: Some(order(false)) });
    assert_eq!(ended, Command::End(Outcome::Succeeded));
    assert_eq!(saga.succeeded().unwrap(), placed(false, None));
}

#[test]
fn a_checkout_with_a_coupon_redeems_it_and_debits_the_rest() {
    let mut saga = Saga::checkout(Some(COUPON));
    let shape = Shape { compensatable: chain(&[1, 2, 3]), pivot: StepNo(4), retriable: Vec::new() };
    assert_eq!(*saga.instance.shape(), shape);
    assert_eq!(saga.sends::<ReserveStockPayload>(1), reserve());
    saga.done(1, &reserved());
    let redeem = RedeemCouponPayload {
        order_id: ORDER,
        user_id: USER,
        coupon_id: COUPON,
        placed_at: Some(AT),
        total_won: 2_700,
    };
    assert_eq!(saga.sends::<RedeemCouponPayload>(2), redeem);
    saga.done(2, &redeemed(270));
    assert_eq!(saga.sends::<DebitWalletPayload>(3), debit(2_430));
    saga.done(3, &debited(2_430));
    assert_eq!(saga.sends::<ConfirmOrderPayload>(4), confirm(true));
    let ended = saga.done(4, &ConfirmOrderReply { order: Some(order(true)) });
    assert_eq!(ended, Command::End(Outcome::Succeeded));
    assert_eq!(saga.succeeded().unwrap(), placed(true, None));
}

#[test]
fn a_coupon_may_pay_for_all() {
    let mut saga = Saga::checkout(Some(COUPON));
    saga.done(1, &reserved());
    saga.done(2, &redeemed(2_700));
    assert_eq!(saga.sends::<DebitWalletPayload>(3), debit(0));
}

#[test]
fn a_checkout_that_was_rejected_tells_the_step_the_reason_and_its_values() {
    let mut saga = Saga::checkout(None);
    saga.done(1, &reserved());
    let refusal = Refusal::new(Reason::InsufficientBalance)
        .with("available_won", 100)
        .with("required_won", 2_700)
        .encode();
    saga.on(Event::Acted(StepNo(3), ActReply::Rejected(refusal)));
    let Command::End(Outcome::Failed(failure)) =
        saga.on(Event::Undone(StepNo(1), UndoReply::Settled))
    else {
        panic!("a rejected saga whose steps are undone has failed")
    };
    let metadata = [("available_won", "100"), ("required_won", "2700")];
    let expected = CheckoutFailure {
        step: "DebitWallet".to_owned(),
        reason: "INSUFFICIENT_BALANCE".to_owned(),
        metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        // Its text and code are made from the reason when it is told.
        ..CheckoutFailure::default()
    };
    assert_eq!(saga.failed(&failure), expected);
}

/// The failure of a saga whose pivot was closed for a reason.
fn aborted(saga: &Saga, reason: Vec<u8>) -> (String, String) {
    let failure = saga.failed(&Failure::Aborted { reason });
    assert_eq!(failure.reason, "SAGA_ABORTED");
    assert_eq!(failure.metadata.len(), 1);
    (failure.step, failure.metadata["cause"].clone())
}

#[test]
fn a_saga_that_was_aborted_tells_the_step_and_the_cause() {
    for (mut saga, pivot, other, name) in [
        (Saga::checkout(Some(COUPON)), "ConfirmOrder", 2, "RedeemCoupon"),
        (Saga::cancel(), "BeginCancel", 1, "BeginCancel"),
    ] {
        let told = |saga: &Saga, reason: AbortReason| aborted(saga, reason.encode());
        let expected = |step: &str, cause: &str| (step.to_owned(), cause.to_owned());
        let deadline = expected(pivot, "DEADLINE_EXCEEDED");
        assert_eq!(told(&saga, AbortReason::Deadline), deadline);
        assert_eq!(told(&saga, AbortReason::Operator), expected(pivot, "OPERATOR"));
        let reason = AbortReason::CannotHeal { step: StepNo(other), code: 7 };
        assert_eq!(told(&saga, reason), expected(name, "PARTICIPANT_REFUSES"));
        // What stands there when another executor was found undoing the saga.
        assert_eq!(aborted(&saga, b"UNDOING".to_vec()), expected(pivot, "UNDONE"));

        // The whole way there.
        saga.on(Event::AbortWanted(AbortReason::Operator));
        let reason = AbortReason::Operator.encode();
        let mut command = saga.on(Event::Voided(VoidReply::Tombstone(reason)));
        while let Command::Call(calls) = &command {
            let [saga::decide::Call::Undo(step)] = calls[..] else { panic!("{calls:?}") };
            command = saga.on(Event::Undone(step, UndoReply::Settled));
        }
        let Command::End(Outcome::Failed(failure)) = command else { panic!("{command:?}") };
        assert_eq!(saga.failed(&failure).metadata["cause"], "OPERATOR");
    }
}

fn cancelled(coupon: bool) -> FinishCancelReply {
    let state = OrderState::Cancelled.into();
    FinishCancelReply { order: Some(Order { state, cancelled_at: Some(LATER), ..order(coupon) }) }
}

/// A cancel that has begun.
fn begun(coupon: bool) -> Saga {
    let mut saga = Saga::cancel();
    let shape = Shape {
        compensatable: Vec::new(),
        pivot: StepNo(1),
        retriable: vec![[2, 3, 4].map(StepNo).to_vec(), vec![StepNo(5)]],
    };
    assert_eq!(*saga.instance.shape(), shape);
    let begin = BeginCancelPayload { order_id: ORDER, user_id: USER };
    assert_eq!(saga.sends::<BeginCancelPayload>(1), begin);
    saga.done(1, &BeginCancelReply { order: Some(order(coupon)) });
    saga
}

fn finished(saga: &mut Saga, coupon: bool) {
    let finish = FinishCancelPayload { order_id: ORDER, cancelled_at: Some(AT) };
    assert_eq!(saga.sends::<FinishCancelPayload>(5), finish);
    assert_eq!(saga.done(5, &cancelled(coupon)), Command::End(Outcome::Succeeded));
    assert_eq!(saga.succeeded().unwrap(), placed(coupon, Some(LATER)));
}

/// What is given back of an order that paid this.
fn gives_back(saga: &mut Saga, paid: i64) {
    let refund = RefundWalletPayload { order_id: ORDER, user_id: USER, amount_won: paid };
    assert_eq!(saga.sends::<RefundWalletPayload>(2), refund);
    let restock = RestockProductsPayload { order_id: ORDER, lines: stock(&[(3, 1), (9, 2)]) };
    assert_eq!(saga.sends::<RestockProductsPayload>(3), restock);
    // No step of a stage reads what another one replied.
    saga.answered(2, garbage());
    saga.done(3, &RestockProductsReply { units: 3 });
}

#[test]
fn a_cancel_without_a_coupon_sends_nothing_for_it() {
    let mut saga = begun(false);
    assert_eq!(saga.request(4), Ok(ToSend::Nothing));
    assert!(!saga.instance.applies(StepNo(4), &saga.known));
    gives_back(&mut saga, 2_700);
    saga.answered(4, Vec::new());
    finished(&mut saga, false);
}

#[test]
fn a_cancel_with_a_coupon_restores_it() {
    let mut saga = begun(true);
    let restore =
        RestoreCouponPayload { order_id: ORDER, coupon_id: COUPON, issued_coupon_id: ISSUED };
    assert_eq!(saga.sends::<RestoreCouponPayload>(4), restore);
    assert!(saga.instance.applies(StepNo(4), &saga.known));
    gives_back(&mut saga, 2_430);
    saga.answered(4, Vec::new());
    finished(&mut saga, true);
}

#[test]
fn every_executor_sends_the_same_bytes() {
    let walk = || {
        let mut saga = Saga::checkout(Some(COUPON));
        let mut sent = vec![saga.request(1)];
        saga.done(1, &reserved());
        sent.push(saga.request(2));
        saga.done(2, &redeemed(270));
        sent.push(saga.request(3));
        saga.done(3, &debited(2_430));
        sent.push(saga.request(4));
        sent
    };
    assert_eq!(walk(), walk());
}

#[test]
fn a_request_that_does_not_decode_is_unreadable() {
    let plans: [(&dyn Plan, i8); 2] = [(&CheckoutPlan, CHECKOUT), (&CancelPlan, CANCEL)];
    for (plan, kind) in plans {
        assert!(plan.instance(&start(kind, garbage())).is_err(), "{:?}", plan.id());
    }
}

#[test]
fn a_reply_that_does_not_decode_is_unreadable() {
    let mut saga = Saga::checkout(Some(COUPON));
    saga.answered(1, garbage());
    assert!(saga.unsendable(2).contains("the reply of step 1 does not decode"));

    let mut saga = Saga::checkout(None);
    saga.answered(1, garbage());
    assert!(saga.unsendable(3).contains("the reply of step 1 does not decode"));

    let mut saga = Saga::checkout(Some(COUPON));
    saga.done(1, &reserved());
    saga.answered(2, garbage());
    assert!(saga.unsendable(3).contains("the reply of step 2 does not decode"));
    // Nobody reads what the debit replied, and so nobody stops at it.
    let mut saga = Saga::checkout(None);
    saga.done(1, &reserved());
    saga.answered(3, garbage());
    assert_eq!(saga.sends::<ConfirmOrderPayload>(4), confirm(false));

    saga.answered(4, garbage());
    let unreadable = saga.succeeded().unwrap_err().0;
    assert!(unreadable.contains("the reply of step 4 does not decode"), "{unreadable}");

    let mut saga = Saga::cancel();
    saga.answered(1, garbage());
    for step in [2, 3, 4] {
        assert!(saga.unsendable(step).contains("the reply of step 1 does not decode"));
        // It cannot be told that it does not apply, so that it is due.
        assert!(saga.instance.applies(StepNo(step), &saga.known));
    }
    let mut saga = begun(false);
    gives_back(&mut saga, 2_700);
    saga.answered(4, Vec::new());
    saga.answered(5, garbage());
    let unreadable = saga.succeeded().unwrap_err().0;
    assert!(unreadable.contains("the reply of step 5 does not decode"), "{unreadable}");
}

#[test]
fn a_reply_that_is_missing_is_unreadable() {
    let saga = Saga::checkout(Some(COUPON));
    for step in [2, 3, 4] {
        assert!(saga.unsendable(step).contains("step 1 has no reply"), "{step}");
    }
    assert!(saga.succeeded().is_err());
    assert!(Saga::cancel().succeeded().is_err());
}

#[test]
fn a_price_that_is_missing_is_unreadable() {
    let mut saga = Saga::checkout(None);
    let mut reply = reserved();
    reply.lines.remove(0);
    saga.done(1, &reply);
    saga.done(3, &debited(2_700));
    assert!(saga.unsendable(4).contains("no price of product 3"));
}

#[test]
fn a_discount_above_the_total_is_unreadable() {
    for discount in [2_701, i64::MIN, i64::MAX] {
        let mut saga = Saga::checkout(Some(COUPON));
        saga.done(1, &reserved());
        saga.done(2, &redeemed(discount));
        assert!(saga.unsendable(3).contains("the discount exceeds the total"), "{discount}");
    }
}

#[test]
fn a_reply_that_names_no_order_is_unreadable() {
    let mut saga = Saga::checkout(None);
    saga.done(1, &reserved());
    saga.done(3, &debited(2_700));
    saga.done(4, &ConfirmOrderReply { order: None });
    assert!(saga.succeeded().unwrap_err().0.contains("names no order"));

    let mut saga = Saga::cancel();
    saga.done(1, &BeginCancelReply { order: None });
    for step in [2, 3, 4] {
        assert!(saga.unsendable(step).contains("names no order"), "{step}");
    }
    let mut saga = begun(false);
    gives_back(&mut saga, 2_700);
    saga.answered(4, Vec::new());
    saga.done(5, &FinishCancelReply { order: None });
    assert!(saga.succeeded().unwrap_err().0.contains("names no order"));
}

#[test]
fn a_start_that_names_no_user_or_no_order_is_unreadable() {
    let good = || start(CHECKOUT, KeptCheckout::default().encode_to_vec());
    assert!(CheckoutPlan.instance(&good()).is_ok());
    for name in ["", "kim", "007"] {
        let name = || Name::new(name).unwrap();
        for bad in [Start { subject: name(), ..good() }, Start { object: name(), ..good() }] {
            assert!(CheckoutPlan.instance(&bad).is_err(), "{bad:?}");
            assert!(CancelPlan.instance(&bad).is_err(), "{bad:?}");
        }
    }
}

#[test]
fn a_rejection_that_does_not_decode_is_unreadable() {
    for (saga, step) in [(Saga::checkout(None), 1), (Saga::cancel(), 1)] {
        for reply in [garbage(), Vec::new()] {
            let failure = Failure::Rejected { step: StepNo(step), reply };
            assert!(saga.instance.failed(&failure).is_err());
        }
    }
}

#[test]
fn a_step_that_the_plan_has_not_is_unreadable() {
    for saga in [Saga::checkout(None), Saga::cancel()] {
        assert!(saga.request(99).is_err());
        assert!(saga.instance.info(StepNo(99)).is_none());
    }
    assert!(Saga::checkout(None).unsendable(2).contains("no coupon"));
}

#[test]
fn every_step_is_an_action_of_the_contract_with_the_role_of_its_place() {
    let plans: [(&dyn Plan, Saga); 2] =
        [(&CheckoutPlan, Saga::checkout(Some(COUPON))), (&CancelPlan, Saga::cancel())];
    for (plan, saga) in plans {
        let shape = saga.instance.shape();
        let placed: BTreeSet<StepNo> = shape.steps().collect();
        let known: BTreeSet<StepNo> = plan.steps().iter().map(|info| info.step).collect();
        // The fullest saga of the plan takes every step.
        assert_eq!(placed, known, "{:?}", plan.id());
        assert_eq!(known.len(), plan.steps().len(), "{:?}", plan.id());
        for info in plan.steps() {
            let name = &info.name;
            let mut participants = api::participants::ALL.iter();
            let participant = participants.find(|it| it.name == info.participant);
            let participant = participant.unwrap_or_else(|| panic!("whose is {name}?"));
            let action = participant.actions.iter().find(|action| action.method == info.method);
            let action = action.unwrap_or_else(|| panic!("no action {}", info.method));
            let role = if shape.compensatable.iter().flatten().any(|step| *step == info.step) {
                StepRole::Compensatable
            } else if info.step == shape.pivot {
                StepRole::Pivot
            } else {
                StepRole::Retriable
            };
            assert_eq!(action.role, role, "{name}");
            assert_eq!(action.name(), name, "{name}");
            // What comes after the pivot cannot be refused.
            assert!(role != StepRole::Retriable || action.rejections.is_empty(), "{name}");
        }
    }
}
