//! Placing an order: the whole saga, step by step.
//!
//! `START → ReserveStock → RedeemCoupon (if any) → DebitWallet → ConfirmOrder (the register) → END`

use crate::calls::{Caller, Participants, acted, unanswered, undone, void_reason, voided};
use crate::kind;
use crate::record;
use crate::request::{Checkout, Line};
use api::Reason;
use api::coupon::v1::{RedeemCouponRequest, RedeemCouponResponse, UndoRedeemRequest};
use api::order::v1::{ConfirmOrderRequest, ConfirmOrderResponse, ConfirmedLine, VoidOrderRequest};
use api::product::v1::{ReleaseStockRequest, ReserveStockRequest, ReserveStockResponse, StockLine};
use api::wallet::v1::{DebitWalletRequest, UndoDebitRequest};
use async_trait::async_trait;
use participant::StepNo;
use prost::Message;
use saga::decide::{ActReply, Known, UndoReply, VoidReply};
use saga::journal::{PlanId, Start};
use saga::outcome::{AbortReason, Failure};
use saga::runtime::{Plan, Script, StepError, StepInfo, Unreadable};
use saga::shape::Shape;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tonic::Request;

/// The plan's id: a change of what a step sends is a new version, beside this one.
pub(crate) const ID: PlanId = PlanId { kind: kind::CHECKOUT, version: 1 };

const RESERVE_STOCK: StepNo = StepNo(1);
const REDEEM_COUPON: StepNo = StepNo(2);
const DEBIT_WALLET: StepNo = StepNo(3);
/// The register.
pub(crate) const CONFIRM_ORDER: StepNo = StepNo(4);

const STEPS: &[StepInfo] = &[
    StepInfo {
        step: RESERVE_STOCK,
        name: "ReserveStock",
        undo: Some("ReleaseStock"),
        participant: "product",
    },
    StepInfo {
        step: REDEEM_COUPON,
        name: "RedeemCoupon",
        undo: Some("UndoRedeem"),
        participant: "coupon",
    },
    StepInfo {
        step: DEBIT_WALLET,
        name: "DebitWallet",
        undo: Some("UndoDebit"),
        participant: "wallet",
    },
    StepInfo {
        step: CONFIRM_ORDER,
        name: "ConfirmOrder",
        undo: Some("VoidOrder"),
        participant: "order",
    },
];

/// The checkout plan.
pub(crate) struct CheckoutPlan {
    pub(crate) participants: Participants,
}

impl Plan for CheckoutPlan {
    fn id(&self) -> PlanId {
        ID
    }

    fn steps(&self) -> &'static [StepInfo] {
        STEPS
    }

    fn script(&self, start: &Start) -> Result<Arc<dyn Script>, Unreadable> {
        let checkout = Checkout::decode(start)?;
        let redeem = checkout.coupon_id.map(|_| REDEEM_COUPON);
        let before = [Some(RESERVE_STOCK), redeem, Some(DEBIT_WALLET)];
        let shape = Shape {
            before: Shape::chain(before.into_iter().flatten()),
            register: CONFIRM_ORDER,
            after: Vec::new(),
        };
        let caller = Caller::new(start);
        Ok(Arc::new(CheckoutScript {
            participants: self.participants.clone(),
            caller,
            checkout,
            shape,
        }))
    }
}

struct CheckoutScript {
    participants: Participants,
    caller: Caller,
    checkout: Checkout,
    shape: Shape,
}

