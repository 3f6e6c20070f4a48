//! What END records of a saga, and how it is read again: a `Checkout` message without what the journal's row has anyway, and
//! without what a reason implies: its code and its text.

use api::checkout::v1::{Checkout, CheckoutFailure, PlacedOrder, PlacedOrderLine};
use api::order::v1::Order;
use participant::StepNo;
use prost::Message;
use saga::decide::Known;
use saga::outcome::{Failure, cause};
use saga::runtime::{Unreadable, rejection};

/// The reason of a checkout that nobody refused and that was aborted.
pub(crate) const ABORTED: &str = "SAGA_ABORTED";

/// The recorded reply of a step that is done.
pub(crate) fn reply<R: Message + Default>(known: &Known, step: StepNo) -> Result<R, Unreadable> {
    let reply = known.reply(step);
    let reply = reply.ok_or_else(|| Unreadable(format!("step {step} has no reply")))?;
    R::decode(reply)
        .map_err(|error| Unreadable(format!("the reply of step {step} does not decode: {error}")))
}

/// A success, with the order that the last reply names.
pub(crate) fn succeeded(order: Option<Order>) -> Result<Vec<u8>, Unreadable> {
    let order = order.ok_or_else(|| Unreadable("the last reply names no order".to_owned()))?;
    Ok(Checkout { order: Some(placed_order(order)), ..Checkout::default() }.encode_to_vec())
}

/// A failure at the step of this name.
pub(crate) fn failed(failure: &Failure, step: &str) -> Result<Vec<u8>, Unreadable> {
    let failure = match failure {
        Failure::Rejected { step: number, reply } => {
            // Its reason may be one of a newer participant that this program does not know: it is recorded as it is.
            let rejection = rejection(*number, reply)?;
            CheckoutFailure {
                step: step.to_owned(),
                reason: rejection.reason,
                metadata: rejection.metadata,
                ..CheckoutFailure::default()
            }
        }
        Failure::Aborted { reason } => aborted(step.to_owned(), cause(reason)),
    };
    Ok(Checkout { failure: Some(failure), ..Checkout::default() }.encode_to_vec())
}

fn aborted(step: String, cause: &str) -> CheckoutFailure {
    let metadata = [("cause".to_owned(), cause.to_owned())].into();
    let reason = ABORTED.to_owned();
    CheckoutFailure { step, reason, metadata, ..CheckoutFailure::default() }
}

/// The order as the checkout's client sees it.
pub(crate) fn placed_order(order: Order) -> PlacedOrder {
    let lines = order.lines.into_iter().map(|line| PlacedOrderLine {
        product_id: line.product_id,
        quantity: line.quantity,
        unit_price_won: line.unit_price_won,
    });
    PlacedOrder {
        order_id: order.order_id,
        total_won: order.total_won,
        discount_won: order.discount_won,
        paid_won: order.paid_won,
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
