//! A product service on a database of its own, spoken to through its generated clients, and asked for steps.

use api::product::v1::product_admin_service_client::ProductAdminServiceClient;
use api::product::v1::product_admin_service_server::ProductAdminServiceServer;
use api::product::v1::product_service_client::ProductServiceClient;
use api::product::v1::product_service_server::ProductServiceServer;
use api::product::v1::{
    CreateProductRequest, GetProductRequest, ListStockMovementsRequest, Product as Item,
    ReserveStockPayload, ReserveStockReply, RestockProductsPayload, RestockProductsReply,
    StockLine, StockMovement,
};
use api::{Reason, Refusal};
use migrations::Schema;
use participant::{Found, Options};
use product::{Cache, Product};
use prost::Message;
use prost_types::Timestamp;
use testkit::{Acted, Stepper};
use tokio_util::task::TaskTracker;
use tonic::Status;
use uuid::Uuid;

/// The number of `ReserveStock` in its plan.
pub(crate) const RESERVE: i16 = 1;

/// The number of `RestockProducts` in its plan.
pub(crate) const RESTOCK: i16 = 3;

#[derive(Clone)]
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

    pub(crate) fn admin(&self) -> ProductAdminServiceClient<ProductAdminServiceServer<Product>> {
        ProductAdminServiceClient::new(self.service.admin())
    }

    pub(crate) fn steps(&self) -> Stepper {
        Stepper::new(self.service.steps())
    }

    /// Takes the units of an order.
    pub(crate) async fn reserve(&self, order: &Order) -> Acted<ReserveStockReply> {
        let Order { saga, payload } = order;
        self.steps().act("ReserveStock", *saga, RESERVE, payload).await.unwrap()
    }

    /// Compensates the reservation of an order: what was found, and the reply on record.
    pub(crate) async fn release(&self, order: &Order) -> (Found, Option<ReserveStockReply>) {
        let (found, recorded) = self.steps().compensate(order.saga, RESERVE).await;
        let reply = matches!(found, Found::Done | Found::Compensated)
            .then(|| ReserveStockReply::decode(recorded.as_slice()).unwrap());
        (found, reply)
    }

    /// Returns the units of a cancelled order.
    pub(crate) async fn restock(
        &self,
        saga: Uuid,
        payload: &RestockProductsPayload,
    ) -> Result<Acted<RestockProductsReply>, Status> {
        self.steps().act("RestockProducts", saga, RESTOCK, payload).await
    }

    /// A new product, its price 100 won.
    pub(crate) async fn product(&self, stock: i32) -> i64 {
        self.named("tea", stock).await
    }

    /// A new product with this name.
    pub(crate) async fn named(&self, name: &str, stock: i32) -> i64 {
        let created = self.admin().create_product(create(name, 100, stock)).await.unwrap();
        created.into_inner().product.unwrap().product_id
    }

    pub(crate) async fn get(&self, product_id: i64) -> Item {
        let request = GetProductRequest { product_id };
        self.public().get_product(request).await.unwrap().into_inner().product.unwrap()
    }

    pub(crate) async fn stock(&self, product_id: i64) -> i32 {
        self.get(product_id).await.stock
    }

    /// All movements, oldest first, read page by page; they must be gapless and add up to the stock.
    pub(crate) async fn movements(&self, product_id: i64) -> Vec<StockMovement> {
        let mut request =
            ListStockMovementsRequest { product_id, page_size: 3, page_token: String::new() };
        let mut all = Vec::new();
        loop {
            let page = self.admin().list_stock_movements(request.clone()).await.unwrap();
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

pub(crate) fn create(name: &str, price_won: i64, stock: i32) -> CreateProductRequest {
    CreateProductRequest { request_id: request_id(), name: name.to_owned(), price_won, stock }
}

/// What an order takes, and the saga that takes it.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) saga: Uuid,
    pub(crate) payload: ReserveStockPayload,
}

/// An order of these units of products, by a saga of its own.
pub(crate) fn order(order_id: i64, lines: &[(i64, i32)]) -> Order {
    let payload = ReserveStockPayload {
        order_id,
        user_id: 1,
        placed_at: Some(Timestamp::default()),
        lines: stock_lines(lines),
        expected_total_won: None,
    };
    Order { saga: Uuid::now_v7(), payload }
}

/// The cancelled order's units.
pub(crate) fn cancelled(order_id: i64, lines: &[(i64, i32)]) -> RestockProductsPayload {
    RestockProductsPayload { order_id, lines: stock_lines(lines) }
}

fn stock_lines(lines: &[(i64, i32)]) -> Vec<StockLine> {
    let line = |&(product_id, quantity): &(i64, i32)| StockLine { product_id, quantity };
    lines.iter().map(line).collect()
}

pub(crate) fn refusal(status: &Status) -> Refusal {
    Refusal::from_status(status).unwrap_or_else(|| panic!("not a refusal: {status:?}"))
}

pub(crate) fn reason(status: &Status) -> Reason {
    refusal(status).reason
}