#[async_trait]
impl Script for CheckoutScript {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn steps(&self) -> &'static [StepInfo] {
        STEPS
    }

    async fn act(
        &self,
        step: StepNo,
        known: &Known,
        budget: Duration,
    ) -> Result<ActReply, StepError> {
        match step {
            RESERVE_STOCK => self.reserve_stock(budget).await,
            REDEEM_COUPON => self.redeem_coupon(known, budget).await,
            DEBIT_WALLET => self.debit_wallet(known, budget).await,
            _ => self.confirm_order(known, budget).await,
        }
    }

    async fn undo(&self, step: StepNo, budget: Duration) -> Result<UndoReply, StepError> {
        match step {
            RESERVE_STOCK => self.release_stock(budget).await,
            REDEEM_COUPON => self.undo_redeem(budget).await,
            _ => self.undo_debit(budget).await,
        }
    }

    async fn void(
        &self,
        reason: Option<AbortReason>,
        budget: Duration,
    ) -> Result<VoidReply, StepError> {
        let request = VoidOrderRequest {
            key: Some(self.caller.key(CONFIRM_ORDER)),
            order_id: self.checkout.order_id,
            reason: void_reason(reason),
        };
        let call = self.participants.order.void_order(Request::new(request));
        let answer = self.caller.call(budget, call).await;
        let answer = answer.map_err(|status| unanswered(&status))?.into_inner();
        let done = ConfirmOrderResponse { order: answer.order.clone() }.encode_to_vec();
        voided(answer.found(), answer.reason, None, done)
    }

    fn succeeded(&self, known: &Known) -> Vec<u8> {
        record::placed(known.reply(CONFIRM_ORDER).unwrap_or_default())
    }

    fn failed(&self, failure: &Failure) -> Vec<u8> {
        record::failed(failure, self.name(failure.step().unwrap_or(CONFIRM_ORDER)))
    }
}

impl CheckoutScript {
    async fn reserve_stock(&self, budget: Duration) -> Result<ActReply, StepError> {
        let checkout = &self.checkout;
        let lines = checkout.lines.iter();
        let request = ReserveStockRequest {
            key: Some(self.caller.key(RESERVE_STOCK)),
            order_id: checkout.order_id,
            user_id: checkout.user_id,
            placed_at: Some(checkout.placed_at()),
            lines: lines
                .map(|line| StockLine { product_id: line.product_id, quantity: line.quantity })
                .collect(),
            expected_total: checkout.expected_total,
        };
        let call = self.participants.product.reserve_stock(Request::new(request));
        let answer = self.caller.call(budget, call).await;
        let reasons = [Reason::ProductNotFound, Reason::InsufficientStock, Reason::PriceChanged];
        acted(answer, &reasons)
    }

    async fn release_stock(&self, budget: Duration) -> Result<UndoReply, StepError> {
        let request = ReleaseStockRequest {
            key: Some(self.caller.key(RESERVE_STOCK)),
            order_id: self.checkout.order_id,
        };
        let call = self.participants.product.release_stock(Request::new(request));
        let answer = self.caller.call(budget, call).await;
        let answer = answer.map_err(|status| unanswered(&status))?.into_inner();
        undone(answer.found(), answer.rejection.as_ref())
    }

    async fn redeem_coupon(&self, known: &Known, budget: Duration) -> Result<ActReply, StepError> {
        let checkout = &self.checkout;
        let request = RedeemCouponRequest {
            key: Some(self.caller.key(REDEEM_COUPON)),
            order_id: checkout.order_id,
            user_id: checkout.user_id,
            coupon_id: checkout.coupon_id.unwrap_or_default(),
            placed_at: Some(checkout.placed_at()),
            total: reserved(known)?.total,
        };
        let call = self.participants.coupon.redeem_coupon(Request::new(request));
        let answer = self.caller.call(budget, call).await;
        let reasons =
            [Reason::CouponNotFound, Reason::IssuedCouponNotFound, Reason::CouponNotUsable];
        acted(answer, &reasons)
    }

    async fn undo_redeem(&self, budget: Duration) -> Result<UndoReply, StepError> {
        let request = UndoRedeemRequest {
            key: Some(self.caller.key(REDEEM_COUPON)),
            order_id: self.checkout.order_id,
        };
        let call = self.participants.coupon.undo_redeem(Request::new(request));
        let answer = self.caller.call(budget, call).await;
        let answer = answer.map_err(|status| unanswered(&status))?.into_inner();
        undone(answer.found(), answer.rejection.as_ref())
    }

