//! The best sellers over gRPC.

use crate::list::{List, Told, unavailable};
use crate::products::Products;
use crate::rebuild::{Rebuild, Start};
use crate::store::Store;
use api::outcome::IDEMPOTENCY_REPLAYED;
use api::ranking::v1::ranking_admin_service_server::{
    RankingAdminService, RankingAdminServiceServer,
};
use api::ranking::v1::ranking_service_server::{RankingService, RankingServiceServer};
use api::ranking::v1::{
    ListTopProductsRequest, ListTopProductsResponse, RebuildRankingRequest, RebuildRankingResponse,
};
use api::{Check, RequestId};
use chrono::{DateTime, Utc};
use platform::served;
use prost_types::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

/// How old the list may be: it is made anew a few times a second, however many read it.
pub const COPY_LIFE: Duration = Duration::from_millis(200);

/// Places where the caller names no number.
const DEFAULT_LIMIT: usize = 5;

/// The list of best sellers, and the rebuild of it: `commerce.ranking.v1`.
pub struct Service {
    list: List,
    rebuild: Rebuild,
}

impl Service {
    /// Serves the counts of `store` with names and prices from `products`, from a copy that lives for `life`.
    pub fn new(
        store: Store,
        rebuild: Rebuild,
        products: Arc<dyn Products>,
        life: Duration,
    ) -> Self {
        Self { list: List::new(store, products, life), rebuild }
    }

    /// The calls for everybody.
    pub fn public(self: &Arc<Self>) -> RankingServiceServer<Self> {
        served!(RankingServiceServer::from_arc(Arc::clone(self)))
    }

    /// The calls for operators.
    pub fn admin(self: &Arc<Self>) -> RankingAdminServiceServer<Self> {
        served!(RankingAdminServiceServer::from_arc(Arc::clone(self)))
    }

    /// Whether there is a list to tell. Looks at Redis only while there has been none.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn can_answer(&self) -> Result<(), Status> {
        if self.list.is_there() {
            return Ok(());
        }
        self.list.get().await.map(drop)
    }
}

#[tonic::async_trait]
impl RankingService for Service {
    async fn list_top_products(
        &self,
        request: Request<ListTopProductsRequest>,
    ) -> Result<Response<ListTopProductsResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let limit = match usize::try_from(request.limit) {
            Ok(limit) if limit > 0 => limit,
            _ => DEFAULT_LIMIT,
        };
        let Told { copy, max_age } = self.list.get().await?;
        Ok(Response::new(ListTopProductsResponse {
            products: copy.products.iter().take(limit).cloned().collect(),
            window_start: Some(timestamp(copy.window.start)),
            as_of: Some(timestamp(copy.window.as_of)),
            max_age: max_age.try_into().ok(),
        }))
    }
}

#[tonic::async_trait]
impl RankingAdminService for Service {
    async fn rebuild_ranking(
        &self,
        request: Request<RebuildRankingRequest>,
    ) -> Result<Response<RebuildRankingResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let id = RequestId::parse(&request.request_id)?;
        let start = Start::Request(id.into());
        let rebuilt = self.rebuild.run(start).await.map_err(|error| unavailable(&error))?;
        let mut response = Response::new(RebuildRankingResponse {
            events: rebuilt.events,
            as_of: Some(timestamp(rebuilt.as_of)),
        });
        if rebuilt.replayed {
            let yes = MetadataValue::from_static("true");
            response.metadata_mut().insert(IDEMPOTENCY_REPLAYED, yes);
        }
        Ok(response)
    }
}

fn timestamp(at: DateTime<Utc>) -> Timestamp {
    let nanos = i32::try_from(at.timestamp_subsec_nanos()).unwrap_or_default();
    Timestamp { seconds: at.timestamp(), nanos }
}
