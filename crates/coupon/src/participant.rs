//! The coupon's steps in sagas.

use crate::desk::{Desk, Op};
use crate::domain::{CouponId, IssuedId, OrderId, UserId};
use crate::wire;
use ::participant::{Actions, Routed, SagaId, StepNo};
use ::service::{read, unknown_action};
use api::Refusal;
use api::coupon::v1::{RedeemCouponPayload, RestoreCouponPayload};
use tonic::Status;

impl Actions for Desk {
    /// The campaign is the entity: its coupons are issued in the same lane.
    fn read(
        &self,
        action: &str,
        _: (SagaId, StepNo),
        payload: &[u8],
    ) -> Result<Routed<Op>, Status> {
        let (coupon_id, op) = match action {
            "RedeemCoupon" => {
                let payload: RedeemCouponPayload = read(payload)?;
                let RedeemCouponPayload { order_id, user_id, coupon_id, placed_at, total_won } =
                    payload;
                let required = || Refusal::invalid_field("placed_at", "is required");
                let placed_at = placed_at.as_ref().ok_or_else(required)?;
                let op = Op::Redeem {
                    coupon: CouponId(coupon_id),
                    user: UserId(user_id),
                    order: OrderId(order_id),
                    placed_at: wire::instant("placed_at", placed_at)?,
                    total: total_won,
                };
                (coupon_id, op)
            }
            "RestoreCoupon" => {
                let RestoreCouponPayload { order_id, coupon_id, issued_coupon_id } = read(payload)?;
                let op = Op::Restore {
                    coupon: CouponId(coupon_id),
                    id: IssuedId(issued_coupon_id),
                    order: OrderId(order_id),
                };
                (coupon_id, op)
            }
            other => return Err(unknown_action(other)),
        };
        Ok(Routed { entity: coupon_id.cast_unsigned(), op })
    }
}
