//! A wallet service on a database of its own, spoken to through its generated client, and asked for steps.

use api::events::v1::EventEnvelope;
use api::wallet::v1::wallet_service_client::WalletServiceClient;
use api::wallet::v1::wallet_service_server::WalletServiceServer;
use api::wallet::v1::{
    ChargeWalletRequest, ChargeWalletResponse, CreateWalletRequest, CreateWalletResponse,
    DebitWalletPayload, DebitWalletReply, GetWalletRequest, ListWalletTransactionsRequest,
    ListWalletTransactionsResponse, RefundWalletPayload, RefundWalletReply, WalletTransaction,
};
use api::{Reason, Refusal};
use db::Conn;
use diesel_async::SimpleAsyncConnection;
use migrations::Schema;
use participant::Found;
use prost_types::Timestamp;
use std::sync::Arc;
use testkit::{Acted, Stepper, request_id};
use tokio::sync::Barrier;
use tokio_util::task::TaskTracker;
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};
use uuid::Uuid;
use wallet::Wallet;

pub(crate) const USER: i64 = 7;
pub(crate) const ORDER: i64 = 41;
/// The number of `DebitWallet` in its plan.
pub(crate) const DEBIT: i16 = 3;
/// The number of `RefundWallet` in its plan.
pub(crate) const REFUND: i16 = 2;

pub(crate) type Answer<T> = Result<Response<T>, Status>;

/// A wallet service with a database of its own.
#[derive(Clone)]
pub(crate) struct Bank {
    pub(crate) db: db::Db,
    pub(crate) wallet: Wallet,
    pub(crate) public: WalletServiceClient<WalletServiceServer<Wallet>>,
    pub(crate) steps: Stepper,
}

impl Bank {
    pub(crate) async fn open() -> Self {
        let (db, _) = testkit::database(Schema::Wallet).await;
        let wallet =
            Wallet::start(db.clone(), participant::Options::default(), &TaskTracker::new());
        let public = WalletServiceClient::new(wallet.public());
        let steps = Stepper::new(wallet.steps());
        Self { db, wallet, public, steps }
    }

    /// A bank in which USER has this much.
    pub(crate) async fn with(balance: i64) -> Self {
        let bank = Self::open().await;
        bank.create(USER, &request_id()).await.unwrap();
        if balance > 0 {
            bank.charge(balance, &request_id()).await.unwrap();
        }
        bank
    }

    pub(crate) async fn create(
        &self,
        user_id: i64,
        request_id: &str,
    ) -> Answer<CreateWalletResponse> {
        let request = CreateWalletRequest { request_id: request_id.to_owned(), user_id };
        self.public.clone().create_wallet(request).await
    }

    pub(crate) async fn charge(
        &self,
        amount_won: i64,
        request_id: &str,
    ) -> Answer<ChargeWalletResponse> {
        let request_id = request_id.to_owned();
        let request = ChargeWalletRequest { request_id, user_id: USER, amount_won };
        self.public.clone().charge_wallet(request).await
    }

    pub(crate) async fn balance(&self) -> i64 {
        let request = GetWalletRequest { user_id: USER };
        let answer = self.public.clone().get_wallet(request).await.unwrap();
        answer.into_inner().wallet.unwrap().balance_won
    }

    /// One page of a list.
    pub(crate) async fn page(
        &self,
        request: &ListWalletTransactionsRequest,
    ) -> Answer<ListWalletTransactionsResponse> {
        self.public.clone().list_wallet_transactions(request.clone()).await
    }

    /// The whole ledger, oldest first.
    pub(crate) async fn ledger(&self) -> Vec<WalletTransaction> {
        let page = self.page(&list(USER, 200)).await.unwrap().into_inner();
        assert_eq!(page.next_page_token, "");
        page.transactions.into_iter().rev().collect()
    }

    /// Asserts that the ledger has no gaps and adds up to the balance.
    pub(crate) async fn assert_sound(&self) {
        let mut balance = 0;
        for (entry, seq) in self.ledger().await.iter().zip(1..) {
            balance += entry.amount_won;
            assert_eq!((entry.seq, entry.balance_after_won), (seq, balance));
        }
        assert_eq!(self.balance().await, balance);
    }

    pub(crate) async fn debit(&self, saga: Uuid, amount: i64) -> Acted<DebitWalletReply> {
        self.steps.act("DebitWallet", saga, DEBIT, &payment(USER, amount)).await.unwrap()
    }

    pub(crate) async fn undo(&self, saga: Uuid) -> (Found, Vec<u8>) {
        self.steps.compensate(saga, DEBIT).await
    }

    pub(crate) async fn refund(
        &self,
        user_id: i64,
        saga: Uuid,
        amount_won: i64,
    ) -> Result<Acted<RefundWalletReply>, Status> {
        let payload = RefundWalletPayload { order_id: ORDER, user_id, amount_won };
        self.steps.act("RefundWallet", saga, REFUND, &payload).await
    }

    /// Every event, in the order of their rows.
    pub(crate) async fn events(&self) -> Vec<EventEnvelope> {
        testkit::told(&self.db).await
    }

    /// Runs a statement in the schema.
    pub(crate) async fn run(&self, sql: &str) {
        let sql = sql.to_owned();
        let done = self.db.read(async move |conn: &mut Conn| -> db::Result<()> {
            Ok(conn.batch_execute(&sql).await?)
        });
        done.await.unwrap();
    }
}

/// The first page of a user's ledger.
pub(crate) fn list(user_id: i64, page_size: i32) -> ListWalletTransactionsRequest {
    ListWalletTransactionsRequest { user_id, page_size, ..ListWalletTransactionsRequest::default() }
}

pub(crate) fn payment(user_id: i64, amount_won: i64) -> DebitWalletPayload {
    let placed_at = Some(Timestamp { seconds: 1_750_000_000, nanos: 0 });
    DebitWalletPayload { order_id: ORDER, user_id, amount_won, placed_at }
}

pub(crate) fn reason<T: std::fmt::Debug>(answer: Answer<T>) -> Reason {
    refusal(answer).reason
}

pub(crate) fn refusal<T: std::fmt::Debug>(answer: Answer<T>) -> Refusal {
    Refusal::from_status(&answer.unwrap_err()).unwrap()
}

pub(crate) fn replayed(metadata: &MetadataMap) -> bool {
    metadata.get(api::outcome::IDEMPOTENCY_REPLAYED).is_some_and(|value| value == "true")
}

/// Runs all of these released by one barrier.
pub(crate) async fn at_once<T: Send + 'static>(
    calls: impl ExactSizeIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let barrier = Arc::new(Barrier::new(calls.len()));
    let tasks: Vec<_> = calls
        .map(|call| {
            let barrier = Arc::clone(&barrier);
            tokio::spawn(async move {
                barrier.wait().await;
                call.await
            })
        })
        .collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}
