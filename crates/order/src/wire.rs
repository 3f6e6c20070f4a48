//! Orders in the words of the contract: messages, refusals, events.

use crate::domain::{Cost, Inconsistent, Line, Order, Placement, Refused, State, UsedCoupon, Won};
use api::order::v1::{
    self, ConfirmOrderPayload, ConfirmedLine, OrderCancelled, OrderConfirmed, OrderLine, OrderState,
};
use api::{Reason, Refusal};
use chrono::{DateTime, SubsecRound, Utc};
use events::Event;
use participant::{Moment, SagaId};
use prost::Name;
use prost_types::Timestamp;

impl From<&Order> for v1::Order {
    fn from(order: &Order) -> Self {
        let cancelled_at = match order.state {
            State::Cancelled { at, .. } => Some(timestamp(at)),
            State::Confirmed | State::Cancelling { .. } => None,
        };
        Self {
            order_id: order.id,
            user_id: order.user_id,
            state: OrderState::from(order.state).into(),
            total_won: order.cost.total().get(),
            discount_won: order.cost.discount().get(),
            paid_won: order.cost.paid().get(),
            coupon_id: order.coupon.map(|coupon| coupon.coupon_id),
            issued_coupon_id: order.coupon.map(|coupon| coupon.issued_coupon_id),
            lines: lines(order),
            created_at: Some(timestamp(order.placed_at)),
            cancelled_at,
        }
    }
}

impl From<State> for OrderState {
    fn from(state: State) -> Self {
        match state {
            State::Confirmed => Self::Confirmed,
            State::Cancelling { .. } => Self::Cancelling,
            State::Cancelled { .. } => Self::Cancelled,
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound { order_id } => {
                Self::new(Reason::OrderNotFound).with("order_id", order_id)
            }
            Refused::NotCancellable { order_id, state } => {
                let refusal = Self::new(Reason::OrderNotCancellable)
                    .with("order_id", order_id)
                    .with("state", state_name(state));
                match state.cancel() {
                    Some(saga) => refusal.with("saga_id", saga),
                    None => refusal,
                }
            }
        }
    }
}

impl From<Inconsistent> for Refusal {
    fn from(inconsistent: Inconsistent) -> Self {
        match inconsistent {
            Inconsistent::Lines { product_id } => {
                Self::invalid_field("lines", format!("must name product {product_id} once"))
            }
            Inconsistent::Quantity { product_id } => {
                Self::invalid_field("lines", format!("must have units of product {product_id}"))
            }
            Inconsistent::Total => Self::invalid_field("total_won", "must be the sum of the lines"),
            Inconsistent::Discount => {
                Self::invalid_field("discount_won", "must be at most the total")
            }
            Inconsistent::Paid => {
                Self::invalid_field("paid_won", "must be the total less the discount")
            }
        }
    }
}

/// The order that a checkout asks for.
///
/// # Errors
/// `INVALID_FIELD`, where its parts contradict each other.
pub(crate) fn placed(payload: &ConfirmOrderPayload, saga: SagaId) -> Result<Order, Refusal> {
    let lines: Result<Vec<Line>, Refusal> = payload.lines.iter().map(line).collect();
    let coupon = match (payload.coupon_id, payload.issued_coupon_id) {
        (None, None) => None,
        (Some(coupon_id), Some(issued_coupon_id)) => {
            Some(UsedCoupon { coupon_id, issued_coupon_id })
        }
        _ => return Err(Refusal::invalid_field("issued_coupon_id", "must go with coupon_id")),
    };
    let placement = Placement {
        id: payload.order_id,
        user_id: payload.user_id,
        saga: saga.into(),
        lines: lines?,
        cost: Cost::new(
            won("total_won", payload.total_won)?,
            won("discount_won", payload.discount_won)?,
            won("paid_won", payload.paid_won)?,
        )?,
        coupon,
        placed_at: instant("placed_at", payload.placed_at.as_ref())?,
    };
    Ok(Order::place(placement)?)
}

/// A required instant, cut to the microseconds that are stored.
///
/// # Errors
/// `INVALID_FIELD` naming the field.
pub(crate) fn instant(field: &str, at: Option<&Timestamp>) -> Result<DateTime<Utc>, Refusal> {
    at.and_then(|at| DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?))
        .map(|at| at.trunc_subsecs(6))
        .ok_or_else(|| Refusal::invalid_field(field, "must be an instant"))
}

/// The event of a new order.
pub(crate) fn confirmed(order: &Order, moment: &Moment<'_>) -> Event {
    let payload = OrderConfirmed {
        order_id: order.id,
        user_id: order.user_id,
        lines: lines(order),
        total_won: order.cost.total().get(),
        discount_won: order.cost.discount().get(),
        paid_won: order.cost.paid().get(),
        placed_at: Some(timestamp(order.placed_at)),
    };
    event(order, &payload, moment)
}

/// The event of an order whose cancel was asked for at `cancelled_at` and is finished.
pub(crate) fn cancelled(order: &Order, cancelled_at: DateTime<Utc>, moment: &Moment<'_>) -> Event {
    let payload = OrderCancelled {
        order_id: order.id,
        user_id: order.user_id,
        product_ids: order.lines.iter().map(|line| line.product_id).collect(),
        placed_at: Some(timestamp(order.placed_at)),
        cancelled_at: Some(timestamp(cancelled_at)),
    };
    event(order, &payload, moment)
}

fn event<P: Name>(order: &Order, payload: &P, moment: &Moment<'_>) -> Event {
    Event {
        event_type: P::full_name(),
        aggregate_kind: "order",
        aggregate_id: order.id,
        version: order.version,
        occurred_at: moment.at,
        trace_id: moment.trace.trace_id.clone(),
        traceparent: moment.trace.traceparent.clone(),
        payload: payload.encode_to_vec(),
    }
}

fn lines(order: &Order) -> Vec<OrderLine> {
    let line = |line: &Line| OrderLine {
        product_id: line.product_id,
        quantity: line.quantity,
        unit_price_won: line.unit_price.get(),
    };
    order.lines.iter().map(line).collect()
}

fn line(line: &ConfirmedLine) -> Result<Line, Refusal> {
    let unit_price = won("lines.unit_price_won", line.unit_price_won)?;
    Ok(Line { product_id: line.product_id, quantity: line.quantity, unit_price })
}

fn won(field: &str, amount: i64) -> Result<Won, Refusal> {
    Won::new(amount).ok_or_else(|| Refusal::invalid_field(field, "must be 0 or more"))
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Confirmed => "CONFIRMED",
        State::Cancelling { .. } => "CANCELLING",
        State::Cancelled { .. } => "CANCELLED",
    }
}

fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: at.timestamp(),
        nanos: i32::try_from(at.timestamp_subsec_nanos()).unwrap_or_default(),
    }
}
