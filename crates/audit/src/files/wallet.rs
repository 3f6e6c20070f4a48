//! What the wallet's schema says of one saga.

use crate::files::Filed;
use crate::invariant::{Invariant, WALLET_STEPS};
use crate::schemas::wallet::{DEBIT, REFUND, UNDO_DEBIT};
use crate::steps::{SagaRow, Standing, StepColumns};
use api::wallet::v1::{DebitWalletReply, RefundWalletReply};
use diesel::QueryableByName;
use diesel::sql_types::BigInt;

/// Barrier rows and the ledger entries of sagas, by saga.
pub(crate) const BY_SAGA: &str = "SELECT saga_id, 1 AS is_step, step, state, reply, \
    0 AS user_id, 0 AS seq, 0 AS kind, 0 AS amount, 0 AS balance_after, 0 AS order_id FROM saga_op \
    UNION ALL SELECT saga_id, 0, 0, 0, X'', user_id, seq, kind, amount, balance_after, \
    COALESCE(order_id, 0) FROM ledger WHERE saga_id IS NOT NULL \
    ORDER BY saga_id, is_step DESC, step, user_id, seq";

/// A row of [`BY_SAGA`].
#[derive(QueryableByName)]
pub(crate) struct Row {
    #[diesel(embed)]
    columns: StepColumns,
    #[diesel(sql_type = BigInt)]
    user_id: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = BigInt)]
    kind: i64,
    #[diesel(sql_type = BigInt)]
    amount: i64,
    #[diesel(sql_type = BigInt)]
    balance_after: i64,
    #[diesel(sql_type = BigInt)]
    order_id: i64,
}

impl SagaRow for Row {
    fn columns(&self) -> &StepColumns {
        &self.columns
    }
}

/// All that the wallet's schema says of one saga.
#[derive(Default)]
pub(crate) struct File {
    pub(crate) debit: Standing<DebitWalletReply>,
    pub(crate) refund: Standing<RefundWalletReply>,
    entries: Vec<Row>,
}

impl Filed for File {
    type Row = Row;
    const INVARIANT: Invariant = WALLET_STEPS;

    fn sort(rows: Vec<Row>) -> Option<Self> {
        let mut file = Self::default();
        for row in rows {
            match row.step() {
                Some(step) if step.number() == 3 => file.debit = step.standing()?,
                Some(step) if step.number() == 2 => file.refund = step.standing()?,
                Some(_) => return None,
                None => file.entries.push(row),
            }
        }
        Some(file)
    }

    fn has_steps(&self) -> bool {
        !(self.debit.is_absent() && self.refund.is_absent())
    }

    fn agrees(&self) -> bool {
        let debits: Vec<&Row> = self.of_kind(DEBIT).collect();
        let undone: Vec<&Row> = self.of_kind(UNDO_DEBIT).collect();
        let refunds: Vec<&Row> = self.of_kind(REFUND).collect();
        let known = debits.len() + undone.len() + refunds.len() == self.entries.len();
        let debit = match (&self.debit, debits.as_slice(), undone.as_slice()) {
            (Standing::Done(told), [debit], []) => debit.pays(told),
            (Standing::Compensated(told), [debit], [undo]) => {
                debit.pays(told) && undo.undoes(debit)
            }
            (Standing::Absent | Standing::Rejected(_) | Standing::Tombstone, [], []) => true,
            _ => false,
        };
        let refund = match (&self.refund, refunds.as_slice()) {
            (Standing::Done(told), [refund]) => {
                (refund.seq, refund.balance_after) == (told.seq, told.balance_after_won)
            }
            (Standing::Absent, []) => true,
            _ => false,
        };
        known && debit && refund
    }
}

impl File {
    /// The entry that paid the order back.
    pub(crate) fn refunded(&self) -> Option<(i64, i64, i64)> {
        let refund = self.of_kind(REFUND).next()?;
        Some((refund.user_id, refund.order_id, refund.amount))
    }

    fn of_kind(&self, kind: i64) -> impl Iterator<Item = &Row> {
        self.entries.iter().filter(move |entry| entry.kind == kind)
    }
}

impl Row {
    fn pays(&self, told: &DebitWalletReply) -> bool {
        (self.user_id, self.seq, self.order_id) == (told.user_id, told.seq, told.order_id)
            && self.balance_after == told.balance_after_won
            && self.amount.checked_neg() == Some(told.amount_won)
    }

    fn undoes(&self, debit: &Self) -> bool {
        (self.user_id, self.order_id) == (debit.user_id, debit.order_id)
            && debit.amount.checked_neg() == Some(self.amount)
            && self.seq > debit.seq
    }
}
