//! What the order's schema says of one saga: its pivots, the order that it placed, the order that it cancelled.

use crate::files::Filed;
use crate::invariant::{Invariant, ORDER_STEPS};
use crate::steps::{SagaRow, Standing, StepColumns};
use api::order::v1::{self, BeginCancelReply, ConfirmOrderReply, FinishCancelReply};
use chrono::NaiveDateTime;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Datetime, Nullable};
use prost_types::Timestamp;

/// Barrier rows, the orders of sagas with their lines, and the same once more under the sagas that cancelled them. What
/// `part` says: 1 and 2 a placed order and its line, 3 and 4 a cancelled order and its line.
pub(crate) const BY_SAGA: &str = "SELECT saga_id, 1 AS is_step, step, state, reply, 0 AS part, \
    0 AS order_id, 0 AS user_id, 0 AS total, 0 AS discount, 0 AS paid, NULL AS coupon_id, \
    NULL AS issued_coupon_id, NULL AS placed_at, NULL AS cancelled_at, 0 AS line, \
    0 AS product_id, 0 AS quantity, 0 AS unit_price FROM saga_op \
    UNION ALL SELECT saga_id, 0, 0, state, X'', 1, id, user_id, total, discount, paid, coupon_id, \
    issued_coupon_id, placed_at, cancelled_at, 0, 0, 0, 0 FROM orders \
    UNION ALL SELECT o.saga_id, 0, 0, 0, X'', 2, o.id, 0, 0, 0, 0, NULL, NULL, NULL, NULL, \
    l.line, l.product_id, l.quantity, l.unit_price \
    FROM orders o JOIN order_line l ON l.order_id = o.id \
    UNION ALL SELECT cancel_saga_id, 0, 0, state, X'', 3, id, user_id, total, discount, paid, \
    coupon_id, issued_coupon_id, placed_at, cancelled_at, 0, 0, 0, 0 FROM orders \
    WHERE cancel_saga_id IS NOT NULL \
    UNION ALL SELECT o.cancel_saga_id, 0, 0, 0, X'', 4, o.id, 0, 0, 0, 0, NULL, NULL, NULL, NULL, \
    l.line, l.product_id, l.quantity, l.unit_price \
    FROM orders o JOIN order_line l ON l.order_id = o.id WHERE o.cancel_saga_id IS NOT NULL \
    ORDER BY saga_id, is_step DESC, step, part, order_id, line";

/// A row of [`BY_SAGA`].
#[derive(QueryableByName)]
pub(crate) struct Row {
    #[diesel(embed)]
    columns: StepColumns,
    #[diesel(sql_type = BigInt)]
    part: i64,
    #[diesel(sql_type = BigInt)]
    order_id: i64,
    #[diesel(sql_type = BigInt)]
    user_id: i64,
    #[diesel(sql_type = BigInt)]
    total: i64,
    #[diesel(sql_type = BigInt)]
    discount: i64,
    #[diesel(sql_type = BigInt)]
    paid: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    coupon_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    issued_coupon_id: Option<i64>,
    #[diesel(sql_type = Nullable<Datetime>)]
    placed_at: Option<NaiveDateTime>,
    #[diesel(sql_type = Nullable<Datetime>)]
    cancelled_at: Option<NaiveDateTime>,
    #[diesel(sql_type = BigInt)]
    product_id: i64,
    #[diesel(sql_type = BigInt)]
    quantity: i64,
    #[diesel(sql_type = BigInt)]
    unit_price: i64,
}

impl SagaRow for Row {
    fn columns(&self) -> &StepColumns {
        &self.columns
    }
}

/// All that the order's schema says of one saga. An order is in the words of the contract.
#[derive(Default)]
pub(crate) struct File {
    pub(crate) confirm: Standing<ConfirmOrderReply>,
    pub(crate) begin_cancel: Standing<BeginCancelReply>,
    pub(crate) finish_cancel: Standing<FinishCancelReply>,
    /// The order that the saga placed.
    pub(crate) placed: Option<v1::Order>,
    /// The order that the saga cancels.
    pub(crate) cancelled: Option<v1::Order>,
}

