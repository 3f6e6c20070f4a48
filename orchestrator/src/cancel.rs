//! Cancelling an order: forward only, once the gate is passed.
//!
//! `START → BeginCancel (the register) → RefundWallet, RestockProducts and RestoreCoupon (if any) at once → FinishCancel →
//! END`
//!
//! Whether the order used a coupon is not known at START, so `RestoreCoupon` is a step of every cancel, and one that is
//! done without a call where the register's reply names no coupon.

use crate::calls::{Caller, Participants, acted, unanswered, void_reason, voided};
use crate::kind;
use crate::record;
use crate::request::Cancel;
use api::Reason;
use api::coupon::v1::{RestoreCouponRequest, RestoreCouponResponse};
use api::order::v1::{
    BeginCancelRequest, BeginCancelResponse, FinishCancelRequest, Order, VoidCancelRequest,
};
use api::product::v1::{RestockProductsRequest, StockLine};
use api::wallet::v1::RefundWalletRequest;
use async_trait::async_trait;
use participant::StepNo;
use prost::Message;
use saga::decide::{ActReply, Known, UndoReply, VoidReply};
use saga::journal::{PlanId, Start};
use saga::outcome::{AbortReason, Failure};
use saga::runtime::{Plan, Script, StepError, StepInfo, Unreadable};
use saga::shape::Shape;
use std::sync::Arc;
use std::time::Duration;
use tonic::Request;

/// The plan's id.
pub(crate) const ID: PlanId = PlanId { kind: kind::CANCEL, version: 1 };

/// The register.
pub(crate) const BEGIN_CANCEL: StepNo = StepNo(1);
const REFUND_WALLET: StepNo = StepNo(2);
const RESTOCK_PRODUCTS: StepNo = StepNo(3);
const RESTORE_COUPON: StepNo = StepNo(4);
const FINISH_CANCEL: StepNo = StepNo(5);

const STEPS: &[StepInfo] = &[
    StepInfo {
        step: BEGIN_CANCEL,
        name: "BeginCancel",
        undo: Some("VoidCancel"),
        participant: "order",
    },
    StepInfo { step: REFUND_WALLET, name: "RefundWallet", undo: None, participant: "wallet" },
    StepInfo {
        step: RESTOCK_PRODUCTS,
        name: "RestockProducts",
        undo: None,
        participant: "product",
    },
    StepInfo { step: RESTORE_COUPON, name: "RestoreCoupon", undo: None, participant: "coupon" },
    StepInfo { step: FINISH_CANCEL, name: "FinishCancel", undo: None, participant: "order" },
];

/// The cancel plan.
pub(crate) struct CancelPlan {
    pub(crate) participants: Participants,
}

impl Plan for CancelPlan {
    fn id(&self) -> PlanId {
        ID
    }

    fn steps(&self) -> &'static [StepInfo] {
        STEPS
    }

    fn script(&self, start: &Start) -> Result<Arc<dyn Script>, Unreadable> {
        let shape = Shape {
            before: Vec::new(),
            register: BEGIN_CANCEL,
            after: vec![vec![REFUND_WALLET, RESTOCK_PRODUCTS, RESTORE_COUPON], vec![FINISH_CANCEL]],
        };
        Ok(Arc::new(CancelScript {
            participants: self.participants.clone(),
            caller: Caller::new(start),
            cancel: Cancel::decode(start)?,
            shape,
        }))
    }
}

struct CancelScript {
    participants: Participants,
    caller: Caller,
    cancel: Cancel,
    shape: Shape,
}

