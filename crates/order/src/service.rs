//! The public calls.

use crate::domain::{self, Refused};
use crate::store::{self, Filter, StateCode};
use crate::{Order, wire};
use ::service::refuse_db;
use api::order::v1::order_service_server::OrderService;
use api::order::v1::{
    self, GetOrderRequest, GetOrderResponse, ListOrdersRequest, ListOrdersResponse, OrderState,
};
use api::{Check, Refusal};
use chrono::{DateTime, Utc};
use db::Conn;
use platform::MAX_MESSAGE_BYTES;
use platform::page::{PageSize, PageToken, Place};
use prost::Message;
use prost_types::Timestamp;
use tonic::{Request, Response, Status};

/// The list that page tokens belong to.
const ORDERS: &str = "ListOrders";

/// The most bytes of orders in a page: the rest of a message is left for the token and the lengths.
const PAGE_BYTES: usize = MAX_MESSAGE_BYTES - 4096;

#[tonic::async_trait]
impl OrderService for Order {
    async fn get_order(
        &self,
        request: Request<GetOrderRequest>,
    ) -> Result<Response<GetOrderResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let GetOrderRequest { order_id, user_id } = request;
        let found = self
            .db
            .read(async move |conn: &mut Conn| store::find(conn, order_id, user_id).await)
            .await
            .map_err(|error| refuse_db(&error))?;
        let order = found.ok_or(Refused::NotFound { order_id }).map_err(Refusal::from)?;
        Ok(Response::new(GetOrderResponse { order: Some((&order).into()) }))
    }

    async fn list_orders(
        &self,
        request: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let size = PageSize::from_request(request.page_size);
        let from = bound("created_from", request.created_from.as_ref())?;
        let to = bound("created_to", request.created_to.as_ref())?;
        let filters = (request.user_id, request.state, from, to);
        let before = PageToken::decode(ORDERS, &filters, &request.page_token)?;
        let before = before.unwrap_or_else(Place::newest);
        let state = state(request.state());
        let filter = Filter { user_id: request.user_id, state, from, to, before };
        let found = self
            .db
            .read(async move |conn: &mut Conn| store::list(conn, filter, size.rows_to_read()).await)
            .await
            .map_err(|error| refuse_db(&error))?;
        let mut orders: Vec<v1::Order> = found.iter().map(v1::Order::from).collect();
        orders.truncate(size.get().min(fitting(&orders)));
        let more = orders.len() < found.len();
        let last = orders.len().checked_sub(1).and_then(|last| found.get(last)).filter(|_| more);
        let token = |last: &domain::Order| {
            PageToken::encode(ORDERS, &filters, &Place { at: last.placed_at, id: last.id })
        };
        let next_page_token = last.map(token).unwrap_or_default();
        Ok(Response::new(ListOrdersResponse { orders, next_page_token }))
    }
}

/// How many of these orders fit a message.
fn fitting(orders: &[v1::Order]) -> usize {
    let mut bytes = 0;
    let fits = |order: &&v1::Order| {
        bytes += order.encoded_len();
        bytes <= PAGE_BYTES
    };
    orders.iter().take_while(fits).count()
}

fn state(state: OrderState) -> Option<StateCode> {
    match state {
        OrderState::Unspecified => None,
        OrderState::Confirmed => Some(StateCode::Confirmed),
        OrderState::Cancelling => Some(StateCode::Cancelling),
        OrderState::Cancelled => Some(StateCode::Cancelled),
    }
}

fn bound(field: &str, at: Option<&Timestamp>) -> Result<Option<DateTime<Utc>>, Refusal> {
    at.map(|at| wire::instant(field, Some(at))).transpose()
}
