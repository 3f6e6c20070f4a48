//! The wallet service on a real database, through its clients.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use api::saga::v1::{StepFound, StepKey};
use api::wallet::v1::wallet_participant_service_client::WalletParticipantServiceClient;
use api::wallet::v1::wallet_participant_service_server::WalletParticipantServiceServer;
use api::wallet::v1::wallet_service_client::WalletServiceClient;
use api::wallet::v1::wallet_service_server::WalletServiceServer;
use api::wallet::v1::{
    ChargeWalletRequest, ChargeWalletResponse, CreateWalletRequest, CreateWalletResponse,
    DebitWalletRequest, DebitWalletResponse, GetStepsRequest, GetWalletRequest,
    ListWalletTransactionsRequest, ListWalletTransactionsResponse, RefundWalletRequest,
    RefundWalletResponse, UndoDebitRequest, UndoDebitResponse, WalletTransaction,
    WalletTransactionKind as Kind,
};
use api::{Reason, Refusal};
use migrations::Schema;
use prost_types::Timestamp;
use std::sync::Arc;
use testkit::request_id;
use tokio::sync::Barrier;
use tokio_util::task::TaskTracker;
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};
use uuid::Uuid;
use wallet::Wallet;

const USER: i64 = 7;
const ORDER: i64 = 41;
const DEBIT: i32 = 3;
const REFUND: i32 = 2;

type Answer<T> = Result<Response<T>, Status>;

/// A wallet service with a database of its own.
#[derive(Clone)]
struct Bank {
    db: db::Db,
    public: WalletServiceClient<WalletServiceServer<Wallet>>,
    steps: WalletParticipantServiceClient<WalletParticipantServiceServer<Wallet>>,
}

impl Bank {
    async fn open() -> Self {
        let (db, _) = testkit::database(Schema::Wallet).await;
        let wallet =
            Wallet::start(db.clone(), participant::Options::default(), &TaskTracker::new());
        let public = WalletServiceClient::new(wallet.public());
        let steps = WalletParticipantServiceClient::new(wallet.participant());
        Self { db, public, steps }
    }

    /// A bank in which USER has this much.
    async fn with(balance: i64) -> Self {
        let bank = Self::open().await;
        bank.create(USER, &request_id()).await.unwrap();
        if balance > 0 {
            bank.charge(balance, &request_id()).await.unwrap();
        }
        bank
    }

    async fn create(&self, user_id: i64, request_id: &str) -> Answer<CreateWalletResponse> {
        let request = CreateWalletRequest { request_id: request_id.to_owned(), user_id };
        self.public.clone().create_wallet(request).await
    }

    async fn charge(&self, amount: i64, request_id: &str) -> Answer<ChargeWalletResponse> {
        let request_id = request_id.to_owned();
        let request = ChargeWalletRequest { request_id, user_id: USER, amount };
        self.public.clone().charge_wallet(request).await
    }

    async fn balance(&self) -> i64 {
        let request = GetWalletRequest { user_id: USER };
        let answer = self.public.clone().get_wallet(request).await.unwrap();
        answer.into_inner().wallet.unwrap().balance
    }

    async fn page(
        &self,
        user_id: i64,
        page_size: i32,
        page_token: &str,
    ) -> Answer<ListWalletTransactionsResponse> {
        let page_token = page_token.to_owned();
        let request = ListWalletTransactionsRequest { user_id, page_size, page_token };
        self.public.clone().list_wallet_transactions(request).await
    }

    /// The whole ledger, oldest first.
    async fn ledger(&self) -> Vec<WalletTransaction> {
        let page = self.page(USER, 200, "").await.unwrap().into_inner();
        assert_eq!(page.next_page_token, "");
        page.transactions.into_iter().rev().collect()
    }

    /// Asserts that the ledger has no gaps and adds up to the balance.
    async fn assert_sound(&self) {
        let mut balance = 0;
        for (entry, seq) in self.ledger().await.iter().zip(1..) {
            balance += entry.amount;
            assert_eq!((entry.seq, entry.balance_after), (seq, balance));
        }
        assert_eq!(self.balance().await, balance);
    }

    async fn debit(&self, saga: Uuid, amount: i64) -> Answer<DebitWalletResponse> {
        self.debit_from(USER, saga, amount).await
    }

    async fn debit_from(
        &self,
        user_id: i64,
        saga: Uuid,
        amount: i64,
    ) -> Answer<DebitWalletResponse> {
        let request = DebitWalletRequest {
            key: Some(key(saga, DEBIT)),
            order_id: ORDER,
            user_id,
            amount,
            placed_at: Some(Timestamp { seconds: 1_750_000_000, nanos: 0 }),
        };
        self.steps.clone().debit_wallet(request).await
    }

