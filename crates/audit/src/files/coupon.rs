//! What the coupon's schema says of one saga: its steps alone, for coupons do not name sagas.

use crate::files::Filed;
use crate::invariant::{COUPON_STEPS, Invariant};
use crate::steps::{SagaRow, Standing, StepColumns};
use api::coupon::v1::{RedeemCouponReply, RestoreCouponReply};
use diesel::QueryableByName;

/// Barrier rows, by saga.
pub(crate) const BY_SAGA: &str =
    "SELECT saga_id, 1 AS is_step, step, state, reply FROM saga_op ORDER BY saga_id, step";

/// A row of [`BY_SAGA`].
#[derive(QueryableByName)]
pub(crate) struct Row {
    #[diesel(embed)]
    columns: StepColumns,
}

impl SagaRow for Row {
    fn columns(&self) -> &StepColumns {
        &self.columns
    }
}

/// All that the coupon's schema says of one saga.
#[derive(Default)]
pub(crate) struct File {
    pub(crate) redeem: Standing<RedeemCouponReply>,
    pub(crate) restore: Standing<RestoreCouponReply>,
}

impl Filed for File {
    type Row = Row;
    const INVARIANT: Invariant = COUPON_STEPS;

    fn sort(rows: Vec<Row>) -> Option<Self> {
        let mut file = Self::default();
        for row in rows {
            match row.columns.number() {
                2 => file.redeem = row.columns.standing()?,
                4 => file.restore = row.columns.standing()?,
                _ => return None,
            }
        }
        Some(file)
    }

    fn has_steps(&self) -> bool {
        true
    }

    fn agrees(&self) -> bool {
        // Restoring can neither be refused nor undone.
        matches!(self.restore, Standing::Done(_) | Standing::Absent)
    }
}