#[async_trait]
impl Script for CancelScript {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn steps(&self) -> &'static [StepInfo] {
        STEPS
    }

    /// Whether an order used a coupon is known only when its cancel has begun.
    fn applies(&self, step: StepNo, known: &Known) -> bool {
        let uses_coupon = || {
            order(known)
                .map_or(true, |order| order.coupon_id.is_some() && order.issued_coupon_id.is_some())
        };
        step != RESTORE_COUPON || uses_coupon()
    }

    async fn act(
        &self,
        step: StepNo,
        known: &Known,
        budget: Duration,
    ) -> Result<ActReply, StepError> {
        match step {
            BEGIN_CANCEL => self.begin_cancel(budget).await,
            REFUND_WALLET => self.refund_wallet(known, budget).await,
            RESTOCK_PRODUCTS => self.restock_products(known, budget).await,
            RESTORE_COUPON => self.restore_coupon(known, budget).await,
            _ => self.finish_cancel(budget).await,
        }
    }

    /// No step stands before the register.
    async fn undo(&self, _: StepNo, _: Duration) -> Result<UndoReply, StepError> {
        Err(StepError::Unknown("a cancel has nothing to compensate".to_owned()))
    }

    async fn void(
        &self,
        reason: Option<AbortReason>,
        budget: Duration,
    ) -> Result<VoidReply, StepError> {
        let request = VoidCancelRequest {
            key: Some(self.caller.key(BEGIN_CANCEL)),
            order_id: self.cancel.order_id,
            reason: void_reason(reason),
        };
        let call = self.participants.order.void_cancel(Request::new(request));
        let answer = self.caller.call(budget, call).await;
        let answer = answer.map_err(|status| unanswered(&status))?.into_inner();
        let done = BeginCancelResponse { order: answer.order.clone() }.encode_to_vec();
        voided(answer.found(), answer.reason, answer.rejection.as_ref(), done)
    }

    fn succeeded(&self, known: &Known) -> Vec<u8> {
        record::cancelled(known.reply(FINISH_CANCEL).unwrap_or_default())
    }

    fn failed(&self, failure: &Failure) -> Vec<u8> {
        record::failed(failure, self.name(failure.step().unwrap_or(BEGIN_CANCEL)))
    }
}

impl CancelScript {
    async fn begin_cancel(&self, budget: Duration) -> Result<ActReply, StepError> {
        let request = BeginCancelRequest {
            key: Some(self.caller.key(BEGIN_CANCEL)),
            order_id: self.cancel.order_id,
            user_id: self.cancel.user_id,
        };
        let call = self.participants.order.begin_cancel(Request::new(request));
        let answer = self.caller.call(budget, call).await;
        acted(answer, &[Reason::OrderNotFound, Reason::OrderNotCancellable])
    }

    async fn refund_wallet(&self, known: &Known, budget: Duration) -> Result<ActReply, StepError> {
        let order = order(known)?;
        let request = RefundWalletRequest {
            key: Some(self.caller.key(REFUND_WALLET)),
            order_id: order.order_id,
            user_id: order.user_id,
            amount: order.paid,
        };
        let call = self.participants.wallet.refund_wallet(Request::new(request));
        acted(self.caller.call(budget, call).await, &[])
    }

    async fn restock_products(
        &self,
        known: &Known,
        budget: Duration,
    ) -> Result<ActReply, StepError> {
        let order = order(known)?;
        let mut lines: Vec<StockLine> = order
            .lines
            .iter()
            .map(|line| StockLine { product_id: line.product_id, quantity: line.quantity })
            .collect();
        lines.sort_by_key(|line| line.product_id);
        let request = RestockProductsRequest {
            key: Some(self.caller.key(RESTOCK_PRODUCTS)),
            order_id: order.order_id,
            lines,
        };
        let call = self.participants.product.restock_products(Request::new(request));
        acted(self.caller.call(budget, call).await, &[])
    }

    async fn restore_coupon(&self, known: &Known, budget: Duration) -> Result<ActReply, StepError> {
        let order = order(known)?;
        let (Some(coupon_id), Some(issued_coupon_id)) = (order.coupon_id, order.issued_coupon_id)
        else {
            return Ok(ActReply::Done(RestoreCouponResponse::default().encode_to_vec()));
        };
        let request = RestoreCouponRequest {
            key: Some(self.caller.key(RESTORE_COUPON)),
            order_id: order.order_id,
            coupon_id,
            issued_coupon_id,
        };
        let call = self.participants.coupon.restore_coupon(Request::new(request));
        acted(self.caller.call(budget, call).await, &[])
    }

    async fn finish_cancel(&self, budget: Duration) -> Result<ActReply, StepError> {
        let request = FinishCancelRequest {
            key: Some(self.caller.key(FINISH_CANCEL)),
            order_id: self.cancel.order_id,
            cancelled_at: Some(self.cancel.asked_at()),
        };
        let call = self.participants.order.finish_cancel(Request::new(request));
        acted(self.caller.call(budget, call).await, &[])
    }
}

/// The order as the register's reply recorded it.
fn order(known: &Known) -> Result<Order, StepError> {
    let reply = known.reply(BEGIN_CANCEL).unwrap_or_default();
    BeginCancelResponse::decode(reply)
        .ok()
        .and_then(|begun| begun.order)
        .ok_or_else(|| StepError::Unknown("the register's reply names no order".to_owned()))
}
