//! All that all schemas say of one saga, and what must hold of it.

use crate::files::{coupon, order, product, wallet};
use crate::findings::Findings;
use crate::invariant::{CANCEL_STANDS, CHECKOUT_STANDS, FAILED_LEAVES_NOTHING, Invariant};
use crate::schemas::journal::{CANCEL, CHECKOUT, FAILED, RESOLVED, SUCCEEDED};
use api::Refusal;
use api::checkout::v1::{Checkout, CheckoutFailure, PlacedOrder};
use api::coupon::v1::IssuedCouponState;
use api::order::v1::{Order, OrderLine, OrderState};
use api::product::v1::PricedLine;
use db::Bytes16;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Text};
use participant::{Name, SagaId};
use prost::Message;
use std::collections::BTreeMap;

/// A finished saga, as the journal has it.
#[derive(QueryableByName)]
pub(crate) struct Ended {
    #[diesel(sql_type = Binary)]
    saga_id: Bytes16,
    #[diesel(sql_type = BigInt)]
    kind: i64,
    #[diesel(sql_type = Text)]
    subject: Name,
    #[diesel(sql_type = Text)]
    object: Name,
    #[diesel(sql_type = BigInt)]
    pub(crate) outcome: i64,
    #[diesel(sql_type = Binary)]
    request: Vec<u8>,
    #[diesel(sql_type = Binary)]
    result: Vec<u8>,
}

/// Finished sagas, by id.
pub(crate) const ENDED: &str = "SELECT saga_id, kind, subject, object, outcome, request, result \
    FROM saga_history ORDER BY saga_id";

/// The participants' files on one saga.
pub(crate) struct Files {
    pub(crate) product: product::File,
    pub(crate) coupon: coupon::File,
    pub(crate) wallet: wallet::File,
    pub(crate) order: order::File,
}

/// What a checkout was asked for, as START keeps it.
#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(message, repeated, tag = "1")]
    lines: Vec<AskedLine>,
    #[prost(int64, optional, tag = "2")]
    coupon_id: Option<i64>,
    #[prost(int64, optional, tag = "3")]
    expected_total_won: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct AskedLine {
    #[prost(int64, tag = "1")]
    product_id: i64,
    #[prost(int32, tag = "2")]
    quantity: i32,
}

impl Files {
    /// What a saga left standing that a person settled.
    pub(crate) fn standing(&self) -> String {
        let Self { product, coupon, wallet, .. } = self;
        let mut standing = Vec::new();
        if let Some(reserved) = product.reserve.done() {
            let line = |line: &PricedLine| {
                format!("{} units of product {} taken", line.quantity, line.product_id)
            };
            standing.extend(reserved.lines.iter().map(line));
        }
        if let Some(used) = coupon.redeem.done() {
            standing.push(format!("coupon {} used", used.issued_coupon_id));
        }
        if let Some(paid) = wallet.debit.done() {
            standing.push(format!("{} won taken from user {}", paid.amount_won, paid.user_id));
        }
        if standing.is_empty() { "nothing".to_owned() } else { standing.join(", ") }
    }
}

impl Ended {
    /// Its id.
    pub(crate) fn saga(&self) -> SagaId {
        SagaId(self.saga_id.0)
    }

    /// Whether a person closed it: what then stands, the record explains.
    pub(crate) fn is_resolved(&self) -> bool {
        self.outcome == RESOLVED
    }

    /// Checks the files of a saga that had ended before they were read. Nothing of it can have changed since.
    pub(crate) fn check(&self, files: &Files, findings: &mut Findings) {
        let Some((invariant, holds)) = self.verdict(files) else { return };
        findings.check(&invariant, holds, format!("saga {}", self.saga()));
    }

    /// For a saga whose barrier rows are purged: whether its order is there.
    pub(crate) fn check_purged(&self, order: &order::File, findings: &mut Findings) {
        if self.kind != CHECKOUT || self.is_resolved() {
            return;
        }
        let (invariant, holds) = match (self.outcome, &order.placed) {
            (SUCCEEDED, placed) => (CHECKOUT_STANDS, placed.is_some()),
            (_, placed) => (FAILED_LEAVES_NOTHING, placed.is_none()),
        };
        findings.check(&invariant, holds, format!("saga {}", self.saga()));
    }

    fn verdict(&self, files: &Files) -> Option<(Invariant, bool)> {
        match (self.kind, self.outcome) {
            (CHECKOUT, SUCCEEDED) => Some((CHECKOUT_STANDS, self.checkout_stands(files).is_some())),
            (CANCEL, SUCCEEDED) => Some((CANCEL_STANDS, self.cancel_stands(files).is_some())),
            (CHECKOUT | CANCEL, FAILED) => Some((FAILED_LEAVES_NOTHING, self.left_nothing(files))),
            (CHECKOUT | CANCEL, RESOLVED) => {
                Some((FAILED_LEAVES_NOTHING, files.order.decided_nothing()))
            }
            // A submitted saga, which has no step of the shop; or one of no known kind, which the journal's own check tells.
            _ => None,
        }
    }

    /// The user and the order that it is about; `None` where its names are no ids.
    fn about(&self) -> Option<(i64, i64)> {
        Some((self.subject.number()?, self.object.number()?))
    }