impl File {
    /// Whether no pivot of the saga is done.
    pub(crate) fn decided_nothing(&self) -> bool {
        self.confirm.done().is_none() && self.begin_cancel.done().is_none() && self.placed.is_none()
    }
}

impl Filed for File {
    type Row = Row;
    const INVARIANT: Invariant = ORDER_STEPS;

    fn sort(rows: Vec<Row>) -> Option<Self> {
        let mut file = Self::default();
        for row in rows {
            match (row.step(), row.part) {
                (Some(step), _) if step.number() == 4 => file.confirm = step.standing()?,
                (Some(step), _) if step.number() == 1 => file.begin_cancel = step.standing()?,
                (Some(step), _) if step.number() == 5 => file.finish_cancel = step.standing()?,
                (None, 1) if file.placed.is_none() => file.placed = Some(row.order()),
                (None, 2) => file.placed.as_mut()?.lines.push(row.line()),
                (None, 3) if file.cancelled.is_none() => file.cancelled = Some(row.order()),
                (None, 4) => file.cancelled.as_mut()?.lines.push(row.line()),
                _ => return None,
            }
        }
        Some(file)
    }

    fn has_steps(&self) -> bool {
        let absent = self.confirm.is_absent()
            && self.begin_cancel.is_absent()
            && self.finish_cancel.is_absent();
        !absent
    }

    fn agrees(&self) -> bool {
        let placed = match (&self.confirm, &self.placed) {
            (Standing::Done(told), Some(order)) => {
                told.order.as_ref().is_some_and(|told| same(told, order, v1::OrderState::Confirmed))
            }
            (Standing::Absent | Standing::Tombstone, None) => true,
            _ => false,
        };
        let cancelled = match (&self.begin_cancel, &self.finish_cancel, &self.cancelled) {
            (Standing::Done(begun), Standing::Absent, Some(order)) => {
                order.state() == v1::OrderState::Cancelling && begins(begun, order)
            }
            (Standing::Done(begun), Standing::Done(finished), Some(order)) => {
                order.state() == v1::OrderState::Cancelled
                    && begins(begun, order)
                    && finished.order.as_ref() == Some(order)
            }
            (
                Standing::Absent | Standing::Rejected(_) | Standing::Tombstone,
                Standing::Absent,
                None,
            ) => true,
            _ => false,
        };
        placed && cancelled
    }
}

fn begins(begun: &BeginCancelReply, order: &v1::Order) -> bool {
    begun.order.as_ref().is_some_and(|told| same(told, order, v1::OrderState::Cancelling))
}

/// Whether an order is the one that was told when it was in `state`.
fn same(told: &v1::Order, order: &v1::Order, state: v1::OrderState) -> bool {
    let before = v1::Order { state: state.into(), cancelled_at: None, ..order.clone() };
    *told == before
}

impl Row {
    fn order(&self) -> v1::Order {
        // The codes of the column are the numbers of the contract.
        let state = i32::try_from(self.columns.state()).unwrap_or_default();
        v1::Order {
            order_id: self.order_id,
            user_id: self.user_id,
            state,
            total_won: self.total,
            discount_won: self.discount,
            paid_won: self.paid,
            coupon_id: self.coupon_id,
            issued_coupon_id: self.issued_coupon_id,
            lines: Vec::new(),
            created_at: self.placed_at.map(timestamp),
            cancelled_at: self.cancelled_at.map(timestamp),
        }
    }

    fn line(&self) -> v1::OrderLine {
        v1::OrderLine {
            product_id: self.product_id,
            // No order has a negative quantity: one that does not fit is like none.
            quantity: i32::try_from(self.quantity).unwrap_or(-1),
            unit_price_won: self.unit_price,
        }
    }
}

fn timestamp(at: NaiveDateTime) -> Timestamp {
    let at = at.and_utc();
    let nanos = i32::try_from(at.timestamp_subsec_nanos()).unwrap_or_default();
    Timestamp { seconds: at.timestamp(), nanos }
}
