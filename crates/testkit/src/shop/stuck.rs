//! Sagas that stand still, because the database of a participant refuses what they need.

use super::Shop;
use super::calls::patiently;
use crate::request_id;
use crate::until;
use api::checkout::v1::{CheckoutLine, PlaceOrderRequest};
use api::saga::v1::{GetSagaRequest, SagaState};
use db::Conn;
use diesel_async::SimpleAsyncConnection;
use migrations::Schema;
use std::time::Duration;
use tonic::Request;

/// Long enough for START, and not for a saga that stands still.
const GLANCE: Duration = Duration::from_millis(500);

impl Shop {
    /// The id of a checkout that waits for a person: it has failed, and the stock that it took cannot be given back. Set
    /// `saga.alert_after` to a short time, or this takes long.
    pub async fn stuck_saga(&self) -> String {
        let (user, product) = (self.user(0).await, self.product(1_000, 10).await);
        let refused = format!("NEW.product_id = {product} AND NEW.kind = 4");
        self.refuse(Schema::Product, "stock_movement", &refused).await;
        let saga = self.begun(user, product).await;
        until(async || {
            let request = GetSagaRequest { saga_id: saga.clone() };
            let found = self.saga_admin().get_saga(request).await.expect("the saga").into_inner();
            found.saga.expect("a saga in the answer").state() == SagaState::NeedsAttention
        })
        .await;
        saga
    }

    /// The id of a checkout that does not get on, for its money cannot be taken. Its own deadline ends it.
    pub async fn hanging_saga(&self) -> String {
        let (user, product) = (self.user(10_000).await, self.product(1_000, 10).await);
        self.refuse(Schema::Wallet, "ledger", &format!("NEW.user_id = {user} AND NEW.kind = 2"))
            .await;
        self.begun(user, product).await
    }

    /// Lets the databases do again what they refused.
    pub async fn unstick(&self) {
        for schema in [Schema::Product, Schema::Wallet] {
            self.execute(schema, "DROP TRIGGER IF EXISTS refuse").await;
        }
    }

    /// From now on a table takes no row of which this is true, instead of what it refused before.
    async fn refuse(&self, schema: Schema, table: &str, rows: &str) {
        self.execute(schema, "DROP TRIGGER IF EXISTS refuse").await;
        let trigger = format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW \
            IF {rows} THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'refused by a test'; END IF"
        );
        self.execute(schema, &trigger).await;
    }

    async fn execute(&self, schema: Schema, sql: &str) {
        let db = self.db(schema).await;
        db.read(async |conn: &mut Conn| -> db::Result<()> { Ok(conn.batch_execute(sql).await?) })
            .await
            .expect("the test may change the schema");
    }

    async fn begun(&self, user_id: i64, product_id: i64) -> String {
        let request = PlaceOrderRequest {
            request_id: request_id(),
            user_id,
            lines: vec![CheckoutLine { product_id, quantity: 3 }],
            ..PlaceOrderRequest::default()
        };
        let told = patiently(async || {
            let mut call = Request::new(request.clone());
            call.set_timeout(GLANCE);
            self.checkout().place_order(call).await
        });
        let told = told.await.expect("the saga is running");
        told.into_inner().checkout_id
    }
}
