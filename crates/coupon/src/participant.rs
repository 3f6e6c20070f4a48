//! The coupon's steps in sagas.

use crate::desk::Op;
use crate::domain::{CouponId, IssuedId, OrderId, UserId};
use crate::{Coupon, trace, wire};
use ::participant::grpc::{self, OnRecord, step_key};
use ::participant::{Call, content_hash};
use api::coupon::v1::coupon_participant_service_server::CouponParticipantService;
use api::coupon::v1::{
    GetStepsRequest, GetStepsResponse, RaiseFloorRequest, RaiseFloorResponse, RedeemCouponRequest,
    RedeemCouponResponse, RestoreCouponRequest, RestoreCouponResponse, UndoRedeemRequest,
    UndoRedeemResponse,
};
use api::{Check, Refusal};
use tonic::{Request, Response, Status};

/// The encoding of requests that barrier rows digest.
const ENCODING: u8 = 1;

#[tonic::async_trait]
impl CouponParticipantService for Coupon {
    async fn redeem_coupon(
        &self,
        request: Request<RedeemCouponRequest>,
    ) -> Result<Response<RedeemCouponResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let step = step_key("RedeemCoupon", request.key.as_ref())?;
        let RedeemCouponRequest { coupon_id, user_id, order_id, total, .. } = request;
        let required = || Refusal::invalid_field("placed_at", "is required");
        let placed_at = request.placed_at.as_ref().ok_or_else(required)?;
        let placed_at = wire::instant("placed_at", placed_at)?;
        let (coupon, user, order) = (CouponId(coupon_id), UserId(user_id), OrderId(order_id));
        let op = Op::Redeem { coupon, user, order, placed_at, total };
        let hash = content_hash(ENCODING, &RedeemCouponRequest { key: None, ..request });
        let call = Call::step(step, hash, op, trace());
        self.run(coupon_id, call).await?.into_response()
    }

    async fn undo_redeem(
        &self,
        request: Request<UndoRedeemRequest>,
    ) -> Result<Response<UndoRedeemResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let step = step_key("UndoRedeem", request.key.as_ref())?;
        // The request does not name the campaign, whose lane would be the best: any is right, for rows decide.
        let outcome = self.run(request.order_id, Call::undo(step, trace())).await?;
        let OnRecord { found, rejection, reply, .. } = OnRecord::read(outcome)?;
        Ok(Response::new(UndoRedeemResponse { found: found.into(), rejection, reply }))
    }

    async fn restore_coupon(
        &self,
        request: Request<RestoreCouponRequest>,
    ) -> Result<Response<RestoreCouponResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let step = step_key("RestoreCoupon", request.key.as_ref())?;
        let RestoreCouponRequest { coupon_id, issued_coupon_id, order_id, .. } = request;
        let op = Op::Restore {
            coupon: CouponId(coupon_id),
            id: IssuedId(issued_coupon_id),
            order: OrderId(order_id),
        };
        let hash = content_hash(ENCODING, &RestoreCouponRequest { key: None, ..request });
        let call = Call::closing_step(step, hash, op, trace());
        self.run(coupon_id, call).await?.into_response()
    }

    async fn get_steps(
        &self,
        request: Request<GetStepsRequest>,
    ) -> Result<Response<GetStepsResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let records = grpc::steps(&self.db, &request.saga_ids).await?;
        Ok(Response::new(GetStepsResponse { records }))
    }

    async fn raise_floor(
        &self,
        request: Request<RaiseFloorRequest>,
    ) -> Result<Response<RaiseFloorResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let floor = grpc::raise_floor(&self.db, &request.floor).await?;
        Ok(Response::new(RaiseFloorResponse { floor }))
    }
}
