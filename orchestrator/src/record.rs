//! What END records of a saga, and how it is read again: a `Checkout` message without what the journal's row has anyway.

use api::Refusal;
use api::checkout::v1::{Checkout, CheckoutFailure, PlacedOrder, PlacedOrderLine};
use api::order::v1::{ConfirmOrderResponse, FinishCancelResponse, Order};
use prost::Message;
use saga::outcome::{AbortReason, Failure};

/// The reason of a checkout that nobody refused and that was aborted.
pub(crate) const ABORTED: &str = "SAGA_ABORTED";

/// A placed order, from the register's reply.
pub(crate) fn placed(reply: &[u8]) -> Vec<u8> {
    let order = ConfirmOrderResponse::decode(reply).ok().and_then(|reply| reply.order);
    succeeded(order)
}

/// A cancelled order, from the last step's reply.
pub(crate) fn cancelled(reply: &[u8]) -> Vec<u8> {
    let order = FinishCancelResponse::decode(reply).ok().and_then(|reply| reply.order);
    succeeded(order)
}

fn succeeded(order: Option<Order>) -> Vec<u8> {
    Checkout { order: order.map(placed_order), ..Checkout::default() }.encode_to_vec()
}

/// A failure at the step of this name.
pub(crate) fn failed(failure: &Failure, step: &str) -> Vec<u8> {
    let step = step.to_owned();
    let failure = match failure {
        Failure::Rejected { reply, .. } => match Refusal::decode(reply) {
            Ok(refusal) => CheckoutFailure {
                step,
                reason: refusal.reason.as_str().to_owned(),
                message: String::new(),
                metadata: refusal.metadata,
            },
            Err(_) => aborted(step, "UNREADABLE_REFUSAL"),
        },
        Failure::Aborted { reason } => aborted(step, cause(reason)),
    };
    Checkout { failure: Some(failure), ..Checkout::default() }.encode_to_vec()
}

/// A saga that a person closed; `step` is its register.
pub(crate) fn resolved(step: &str) -> Vec<u8> {
    let failure = aborted(step.to_owned(), "RESOLVED");
    Checkout { failure: Some(failure), ..Checkout::default() }.encode_to_vec()
}

fn aborted(step: String, cause: &str) -> CheckoutFailure {
    let metadata = [("cause".to_owned(), cause.to_owned())].into();
    CheckoutFailure { step, reason: ABORTED.to_owned(), message: String::new(), metadata }
}

fn cause(reason: &[u8]) -> &'static str {
    match AbortReason::decode(reason) {
        Some(AbortReason::Deadline) => "DEADLINE_EXCEEDED",
        Some(AbortReason::Operator) => "OPERATOR",
        Some(AbortReason::CannotHeal { .. }) => "PARTICIPANT_REFUSES",
        None => "UNDONE",
    }
}

/// The order as the checkout's client sees it.
pub(crate) fn placed_order(order: Order) -> PlacedOrder {
    let lines = order.lines.into_iter().map(|line| PlacedOrderLine {
        product_id: line.product_id,
        quantity: line.quantity,
        unit_price: line.unit_price,
    });
    PlacedOrder {
        order_id: order.order_id,
        total: order.total,
        discount: order.discount,
        paid: order.paid,
        issued_coupon_id: order.issued_coupon_id,
        created_at: order.created_at,
        lines: lines.collect(),
        cancelled_at: order.cancelled_at,
    }
}

/// The recorded result. None where it does not decode.
pub(crate) fn read(result: &[u8]) -> Option<Checkout> {
    Checkout::decode(result).ok()
}
