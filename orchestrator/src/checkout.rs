//! Placing an order: the whole saga, step by step.
//!
//! `START → ReserveStock → RedeemCoupon (if any) → DebitWallet → ConfirmOrder (the pivot) → END`

use crate::request::{Checkout, Line};
use crate::{kind, record};
use api::coupon::v1::{RedeemCouponPayload, RedeemCouponReply};
use api::order::v1::{ConfirmOrderPayload, ConfirmOrderReply, ConfirmedLine};
use api::product::v1::{ReserveStockPayload, ReserveStockReply, StockLine};
use api::wallet::v1::DebitWalletPayload;
use participant::StepNo;
use prost::Message;
use saga::decide::Known;
use saga::journal::{PlanId, Start};
use saga::outcome::Failure;
use saga::runtime::{Plan, SagaInstance, StepInfo, ToSend, Unreadable};
use saga::shape::Shape;
use std::collections::HashMap;
use std::sync::Arc;

/// The plan's id: a change of what a step sends is a new version, beside this one.
pub(crate) const ID: PlanId = PlanId { kind: kind::CHECKOUT, version: 1 };

const RESERVE_STOCK: StepNo = StepNo(1);
const REDEEM_COUPON: StepNo = StepNo(2);
const DEBIT_WALLET: StepNo = StepNo(3);
/// The pivot.
const CONFIRM_ORDER: StepNo = StepNo(4);

static STEPS: [StepInfo; 4] = [
    StepInfo::new(
        RESERVE_STOCK,
        "ReserveStock",
        "product",
        "commerce.product.v1.ProductParticipantService/ReserveStock",
    ),
    StepInfo::new(
        REDEEM_COUPON,
        "RedeemCoupon",
        "coupon",
        "commerce.coupon.v1.CouponParticipantService/RedeemCoupon",
    ),
    StepInfo::new(
        DEBIT_WALLET,
        "DebitWallet",
        "wallet",
        "commerce.wallet.v1.WalletParticipantService/DebitWallet",
    ),
    StepInfo::new(
        CONFIRM_ORDER,
        "ConfirmOrder",
        "order",
        "commerce.order.v1.OrderParticipantService/ConfirmOrder",
    ),
];

/// The checkout plan.
pub struct CheckoutPlan;

impl Plan for CheckoutPlan {
    fn id(&self) -> PlanId {
        ID
    }

    fn steps(&self) -> &[StepInfo] {
        &STEPS
    }

    fn instance(&self, start: &Start) -> Result<Arc<dyn SagaInstance>, Unreadable> {
        let checkout = Checkout::decode(start)?;
        let redeem = checkout.coupon_id.map(|_| REDEEM_COUPON);
        let before = [Some(RESERVE_STOCK), redeem, Some(DEBIT_WALLET)];
        let shape = Shape {
            compensatable: Shape::chain(before.into_iter().flatten()),
            pivot: CONFIRM_ORDER,
            retriable: Vec::new(),
        };
        Ok(Arc::new(CheckoutInstance { checkout, shape }))
    }
}

struct CheckoutInstance {
    checkout: Checkout,
    shape: Shape,
}

impl SagaInstance for CheckoutInstance {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn steps(&self) -> &[StepInfo] {
        &STEPS
    }

    fn request(&self, step: StepNo, known: &Known) -> Result<ToSend, Unreadable> {
        let payload = match step {
            RESERVE_STOCK => self.reserve_stock().encode_to_vec(),
            REDEEM_COUPON => self.redeem_coupon(known)?.encode_to_vec(),
            DEBIT_WALLET => self.debit_wallet(known)?.encode_to_vec(),
            CONFIRM_ORDER => self.confirm_order(known)?.encode_to_vec(),
            other => return Err(Unreadable(format!("a checkout has no step {other}"))),
        };
        Ok(ToSend::Payload(payload))
    }

    fn succeeded(&self, known: &Known) -> Result<Vec<u8>, Unreadable> {
        let ConfirmOrderReply { order } = record::reply(known, CONFIRM_ORDER)?;
        record::succeeded(order)
    }