    fn checkout_stands(&self, files: &Files) -> Option<()> {
        let (user_id, order_id) = self.about()?;
        let order = files.order.placed.as_ref()?;
        files.order.confirm.done()?;
        let reserved = files.product.reserve.done()?;
        let paid = files.wallet.debit.done()?;
        let no_cancel = files.wallet.refund.is_absent()
            && files.product.restock.is_absent()
            && files.coupon.restore.is_absent()
            && files.order.begin_cancel.is_absent();

        let asked = Asked::decode(self.request.as_slice()).ok()?;
        let lines = asked.lines.iter().map(|line| (line.product_id, line.quantity));
        let as_asked = (order.user_id, order.order_id) == (user_id, order_id)
            && lines.eq(order.lines.iter().map(|line| (line.product_id, line.quantity)))
            && asked.coupon_id == order.coupon_id
            && asked.expected_total_won.is_none_or(|expected| expected == order.total_won);

        let lines = reserved.lines.iter().map(|line| OrderLine {
            product_id: line.product_id,
            quantity: line.quantity,
            unit_price_won: line.unit_price_won,
        });
        let stock = reserved.order_id == order_id
            && reserved.total_won == order.total_won
            && lines.eq(order.lines.iter().copied());
        let discount = match (order.coupon_id, files.coupon.redeem.done()) {
            (Some(coupon_id), Some(used)) => {
                (used.order_id, used.user_id, used.coupon_id) == (order_id, user_id, coupon_id)
                    && Some(used.issued_coupon_id) == order.issued_coupon_id
                    && used.discount_won == order.discount_won
            }
            (None, None) => files.coupon.redeem.is_absent() && order.discount_won == 0,
            _ => false,
        };
        let money =
            (paid.order_id, paid.user_id, paid.amount_won) == (order_id, user_id, order.paid_won);
        let told = self.told()?.order.is_some_and(|told| tells(&told, order));
        (no_cancel && as_asked && stock && discount && money && told).then_some(())
    }

    fn cancel_stands(&self, files: &Files) -> Option<()> {
        let (user_id, order_id) = self.about()?;
        let order = files.order.cancelled.as_ref()?;
        files.order.begin_cancel.done()?;
        files.order.finish_cancel.done()?;
        files.wallet.refund.done()?;
        files.product.restock.done()?;
        let no_checkout = files.wallet.debit.is_absent()
            && files.product.reserve.is_absent()
            && files.coupon.redeem.is_absent()
            && files.order.confirm.is_absent();
        let gone = (order.user_id, order.order_id) == (user_id, order_id)
            && order.state() == OrderState::Cancelled;
        let money = files.wallet.refunded() == Some((user_id, order_id, order.paid_won));
        let mut units: BTreeMap<(i64, i64), Vec<i64>> = BTreeMap::new();
        for line in &order.lines {
            units.entry((order_id, line.product_id)).or_default().push(line.quantity.into());
        }
        let stock = files.product.restocked() == units;
        let coupon = match (order.issued_coupon_id, files.coupon.restore.done()) {
            (Some(_), Some(restored)) => {
                matches!(restored.state(), IssuedCouponState::Active | IssuedCouponState::Forfeited)
            }
            (None, None) => files.coupon.restore.is_absent(),
            _ => false,
        };
        let told = self.told()?.order.is_some_and(|told| tells(&told, order));
        (no_checkout && gone && money && stock && coupon && told).then_some(())
    }

    fn left_nothing(&self, files: &Files) -> bool {
        let Files { product, coupon, wallet, order } = files;
        let stands = product.reserve.done().is_some()
            || product.restock.done().is_some()
            || coupon.redeem.done().is_some()
            || coupon.restore.done().is_some()
            || wallet.debit.done().is_some()
            || wallet.refund.done().is_some()
            || order.confirm.done().is_some()
            || order.begin_cancel.done().is_some()
            || order.finish_cancel.done().is_some()
            || order.placed.is_some()
            || order.cancelled.is_some();
        let refusals: Vec<&Refusal> = [
            product.reserve.rejected(),
            coupon.redeem.rejected(),
            wallet.debit.rejected(),
            order.begin_cancel.rejected(),
        ]
        .into_iter()
        .flatten()
        .collect();
        let failure = self.told().and_then(|told| told.failure);
        let explained = match (refusals.as_slice(), failure) {
            ([], Some(failure)) => failure.reason == api::Reason::SagaAborted.as_str(),
            ([refusal], Some(failure)) => names(&failure, refusal),
            _ => false,
        };
        !stands && explained
    }

    /// What END records.
    fn told(&self) -> Option<Checkout> {
        Checkout::decode(self.result.as_slice()).ok()
    }
}

/// Whether a client was told this order.
fn tells(told: &PlacedOrder, order: &Order) -> bool {
    let lines = told.lines.iter().map(|line| OrderLine {
        product_id: line.product_id,
        quantity: line.quantity,
        unit_price_won: line.unit_price_won,
    });
    (told.order_id, told.total_won, told.discount_won, told.paid_won)
        == (order.order_id, order.total_won, order.discount_won, order.paid_won)
        && told.issued_coupon_id == order.issued_coupon_id
        && told.created_at == order.created_at
        && lines.eq(order.lines.iter().copied())
}

/// Whether a client was told this refusal.
fn names(failure: &CheckoutFailure, refusal: &Refusal) -> bool {
    let told = failure.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let recorded = refusal.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let told: BTreeMap<&str, &str> = told.collect();
    failure.reason == refusal.reason.as_str() && told == recorded.collect()
}