    async fn debit_wallet(&self, known: &Known, budget: Duration) -> Result<ActReply, StepError> {
        let checkout = &self.checkout;
        let request = DebitWalletRequest {
            key: Some(self.caller.key(DEBIT_WALLET)),
            order_id: checkout.order_id,
            user_id: checkout.user_id,
            amount: Self::bill(known)?.paid,
            placed_at: Some(checkout.placed_at()),
        };
        let call = self.participants.wallet.debit_wallet(Request::new(request));
        let answer = self.caller.call(budget, call).await;
        acted(answer, &[Reason::WalletNotFound, Reason::InsufficientBalance])
    }

    async fn undo_debit(&self, budget: Duration) -> Result<UndoReply, StepError> {
        let request = UndoDebitRequest {
            key: Some(self.caller.key(DEBIT_WALLET)),
            order_id: self.checkout.order_id,
        };
        let call = self.participants.wallet.undo_debit(Request::new(request));
        let answer = self.caller.call(budget, call).await;
        let answer = answer.map_err(|status| unanswered(&status))?.into_inner();
        undone(answer.found(), answer.rejection.as_ref())
    }

    async fn confirm_order(&self, known: &Known, budget: Duration) -> Result<ActReply, StepError> {
        let checkout = &self.checkout;
        let bill = Self::bill(known)?;
        let prices: HashMap<i64, i64> =
            bill.reserved.lines.iter().map(|line| (line.product_id, line.unit_price)).collect();
        let line = |line: &Line| {
            let unit_price = prices.get(&line.product_id).copied().ok_or_else(|| {
                StepError::Unknown(format!("product {} is not in the reply", line.product_id))
            })?;
            let (product_id, quantity) = (line.product_id, line.quantity);
            Ok(ConfirmedLine { product_id, quantity, unit_price })
        };
        let lines = checkout.lines.iter().map(line).collect::<Result<_, StepError>>()?;
        let request = ConfirmOrderRequest {
            key: Some(self.caller.key(CONFIRM_ORDER)),
            order_id: checkout.order_id,
            user_id: checkout.user_id,
            placed_at: Some(checkout.placed_at()),
            lines,
            total: bill.reserved.total,
            discount: bill.discount,
            paid: bill.paid,
            coupon_id: checkout.coupon_id,
            issued_coupon_id: bill.issued_coupon_id,
        };
        let call = self.participants.order.confirm_order(Request::new(request));
        let answer = self.caller.call(budget, call).await;
        acted(answer, &[])
    }

    /// What is to be paid: a function of the replies that are on record.
    fn bill(known: &Known) -> Result<Bill, StepError> {
        let reserved = reserved(known)?;
        let redeemed = match known.reply(REDEEM_COUPON) {
            Some(reply) => {
                Some(RedeemCouponResponse::decode(reply).map_err(|error| undecodable(&error))?)
            }
            None => None,
        };
        let discount = redeemed.as_ref().map_or(0, |redeemed| redeemed.discount);
        let paid = reserved
            .total
            .checked_sub(discount)
            .filter(|paid| *paid >= 0)
            .ok_or_else(|| StepError::Unknown("the discount exceeds the total".to_owned()))?;
        let issued_coupon_id = redeemed.map(|redeemed| redeemed.issued_coupon_id);
        Ok(Bill { reserved, discount, paid, issued_coupon_id })
    }
}

/// Amounts in won.
struct Bill {
    reserved: ReserveStockResponse,
    discount: i64,
    paid: i64,
    issued_coupon_id: Option<i64>,
}

fn reserved(known: &Known) -> Result<ReserveStockResponse, StepError> {
    let reply = known.reply(RESERVE_STOCK).unwrap_or_default();
    ReserveStockResponse::decode(reply).map_err(|error| undecodable(&error))
}

fn undecodable(error: &prost::DecodeError) -> StepError {
    StepError::Unknown(format!("a recorded reply does not decode: {error}"))
}