    async fn undo(&self, saga: Uuid) -> UndoDebitResponse {
        let request = UndoDebitRequest { key: Some(key(saga, DEBIT)), order_id: ORDER };
        self.steps.clone().undo_debit(request).await.unwrap().into_inner()
    }

    async fn refund(&self, user_id: i64, saga: Uuid, amount: i64) -> Answer<RefundWalletResponse> {
        let key = Some(key(saga, REFUND));
        let request = RefundWalletRequest { key, order_id: ORDER, user_id, amount };
        self.steps.clone().refund_wallet(request).await
    }

    /// Type and version of every event, in the order of their rows.
    async fn events(&self) -> Vec<(String, i64)> {
        let events = testkit::told(&self.db).await.into_iter();
        events.map(|event| (event.r#type, event.version)).collect()
    }
}

fn key(saga: Uuid, step: i32) -> StepKey {
    StepKey { saga_id: saga.as_bytes().to_vec(), step }
}

fn reason<T: std::fmt::Debug>(answer: Answer<T>) -> Reason {
    refusal(answer).reason
}

fn refusal<T: std::fmt::Debug>(answer: Answer<T>) -> Refusal {
    Refusal::from_status(&answer.unwrap_err()).unwrap()
}

fn replayed(metadata: &MetadataMap) -> bool {
    metadata.get(api::outcome::IDEMPOTENCY_REPLAYED).is_some_and(|value| value == "true")
}

/// Runs all of these released by one barrier.
async fn at_once<T: Send + 'static>(
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

#[tokio::test(flavor = "multi_thread")]
async fn charges_at_once_all_count_and_leave_a_ledger_without_gaps() {
    let bank = Bank::with(0).await;
    let charges = (0..50).map(|_| {
        let bank = bank.clone();
        async move { bank.charge(1_000, &request_id()).await.unwrap() }
    });
    at_once(charges).await;
    assert_eq!(bank.balance().await, 50_000);
    assert_eq!(bank.ledger().await.len(), 50);
    bank.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_is_at_least_1_000_won() {
    let bank = Bank::with(0).await;
    let id = request_id();
    let refused = refusal(bank.charge(999, &id).await);
    assert_eq!(refused.reason, Reason::ChargeAmountBelowMinimum);
    assert_eq!(refused.metadata["minimum"], "1000");
    assert_eq!(bank.balance().await, 0);
    let charged = bank.charge(1_000, &id).await.unwrap().into_inner();
    assert_eq!(charged.wallet.unwrap().balance, 1_000);
    let entry = charged.transaction.unwrap();
    assert_eq!((entry.seq, entry.kind(), entry.amount), (1, Kind::Charge, 1_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_repeated_at_once_has_one_effect_and_one_answer() {
    let bank = Bank::with(0).await;
    let id = request_id();
    let repeats = (0..10).map(|_| {
        let (bank, id) = (bank.clone(), id.clone());
        async move { bank.charge(5_000, &id).await.unwrap() }
    });
    let answers = at_once(repeats).await;
    assert_eq!(answers.iter().filter(|answer| !replayed(answer.metadata())).count(), 1);
    assert!(answers.iter().all(|answer| answer.get_ref() == answers[0].get_ref()));
    assert_eq!(bank.balance().await, 5_000);
    assert_eq!(reason(bank.charge(6_000, &id).await), Reason::RequestIdReused);
    assert_eq!(bank.balance().await, 5_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_remembered_with_its_request_id() {
    let bank = Bank::open().await;
    let id = request_id();
    assert_eq!(reason(bank.charge(1_000, &id).await), Reason::WalletNotFound);
    bank.create(USER, &request_id()).await.unwrap();
    let again = bank.charge(1_000, &id).await.unwrap_err();
    assert!(replayed(again.metadata()));
    assert_eq!(reason::<()>(Err(again)), Reason::WalletNotFound);
    assert!(bank.charge(1_000, &request_id()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_one_wallet_however_often_and_at_once_it_is_asked_for() {
    let bank = Bank::open().await;
    let ids: Vec<String> = (0..5).flat_map(|_| vec![request_id(); 2]).collect();
    let creations = ids.clone().into_iter().map(|id| {
        let bank = bank.clone();
        async move { bank.create(USER, &id).await }
    });
    let answers = at_once(creations).await;
    let (mut made, mut exists) = (Vec::new(), 0);
    for (id, answer) in ids.iter().zip(answers) {
        match answer {
            Ok(_) => made.push(id),
            Err(status) => {
                assert_eq!(reason::<()>(Err(status)), Reason::WalletAlreadyExists);
                exists += 1;
            }
        }
    }
    // Both copies of the request that won.
    assert_eq!((made.len(), exists), (2, 8));
    assert_eq!(made[0], made[1]);
    assert_eq!(bank.balance().await, 0);
    assert_eq!(bank.events().await, [("WalletCreated".to_owned(), 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debit_repeated_is_booked_once_and_never_with_other_content() {
    let bank = Bank::with(10_000).await;
    let saga = Uuid::now_v7();
    let first = bank.debit(saga, 4_000).await.unwrap();
    let again = bank.debit(saga, 4_000).await.unwrap();
    assert!(!replayed(first.metadata()) && replayed(again.metadata()));
    assert_eq!(first.get_ref(), again.get_ref());
    let booked = DebitWalletResponse {
        balance_after: 6_000,
        seq: 2,
        user_id: USER,
        amount: 4_000,
        order_id: ORDER,
    };
    assert_eq!(first.into_inner(), booked);
    assert_eq!(reason(bank.debit(saga, 4_001).await), Reason::Internal);
    assert_eq!(bank.balance().await, 6_000);
    bank.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_costs_nothing_has_an_entry() {
    let bank = Bank::with(0).await;
    bank.debit(Uuid::now_v7(), 0).await.unwrap();
    let ledger = bank.ledger().await;
    assert_eq!((ledger.len(), ledger[0].amount, ledger[0].kind()), (1, 0, Kind::Debit));
    assert_eq!(ledger[0].order_id, Some(ORDER));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debit_above_the_balance_is_refused_for_good() {
    let bank = Bank::with(1_000).await;
    let saga = Uuid::now_v7();
    let refused = bank.debit(saga, 1_001).await.unwrap_err();
    let outcome = refused.metadata().get(api::outcome::SAGA_OUTCOME).unwrap();
    assert_eq!(outcome, "rejected");
    let refused = refusal::<()>(Err(refused));
    assert_eq!(refused.reason, Reason::InsufficientBalance);
    assert_eq!((&*refused.metadata["available"], &*refused.metadata["required"]), ("1000", "1001"));
    bank.charge(5_000, &request_id()).await.unwrap();
    assert_eq!(refusal(bank.debit(saga, 1_001).await), refused);

    let found = bank.undo(saga).await;
    assert_eq!(found.found(), StepFound::Rejected);
    assert_eq!(found.rejection.unwrap().reason, "INSUFFICIENT_BALANCE");
    assert_eq!(bank.balance().await, 6_000);

    let nobody = bank.debit_from(USER + 1, Uuid::now_v7(), 1).await;
    assert_eq!(reason(nobody), Reason::WalletNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_at_once_take_no_more_than_there_is() {
    let bank = Bank::with(10_000).await;
    let payments = (0..4).map(|_| {
        let bank = bank.clone();
        async move { bank.debit(Uuid::now_v7(), 4_000).await }
    });
    let answers = at_once(payments).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2);
    assert_eq!(bank.balance().await, 2_000);
    bank.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debit_is_undone_once_and_never_comes_back() {
    let bank = Bank::with(10_000).await;
    let saga = Uuid::now_v7();
    let booked = bank.debit(saga, 4_000).await.unwrap().into_inner();
    let undone = bank.undo(saga).await;
    assert_eq!((undone.found(), undone.reply), (StepFound::Done, Some(booked)));
    let again = bank.undo(saga).await;
    assert_eq!((again.found(), again.reply), (StepFound::Compensated, Some(booked)));
    assert_eq!(bank.balance().await, 10_000);
    assert_eq!(reason(bank.debit(saga, 4_000).await), Reason::SagaStepTombstoned);
    let kinds: Vec<Kind> = bank.ledger().await.iter().map(WalletTransaction::kind).collect();
    assert_eq!(kinds, [Kind::Charge, Kind::Debit, Kind::UndoDebit]);
    bank.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undone_at_once_from_many_sides_money_comes_back_once() {
    let bank = Bank::with(10_000).await;
    let saga = Uuid::now_v7();
    bank.debit(saga, 4_000).await.unwrap();
    let undos = (0..10).map(|_| {
        let bank = bank.clone();
        async move { bank.undo(saga).await.found() }
    });
    let found = at_once(undos).await;
    // Those that joined the first one in its lane share its answer.
    assert!(found.contains(&StepFound::Done), "{found:?}");
    let kinds: Vec<Kind> = bank.ledger().await.iter().map(WalletTransaction::kind).collect();
    assert_eq!(kinds, [Kind::Charge, Kind::Debit, Kind::UndoDebit]);
    assert_eq!(bank.balance().await, 10_000);
    bank.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debit_that_comes_after_its_undoing_is_refused() {
    let bank = Bank::with(10_000).await;
    let saga = Uuid::now_v7();
    assert_eq!(bank.undo(saga).await.found(), StepFound::Nothing);
    assert_eq!(bank.undo(saga).await.found(), StepFound::Tombstone);
    assert_eq!(reason(bank.debit(saga, 4_000).await), Reason::SagaStepTombstoned);
    assert_eq!(bank.balance().await, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_is_booked_once_and_one_that_cannot_be_fails_alone() {
    let bank = Bank::with(1_000).await;
    let saga = Uuid::now_v7();
    bank.refund(USER, saga, 500).await.unwrap();
    bank.refund(USER, saga, 500).await.unwrap();
    assert_eq!(bank.balance().await, 1_500);

    let lost = Uuid::now_v7();
    let calls = (0..8).map(|index| {
        let bank = bank.clone();
        async move {
            if index == 0 {
                assert_eq!(reason(bank.refund(USER + 1, lost, 500).await), Reason::Internal);
            } else {
                bank.charge(1_000, &request_id()).await.unwrap();
            }
        }
    });
    at_once(calls).await;
    assert_eq!(bank.balance().await, 8_500);
    bank.assert_sound().await;
    // Nothing is on record for it, so that it can still be done.
    bank.create(USER + 1, &request_id()).await.unwrap();
    assert!(bank.refund(USER + 1, lost, 500).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_record_can_be_read() {
    let bank = Bank::with(1_000).await;
    let (paid, short) = (Uuid::now_v7(), Uuid::now_v7());
    bank.debit(paid, 400).await.unwrap();
    bank.debit(short, 4_000).await.unwrap_err();
    bank.refund(USER, paid, 400).await.unwrap();
    let saga_ids = [paid, short, Uuid::now_v7()].map(|saga| saga.as_bytes().to_vec()).to_vec();
    let answer = bank.steps.clone().get_steps(GetStepsRequest { saga_ids }).await.unwrap();
    let records = answer.into_inner().records;
    let found: Vec<_> = records.iter().map(|it| (it.key.clone().unwrap(), it.state())).collect();
    let expected = [
        (key(paid, REFUND), StepFound::Done),
        (key(paid, DEBIT), StepFound::Done),
        (key(short, DEBIT), StepFound::Rejected),
    ];
    assert_eq!(found, expected);
    assert_eq!(records[2].rejection.as_ref().unwrap().reason, "INSUFFICIENT_BALANCE");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_has_its_event_in_order() {
    let bank = Bank::with(10_000).await;
    let saga = Uuid::now_v7();
    bank.debit(saga, 4_000).await.unwrap();
    bank.undo(saga).await;
    bank.refund(USER, saga, 1).await.unwrap();
    bank.debit(Uuid::now_v7(), 1_000_000).await.unwrap_err();
    let events =
        ["WalletCreated", "WalletCharged", "WalletDebited", "WalletDebitUndone", "WalletRefunded"];
    let expected: Vec<_> = events.into_iter().map(str::to_owned).zip(0..).collect();
    assert_eq!(bank.events().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_is_listed_newest_first_in_pages_that_belong_to_it() {
    let bank = Bank::with(0).await;
    bank.create(USER + 1, &request_id()).await.unwrap();
    for _ in 0..5 {
        bank.charge(1_000, &request_id()).await.unwrap();
    }
    let (mut token, mut pages) = (String::new(), Vec::new());
    loop {
        let page = bank.page(USER, 2, &token).await.unwrap().into_inner();
        pages.push(page.transactions.iter().map(|entry| entry.seq).collect::<Vec<_>>());
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        assert_eq!(reason(bank.page(USER + 1, 2, &token).await), Reason::InvalidPageToken);
    }
    assert_eq!(pages, [vec![5, 4], vec![3, 2], vec![1]]);
    assert!(bank.page(USER + 1, 0, "").await.unwrap().get_ref().transactions.is_empty());
    assert_eq!(reason(bank.page(USER + 2, 0, "").await), Reason::WalletNotFound);
    assert_eq!(reason(bank.page(USER, 0, "nonsense").await), Reason::InvalidPageToken);
}