    fn failed(&self, failure: &Failure) -> Result<Vec<u8>, Unreadable> {
        record::failed(failure, self.name(failure.step().unwrap_or(CONFIRM_ORDER)))
    }
}

impl CheckoutInstance {
    fn reserve_stock(&self) -> ReserveStockPayload {
        let checkout = &self.checkout;
        let lines = checkout.lines.iter();
        ReserveStockPayload {
            order_id: checkout.order_id,
            user_id: checkout.user_id,
            placed_at: Some(checkout.placed_at()),
            lines: lines
                .map(|line| StockLine { product_id: line.product_id, quantity: line.quantity })
                .collect(),
            expected_total_won: checkout.expected_total_won,
        }
    }

    fn redeem_coupon(&self, known: &Known) -> Result<RedeemCouponPayload, Unreadable> {
        let checkout = &self.checkout;
        let coupon_id = checkout.coupon_id;
        Ok(RedeemCouponPayload {
            order_id: checkout.order_id,
            user_id: checkout.user_id,
            coupon_id: coupon_id.ok_or_else(|| Unreadable("there is no coupon".to_owned()))?,
            placed_at: Some(checkout.placed_at()),
            total_won: reserved(known)?.total_won,
        })
    }

    fn debit_wallet(&self, known: &Known) -> Result<DebitWalletPayload, Unreadable> {
        let checkout = &self.checkout;
        Ok(DebitWalletPayload {
            order_id: checkout.order_id,
            user_id: checkout.user_id,
            amount_won: self.bill(known)?.paid_won,
            placed_at: Some(checkout.placed_at()),
        })
    }

    fn confirm_order(&self, known: &Known) -> Result<ConfirmOrderPayload, Unreadable> {
        let checkout = &self.checkout;
        let bill = self.bill(known)?;
        let lines = bill.reserved.lines.iter();
        let prices: HashMap<i64, i64> =
            lines.map(|line| (line.product_id, line.unit_price_won)).collect();
        let line = |line: &Line| {
            let unit_price_won = prices.get(&line.product_id).copied().ok_or_else(|| {
                Unreadable(format!("the reservation has no price of product {}", line.product_id))
            })?;
            let (product_id, quantity) = (line.product_id, line.quantity);
            Ok(ConfirmedLine { product_id, quantity, unit_price_won })
        };
        Ok(ConfirmOrderPayload {
            order_id: checkout.order_id,
            user_id: checkout.user_id,
            placed_at: Some(checkout.placed_at()),
            lines: checkout.lines.iter().map(line).collect::<Result<_, Unreadable>>()?,
            total_won: bill.reserved.total_won,
            discount_won: bill.discount_won,
            paid_won: bill.paid_won,
            coupon_id: checkout.coupon_id,
            issued_coupon_id: bill.issued_coupon_id,
        })
    }

    /// What is to be paid: a function of the replies that are on record.
    fn bill(&self, known: &Known) -> Result<Bill, Unreadable> {
        let reserved = reserved(known)?;
        let redeemed: Option<RedeemCouponReply> = match self.checkout.coupon_id {
            Some(_) => Some(record::reply(known, REDEEM_COUPON)?),
            None => None,
        };
        let discount_won = redeemed.map_or(0, |redeemed| redeemed.discount_won);
        let paid_won = reserved
            .total_won
            .checked_sub(discount_won)
            .filter(|paid| *paid >= 0)
            .ok_or_else(|| Unreadable("the discount exceeds the total".to_owned()))?;
        let issued_coupon_id = redeemed.map(|redeemed| redeemed.issued_coupon_id);
        Ok(Bill { reserved, discount_won, paid_won, issued_coupon_id })
    }
}

/// What is to be paid.
struct Bill {
    reserved: ReserveStockReply,
    discount_won: i64,
    paid_won: i64,
    issued_coupon_id: Option<i64>,
}

fn reserved(known: &Known) -> Result<ReserveStockReply, Unreadable> {
    record::reply(known, RESERVE_STOCK)
}
