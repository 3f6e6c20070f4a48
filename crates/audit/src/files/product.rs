//! What the product's schema says of one saga.

use crate::files::Filed;
use crate::invariant::{Invariant, PRODUCT_STEPS};
use crate::schemas::product::{RELEASE, RESERVE, RESTOCK};
use crate::steps::{SagaRow, Standing, StepColumns};
use api::product::v1::{ReserveStockReply, RestockProductsReply};
use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use std::collections::BTreeMap;

/// Barrier rows and the movements of sagas, by saga.
pub(crate) const BY_SAGA: &str = "SELECT saga_id, 1 AS is_step, step, state, reply, \
    0 AS product_id, 0 AS kind, 0 AS delta, 0 AS order_id FROM saga_op \
    UNION ALL SELECT saga_id, 0, 0, 0, X'', product_id, kind, delta, COALESCE(order_id, 0) \
    FROM stock_movement WHERE saga_id IS NOT NULL \
    ORDER BY saga_id, is_step DESC, step, product_id";

/// A row of [`BY_SAGA`].
#[derive(QueryableByName)]
pub(crate) struct Row {
    #[diesel(embed)]
    columns: StepColumns,
    #[diesel(sql_type = BigInt)]
    product_id: i64,
    #[diesel(sql_type = BigInt)]
    kind: i64,
    #[diesel(sql_type = BigInt)]
    delta: i64,
    #[diesel(sql_type = BigInt)]
    order_id: i64,
}

/// Units by order and product; two movements for one product make two of it.
type Units = BTreeMap<(i64, i64), Vec<i64>>;

impl SagaRow for Row {
    fn columns(&self) -> &StepColumns {
        &self.columns
    }
}

/// All that the product's schema says of one saga.
#[derive(Default)]
pub(crate) struct File {
    pub(crate) reserve: Standing<ReserveStockReply>,
    pub(crate) restock: Standing<RestockProductsReply>,
    movements: Vec<Row>,
}

impl Filed for File {
    type Row = Row;
    const INVARIANT: Invariant = PRODUCT_STEPS;

    fn sort(rows: Vec<Row>) -> Option<Self> {
        let mut file = Self::default();
        for row in rows {
            match row.step() {
                Some(step) if step.number() == 1 => file.reserve = step.standing()?,
                Some(step) if step.number() == 3 => file.restock = step.standing()?,
                Some(_) => return None,
                None => file.movements.push(row),
            }
        }
        Some(file)
    }

    fn has_steps(&self) -> bool {
        !(self.reserve.is_absent() && self.restock.is_absent())
    }

    fn agrees(&self) -> bool {
        let (taken, released) = (self.units(RESERVE, -1), self.units(RELEASE, 1));
        let reserve = match &self.reserve {
            Standing::Done(told) => taken == promised(told) && released.is_empty(),
            Standing::Compensated(told) => taken == promised(told) && released == taken,
            Standing::Absent | Standing::Rejected(_) | Standing::Tombstone => {
                taken.is_empty() && released.is_empty()
            }
        };
        let restocked = self.restocked();
        let restock = match &self.restock {
            Standing::Done(told) => {
                let units = restocked.values().flatten().copied().fold(0, i64::saturating_add);
                units == i64::from(told.units) && !restocked.is_empty()
            }
            Standing::Absent => restocked.is_empty(),
            _ => false,
        };
        let known = self.movements.iter().all(|row| matches!(row.kind, RESERVE..=RESTOCK));
        known && reserve && restock
    }
}

impl File {
    /// What came back for a cancelled order.
    pub(crate) fn restocked(&self) -> Units {
        self.units(RESTOCK, 1)
    }

    fn units(&self, kind: i64, sign: i64) -> Units {
        let mut units = Units::new();
        for row in self.movements.iter().filter(|row| row.kind == kind) {
            let moved = row.delta.saturating_mul(sign);
            units.entry((row.order_id, row.product_id)).or_default().push(moved);
        }
        units
    }
}

fn promised(told: &ReserveStockReply) -> Units {
    let mut units = Units::new();
    for line in &told.lines {
        units.entry((told.order_id, line.product_id)).or_default().push(line.quantity.into());
    }
    units
}
