//! The product's steps in sagas.

use crate::desk::Op;
use crate::domain::{OrderId, ProductId, Reservation, merge};
use crate::{Product, trace, wire};
use ::participant::grpc::{self, OnRecord, step_key};
use ::participant::{Call, Outcome, content_hash};
use api::product::v1::product_participant_service_server::ProductParticipantService;
use api::product::v1::{
    GetStepsRequest, GetStepsResponse, RaiseFloorRequest, RaiseFloorResponse, ReleaseStockRequest,
    ReleaseStockResponse, ReserveStockRequest, ReserveStockResponse, RestockProductsRequest,
    RestockProductsResponse, StockLine,
};
use api::{Check, Refusal};
use tonic::{Request, Response, Status};

/// The encoding of requests that barrier rows digest.
const ENCODING: u8 = 1;

#[tonic::async_trait]
impl ProductParticipantService for Product {
    async fn reserve_stock(
        &self,
        request: Request<ReserveStockRequest>,
    ) -> Result<Response<ReserveStockResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let step = step_key("ReserveStock", request.key.as_ref())?;
        let order_id = request.order_id;
        let lines = lines(&request.lines)?;
        let products: Vec<ProductId> = lines.iter().map(|line| line.product).collect();
        let op = Op::Reserve(Reservation::new(OrderId(order_id), lines, request.expected_total));
        let hash = content_hash(ENCODING, &ReserveStockRequest { key: None, ..request });
        let call = Call::step(step, hash, op, trace());
        let outcome = self.run(order_id, call).await;
        // Also where nobody knows, and for a repeat: it is answered in place of the call that wrote.
        if !matches!(outcome, Ok(Outcome::Rejected { .. })) {
            self.forget_all(products);
        }
        outcome?.into_response()
    }

    async fn release_stock(
        &self,
        request: Request<ReleaseStockRequest>,
    ) -> Result<Response<ReleaseStockResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let step = step_key("ReleaseStock", request.key.as_ref())?;
        let outcome = self.run(request.order_id, Call::undo(step, trace())).await?;
        let OnRecord { found, rejection, reply, .. } =
            OnRecord::<ReserveStockResponse>::read(outcome)?;
        let lines = reply.iter().flat_map(|reserved| &reserved.lines);
        self.forget_all(lines.map(|line| ProductId(line.product_id)));
        Ok(Response::new(ReleaseStockResponse { found: found.into(), rejection, reply }))
    }

    async fn restock_products(
        &self,
        request: Request<RestockProductsRequest>,
    ) -> Result<Response<RestockProductsResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let step = step_key("RestockProducts", request.key.as_ref())?;
        let order_id = request.order_id;
        let lines = merge(lines(&request.lines)?);
        let products: Vec<ProductId> = lines.iter().map(|line| line.product).collect();
        let op = Op::Restock { order: OrderId(order_id), lines };
        let hash = content_hash(ENCODING, &RestockProductsRequest { key: None, ..request });
        let call = Call::closing_step(step, hash, op, trace());
        let outcome = self.run(order_id, call).await;
        self.forget_all(products);
        outcome?.into_response()
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

fn lines(lines: &[StockLine]) -> Result<Vec<crate::domain::Line>, Refusal> {
    lines.iter().map(wire::line).collect()
}
