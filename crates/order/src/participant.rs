//! The order's steps in sagas: the registers that decide whether they succeed.

use crate::desk::Op;
use crate::{Order, trace, wire};
use ::participant::grpc::{self, OnRecord, step_key};
use api::Check;
use api::order::v1::order_participant_service_server::OrderParticipantService;
use api::order::v1::{
    BeginCancelRequest, BeginCancelResponse, ConfirmOrderRequest, ConfirmOrderResponse,
    FinishCancelRequest, FinishCancelResponse, GetStepsRequest, GetStepsResponse,
    RaiseFloorRequest, RaiseFloorResponse, VoidCancelRequest, VoidCancelResponse, VoidOrderRequest,
    VoidOrderResponse,
};
use participant::{Call, content_hash};
use tonic::{Request, Response, Status};

/// The encoding of requests that barrier rows digest.
const ENCODING: u8 = 1;

#[tonic::async_trait]
impl OrderParticipantService for Order {
    async fn confirm_order(
        &self,
        request: Request<ConfirmOrderRequest>,
    ) -> Result<Response<ConfirmOrderResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let step = step_key("ConfirmOrder", request.key.as_ref())?;
        let order_id = request.order_id;
        let op = Op::Confirm(wire::placed(&request, step.saga)?);
        let hash = content_hash(ENCODING, &ConfirmOrderRequest { key: None, ..request });
        let call = Call::step(step, hash, op, trace());
        self.run(order_id, call).await?.into_response()
    }

    async fn void_order(
        &self,
        request: Request<VoidOrderRequest>,
    ) -> Result<Response<VoidOrderResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let step = step_key("VoidOrder", request.key.as_ref())?;
        let call = Call::void(step, request.reason.into_bytes(), trace());
        let outcome = self.run(request.order_id, call).await?;
        let OnRecord { found, reason, reply, .. } =
            OnRecord::<ConfirmOrderResponse>::read(outcome)?;
        let order = reply.and_then(|reply| reply.order);
        Ok(Response::new(VoidOrderResponse { found: found.into(), reason, order }))
    }

    async fn begin_cancel(
        &self,
        request: Request<BeginCancelRequest>,
    ) -> Result<Response<BeginCancelResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let step = step_key("BeginCancel", request.key.as_ref())?;
        let BeginCancelRequest { order_id, user_id, .. } = request;
        let op = Op::BeginCancel { order_id, user_id, saga: step.saga.into() };
        let hash = content_hash(ENCODING, &BeginCancelRequest { key: None, ..request });
        let call = Call::step(step, hash, op, trace());
        self.run(order_id, call).await?.into_response()
    }

    async fn void_cancel(
        &self,
        request: Request<VoidCancelRequest>,
    ) -> Result<Response<VoidCancelResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let step = step_key("VoidCancel", request.key.as_ref())?;
        let call = Call::void(step, request.reason.into_bytes(), trace());
        let outcome = self.run(request.order_id, call).await?;
        let OnRecord { found, reason, rejection, reply } =
            OnRecord::<BeginCancelResponse>::read(outcome)?;
        let order = reply.and_then(|reply| reply.order);
        Ok(Response::new(VoidCancelResponse { found: found.into(), reason, rejection, order }))
    }

    async fn finish_cancel(
        &self,
        request: Request<FinishCancelRequest>,
    ) -> Result<Response<FinishCancelResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let step = step_key("FinishCancel", request.key.as_ref())?;
        let order_id = request.order_id;
        let at = wire::instant("cancelled_at", request.cancelled_at.as_ref())?;
        let op = Op::FinishCancel { order_id, saga: step.saga.into(), at };
        let hash = content_hash(ENCODING, &FinishCancelRequest { key: None, ..request });
        let call = Call::closing_step(step, hash, op, trace());
        self.run(order_id, call).await?.into_response()
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
