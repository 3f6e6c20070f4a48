//! Cancelling an order: forward only, once its pivot is done.
//!
//! `START → BeginCancel (the pivot) → RefundWallet, RestockProducts and RestoreCoupon (if any) at once → FinishCancel → END`
//!
//! Whether the order used a coupon is not known at START, so `RestoreCoupon` is a step of every cancel, and one that is
//! done without a call where the pivot's reply names no coupon.

use crate::request::Cancel;
use crate::{kind, record};
use api::coupon::v1::RestoreCouponPayload;
use api::order::v1::{
    BeginCancelPayload, BeginCancelReply, FinishCancelPayload, FinishCancelReply, Order,
};
use api::product::v1::{RestockProductsPayload, StockLine};
use api::wallet::v1::RefundWalletPayload;
use participant::StepNo;
use prost::Message;
use saga::decide::Known;
use saga::journal::{PlanId, Start};
use saga::outcome::Failure;
use saga::runtime::{Plan, SagaInstance, StepInfo, ToSend, Unreadable};
use saga::shape::Shape;
use std::sync::Arc;

/// The plan's id.
pub(crate) const ID: PlanId = PlanId { kind: kind::CANCEL, version: 1 };

/// The pivot.
const BEGIN_CANCEL: StepNo = StepNo(1);
const REFUND_WALLET: StepNo = StepNo(2);
const RESTOCK_PRODUCTS: StepNo = StepNo(3);
const RESTORE_COUPON: StepNo = StepNo(4);
const FINISH_CANCEL: StepNo = StepNo(5);

static STEPS: [StepInfo; 5] = [
    StepInfo::new(
        BEGIN_CANCEL,
        "BeginCancel",
        "order",
        "commerce.order.v1.OrderParticipantService/BeginCancel",
    ),
    StepInfo::new(
        REFUND_WALLET,
        "RefundWallet",
        "wallet",
        "commerce.wallet.v1.WalletParticipantService/RefundWallet",
    ),
    StepInfo::new(
        RESTOCK_PRODUCTS,
        "RestockProducts",
        "product",
        "commerce.product.v1.ProductParticipantService/RestockProducts",
    ),
    StepInfo::new(
        RESTORE_COUPON,
        "RestoreCoupon",
        "coupon",
        "commerce.coupon.v1.CouponParticipantService/RestoreCoupon",
    ),
    StepInfo::new(
        FINISH_CANCEL,
        "FinishCancel",
        "order",
        "commerce.order.v1.OrderParticipantService/FinishCancel",
    ),
];

/// The cancel plan.
pub struct CancelPlan;

impl Plan for CancelPlan {
    fn id(&self) -> PlanId {
        ID
    }

    fn steps(&self) -> &[StepInfo] {
        &STEPS
    }

    fn instance(&self, start: &Start) -> Result<Arc<dyn SagaInstance>, Unreadable> {
        let shape = Shape {
            compensatable: Vec::new(),
            pivot: BEGIN_CANCEL,
            retriable: vec![
                vec![REFUND_WALLET, RESTOCK_PRODUCTS, RESTORE_COUPON],
                vec![FINISH_CANCEL],
            ],
        };
        Ok(Arc::new(CancelInstance { cancel: Cancel::decode(start)?, shape }))
    }
}

struct CancelInstance {
    cancel: Cancel,
    shape: Shape,
}

impl SagaInstance for CancelInstance {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn steps(&self) -> &[StepInfo] {
        &STEPS
    }

    fn request(&self, step: StepNo, known: &Known) -> Result<ToSend, Unreadable> {
        let payload = match step {
            BEGIN_CANCEL => self.begin_cancel().encode_to_vec(),
            REFUND_WALLET => refund_wallet(&order(known)?).encode_to_vec(),
            RESTOCK_PRODUCTS => restock_products(&order(known)?).encode_to_vec(),
            RESTORE_COUPON => match restore_coupon(&order(known)?) {
                Some(payload) => payload.encode_to_vec(),
                None => return Ok(ToSend::Nothing),
            },
            FINISH_CANCEL => self.finish_cancel().encode_to_vec(),
            other => return Err(Unreadable(format!("a cancel has no step {other}"))),
        };
        Ok(ToSend::Payload(payload))
    }

    fn succeeded(&self, known: &Known) -> Result<Vec<u8>, Unreadable> {
        let FinishCancelReply { order } = record::reply(known, FINISH_CANCEL)?;
        record::succeeded(order)
    }

    fn failed(&self, failure: &Failure) -> Result<Vec<u8>, Unreadable> {
        record::failed(failure, self.name(failure.step().unwrap_or(BEGIN_CANCEL)))
    }
}

impl CancelInstance {
    fn begin_cancel(&self) -> BeginCancelPayload {
        let Cancel { order_id, user_id, .. } = self.cancel;
        BeginCancelPayload { order_id, user_id }
    }

    fn finish_cancel(&self) -> FinishCancelPayload {
        let order_id = self.cancel.order_id;
        FinishCancelPayload { order_id, cancelled_at: Some(self.cancel.asked_at()) }
    }
}

fn refund_wallet(order: &Order) -> RefundWalletPayload {
    let Order { order_id, user_id, paid_won, .. } = *order;
    RefundWalletPayload { order_id, user_id, amount_won: paid_won }
}

fn restock_products(order: &Order) -> RestockProductsPayload {
    let line = |line: &api::order::v1::OrderLine| StockLine {
        product_id: line.product_id,
        quantity: line.quantity,
    };
    let mut lines: Vec<StockLine> = order.lines.iter().map(line).collect();
    lines.sort_by_key(|line| line.product_id);
    RestockProductsPayload { order_id: order.order_id, lines }
}

fn restore_coupon(order: &Order) -> Option<RestoreCouponPayload> {
    let (coupon_id, issued_coupon_id) = (order.coupon_id?, order.issued_coupon_id?);
    Some(RestoreCouponPayload { order_id: order.order_id, coupon_id, issued_coupon_id })
}

/// The order as the pivot's reply recorded it.
fn order(known: &Known) -> Result<Order, Unreadable> {
    let BeginCancelReply { order } = record::reply(known, BEGIN_CANCEL)?;
    order.ok_or_else(|| Unreadable("the reply of BeginCancel names no order".to_owned()))
}
