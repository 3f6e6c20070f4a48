//! A product service on a database of its own, spoken to through its generated clients.

use api::product::v1::product_participant_service_client::ProductParticipantServiceClient;
use api::product::v1::product_participant_service_server::ProductParticipantServiceServer;
use api::product::v1::product_service_client::ProductServiceClient;
use api::product::v1::product_service_server::ProductServiceServer;
use api::product::v1::{
    CreateProductRequest, GetProductRequest, ListStockMovementsRequest, Product as Item,
    ReleaseStockRequest, ReserveStockRequest, StockLine, StockMovement,
};
use api::saga::v1::StepKey;
use api::{Reason, Refusal};
use migrations::Schema;
use participant::Options;
use product::{Cache, Product};
use prost_types::Timestamp;
use tokio_util::task::TaskTracker;
use tonic::Status;
use uuid::Uuid;

/// The number of `ReserveStock` in its plan.
const STEP: i32 = 1;

pub(crate) struct Shop {
    pub(crate) db: db::Db,
    pub(crate) service: Product,
}

impl Shop {
    /// A service with several lanes, so that transactions do meet.
    pub(crate) async fn start() -> Self {
        let (db, _) = testkit::database(Schema::Product).await;
        let options = Options { count: 4, ..Options::default() };
        let service = Product::start(db.clone(), options, &TaskTracker::new());
        Self { db, service }
    }

    /// Another process on the same schema.
    pub(crate) fn replica(&self, cache: impl Into<Option<Cache>>) -> Self {
        let service = Product::start(self.db.clone(), Options::default(), &TaskTracker::new());
        let service = match cache.into() {
            Some(cache) => service.with_cache(cache),
            None => service,
        };
        Self { db: self.db.clone(), service }
    }

    pub(crate) fn public(&self) -> ProductServiceClient<ProductServiceServer<Product>> {
        ProductServiceClient::new(self.service.public())
    }

    pub(crate) fn steps(
        &self,
    ) -> ProductParticipantServiceClient<ProductParticipantServiceServer<Product>> {
        ProductParticipantServiceClient::new(self.service.participant())
    }

    /// A new product, its price 100 won.
    pub(crate) async fn product(&self, stock: i64) -> i64 {
        let request = create("tea", 100, stock);
        self.public()
            .create_product(request)
            .await
            .unwrap()
            .into_inner()
            .product
            .unwrap()
            .product_id
    }

    pub(crate) async fn get(&self, product_id: i64) -> Item {
        let request = GetProductRequest { product_id };
        self.public().get_product(request).await.unwrap().into_inner().product.unwrap()
    }

    pub(crate) async fn stock(&self, product_id: i64) -> i64 {
        self.get(product_id).await.stock
    }

    /// All movements, oldest first, read page by page; they must be gapless and add up to the stock.
    pub(crate) async fn movements(&self, product_id: i64) -> Vec<StockMovement> {
        let mut request =
            ListStockMovementsRequest { product_id, page_size: 3, page_token: String::new() };
        let mut all = Vec::new();
        loop {
            let page = self.public().list_stock_movements(request.clone()).await.unwrap();
            let page = page.into_inner();
            all.extend(page.movements);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        all.reverse();
        let mut stock = 0;
        for (seq, movement) in (1..).zip(&all) {
            stock += movement.delta;
            assert_eq!((movement.seq, movement.stock_after), (seq, stock));
        }
        assert_eq!(stock, self.stock(product_id).await);
        all
    }
}

pub(crate) fn request_id() -> String {
    Uuid::new_v4().to_string()
}

pub(crate) fn create(name: &str, price: i64, stock: i64) -> CreateProductRequest {
    CreateProductRequest { request_id: request_id(), name: name.to_owned(), price, stock }
}

pub(crate) fn key() -> StepKey {
    StepKey { saga_id: Uuid::now_v7().as_bytes().to_vec(), step: STEP }
}

/// A reservation by a saga of its own.
pub(crate) fn reserve(order_id: i64, lines: &[(i64, i64)]) -> ReserveStockRequest {
    let lines = lines.iter().map(|&(product_id, quantity)| StockLine { product_id, quantity });
    ReserveStockRequest {
        key: Some(key()),
        order_id,
        user_id: 1,
        placed_at: Some(Timestamp::default()),
        lines: lines.collect(),
        expected_total: None,
    }
}

/// The compensation of a reservation.
pub(crate) fn release(reservation: &ReserveStockRequest) -> ReleaseStockRequest {
    ReleaseStockRequest { key: reservation.key.clone(), order_id: reservation.order_id }
}

pub(crate) fn refusal(status: &Status) -> Refusal {
    Refusal::from_status(status).unwrap_or_else(|| panic!("not a refusal: {status:?}"))
}

pub(crate) fn reason(status: &Status) -> Reason {
    refusal(status).reason
}
