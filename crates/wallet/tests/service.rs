//! The wallet service on a real database, through its clients.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use api::saga::v1::saga_participant_service_client::SagaParticipantServiceClient;
use api::saga::v1::saga_participant_service_server::SagaParticipantServiceServer;
use api::saga::v1::step_answer::Answer as Answered;
use api::saga::v1::step_call::Call;
use api::saga::v1::step_outcome::Outcome;
use api::saga::v1::{
    Action, ActionCall, CompensateResponse, CompensationCall, DescribeRequest, GetStepsRequest,
    RaiseWatermarkRequest, RunStepsRequest, StepCall, StepError, StepKey, StepOutcome, StepRecord,
    StepRefusal, StepRefusalReason, StepRejection, StepRole, StepState,
};
use api::wallet::v1::debit_wallet_response::Outcome as Debited;
use api::wallet::v1::wallet_participant_service_client::WalletParticipantServiceClient;
use api::wallet::v1::wallet_service_client::WalletServiceClient;
use api::wallet::v1::wallet_service_server::WalletServiceServer;
use api::wallet::v1::{
    ChargeWalletRequest, ChargeWalletResponse, CreateWalletRequest, CreateWalletResponse,
    DebitWalletPayload, DebitWalletReply, DebitWalletRequest, GetWalletRequest,
    ListWalletTransactionsRequest, ListWalletTransactionsResponse, RefundWalletPayload,
    RefundWalletReply, WalletTransaction, WalletTransactionKind as Kind,
};
use api::{Reason, Refusal};
use migrations::Schema;
use participant::{
    ActionServer, Found, RowState, SagaId, SagaParticipants, StepNo, content_digest,
};
use prost::Message;
use prost_types::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use testkit::{Acted, Stepper, request_id};
use tokio::sync::Barrier;
use tokio_util::task::TaskTracker;
use tonic::metadata::MetadataMap;
use tonic::{Code, Response, Status};
use uuid::Uuid;
use wallet::Wallet;

const USER: i64 = 7;
const ORDER: i64 = 41;
const DEBIT: i16 = 3;
const REFUND: i16 = 2;
const DEBIT_METHOD: &str = "commerce.wallet.v1.WalletParticipantService/DebitWallet";
const REFUND_METHOD: &str = "commerce.wallet.v1.WalletParticipantService/RefundWallet";

type Answer<T> = Result<Response<T>, Status>;

/// A wallet service with a database of its own.
#[derive(Clone)]
struct Bank {
    db: db::Db,
    wallet: Wallet,
    public: WalletServiceClient<WalletServiceServer<Wallet>>,
    steps: Stepper,
}

impl Bank {
    async fn open() -> Self {
        let (db, _) = testkit::database(Schema::Wallet).await;
        let wallet =
            Wallet::start(db.clone(), participant::Options::default(), &TaskTracker::new());
        let public = WalletServiceClient::new(wallet.public());
        let steps = Stepper::new(wallet.steps());
        Self { db, wallet, public, steps }
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

    async fn debit(&self, saga: Uuid, amount: i64) -> Acted<DebitWalletReply> {
        self.steps.act("DebitWallet", saga, DEBIT, &payment(USER, amount)).await.unwrap()
    }

    async fn undo(&self, saga: Uuid) -> (Found, Vec<u8>) {
        self.steps.compensate(saga, DEBIT).await
    }

    async fn refund(
        &self,
        user_id: i64,
        saga: Uuid,
        amount: i64,
    ) -> Result<Acted<RefundWalletReply>, Status> {
        let payload = RefundWalletPayload { order_id: ORDER, user_id, amount };
        self.steps.act("RefundWallet", saga, REFUND, &payload).await
    }

    /// A client of its actions.
    fn actions(&self) -> WalletParticipantServiceClient<ActionServer<Wallet>> {
        WalletParticipantServiceClient::new(self.wallet.actions())
    }

    /// The wallet as a participant among those of its process.
    fn participants(
        &self,
    ) -> SagaParticipantServiceClient<SagaParticipantServiceServer<SagaParticipants>> {
        let participants =
            SagaParticipants::new([self.wallet.steps()], 64, TaskTracker::new()).server();
        SagaParticipantServiceClient::new(participants)
    }

    /// Runs these steps with one call: what each was answered, by its place.
    async fn run(&self, calls: Vec<StepCall>) -> BTreeMap<i32, Answered> {
        let request = RunStepsRequest { participant: "wallet".to_owned(), calls };
        let mut stream = self.participants().run_steps(request).await.unwrap().into_inner();
        let mut answers = BTreeMap::new();
        while let Some(some) = stream.message().await.unwrap() {
            for answer in some.answers {
                let twice = answers.insert(answer.call, answer.answer.unwrap());
                assert_eq!(twice, None, "call {} was answered twice", answer.call);
            }
        }
        answers
    }

    /// What is on record for these sagas.
    async fn records(&self, sagas: &[Uuid]) -> Vec<StepRecord> {
        let saga_ids = sagas.iter().map(|saga| saga.as_bytes().to_vec()).collect();
        let request = GetStepsRequest { participant: "wallet".to_owned(), saga_ids };
        self.participants().get_steps(request).await.unwrap().into_inner().records
    }

    /// Type and version of every event, in the order of their rows.
    async fn events(&self) -> Vec<(String, i64)> {
        let events = testkit::told(&self.db).await.into_iter();
        events.map(|event| (event.r#type, event.version)).collect()
    }
}

fn payment(user_id: i64, amount: i64) -> DebitWalletPayload {
    let placed_at = Some(Timestamp { seconds: 1_750_000_000, nanos: 0 });
    DebitWalletPayload { order_id: ORDER, user_id, amount, placed_at }
}

/// The key of a step without content.
fn key(saga: Uuid, step: i16) -> StepKey {
    participant::wire::key(SagaId::from(saga), StepNo(step), None)
}

/// The key of a step with this payload.
fn key_of(saga: Uuid, step: i16, payload: &impl Message) -> StepKey {
    let digest = content_digest("its method", &payload.encode_to_vec());
    participant::wire::key(SagaId::from(saga), StepNo(step), Some(digest))
}

/// A step among many.
fn step(key: StepKey, call: Call) -> StepCall {
    let (key, call) = (Some(key), Some(call));
    StepCall { key, call, remaining_millis: 20_000, ..StepCall::default() }
}

/// A debit among many steps.
fn debit(saga: Uuid, amount: i64) -> StepCall {
    let payload = payment(USER, amount);
    let action =
        ActionCall { method: DEBIT_METHOD.to_owned(), payload: Some(payload.encode_to_vec()) };
    step(key_of(saga, DEBIT, &payload), Call::Action(action))
}

/// Asserts that it is this lack of money.
fn assert_insufficient(rejection: &StepRejection, available: &str, required: &str) {
    assert_eq!(rejection.reason, "INSUFFICIENT_BALANCE");
    let values = [("available", available), ("required", required)];
    let values = values.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(rejection.metadata, values.into());
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
    let booked = DebitWalletReply {
        balance_after: 6_000,
        seq: 2,
        user_id: USER,
        amount: 4_000,
        order_id: ORDER,
    };
    assert_eq!(bank.debit(saga, 4_000).await, Acted::Done(booked));
    assert_eq!(bank.debit(saga, 4_000).await, Acted::Done(booked));
    assert_eq!(bank.debit(saga, 4_001).await, Acted::OtherContent);
    assert_eq!(bank.balance().await, 6_000);
    bank.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_costs_nothing_has_an_entry() {
    let bank = Bank::with(0).await;
    bank.debit(Uuid::now_v7(), 0).await.done();
    let ledger = bank.ledger().await;
    assert_eq!((ledger.len(), ledger[0].amount, ledger[0].kind()), (1, 0, Kind::Debit));
    assert_eq!(ledger[0].order_id, Some(ORDER));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debit_above_the_balance_is_refused_for_good() {
    let bank = Bank::with(1_000).await;
    let saga = Uuid::now_v7();
    let refused = bank.debit(saga, 1_001).await.rejection();
    assert_eq!(refused.reason, Reason::InsufficientBalance);
    assert_eq!((&*refused.metadata["available"], &*refused.metadata["required"]), ("1000", "1001"));
    bank.charge(5_000, &request_id()).await.unwrap();
    assert_eq!(bank.debit(saga, 1_001).await.rejection(), refused);

    let (found, recorded) = bank.undo(saga).await;
    assert_eq!((found, Refusal::decode(&recorded).unwrap()), (Found::Rejected, refused));
    assert_eq!(bank.balance().await, 6_000);

    let nobody = payment(USER + 1, 1);
    let nobody =
        bank.steps.act::<DebitWalletReply>("DebitWallet", Uuid::now_v7(), DEBIT, &nobody).await;
    assert_eq!(nobody.unwrap().rejection().reason, Reason::WalletNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_at_once_take_no_more_than_there_is() {
    let bank = Bank::with(10_000).await;
    let payments = (0..4).map(|_| {
        let bank = bank.clone();
        async move { bank.debit(Uuid::now_v7(), 4_000).await }
    });
    let (mut paid, mut short) = (0, 0);
    for answer in at_once(payments).await {
        match answer {
            Acted::Done(_) => paid += 1,
            other => {
                assert_eq!(other.rejection().reason, Reason::InsufficientBalance);
                short += 1;
            }
        }
    }
    assert_eq!((paid, short), (2, 2));
    assert_eq!(bank.balance().await, 2_000);
    bank.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debit_is_undone_once_and_never_comes_back() {
    let bank = Bank::with(10_000).await;
    let saga = Uuid::now_v7();
    let booked = bank.debit(saga, 4_000).await.done();
    for expected in [Found::Done, Found::Compensated] {
        let (found, recorded) = bank.undo(saga).await;
        assert_eq!((found, DebitWalletReply::decode(&*recorded).unwrap()), (expected, booked));
    }
    assert_eq!(bank.balance().await, 10_000);
    assert_eq!(bank.debit(saga, 4_000).await, Acted::Tombstoned);
    let kinds: Vec<Kind> = bank.ledger().await.iter().map(WalletTransaction::kind).collect();
    assert_eq!(kinds, [Kind::Charge, Kind::Debit, Kind::UndoDebit]);
    bank.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undone_at_once_from_many_sides_money_comes_back_once() {
    let bank = Bank::with(10_000).await;
    let saga = Uuid::now_v7();
    bank.debit(saga, 4_000).await.done();
    let undos = (0..10).map(|_| {
        let bank = bank.clone();
        async move { bank.undo(saga).await.0 }
    });
    let found = at_once(undos).await;
    // Those that joined the first one in its lane share its answer.
    assert!(found.contains(&Found::Done), "{found:?}");
    assert!(found.iter().all(|it| matches!(it, Found::Done | Found::Compensated)), "{found:?}");
    let kinds: Vec<Kind> = bank.ledger().await.iter().map(WalletTransaction::kind).collect();
    assert_eq!(kinds, [Kind::Charge, Kind::Debit, Kind::UndoDebit]);
    assert_eq!(bank.balance().await, 10_000);
    bank.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debit_that_comes_after_its_undoing_is_refused() {
    let bank = Bank::with(10_000).await;
    let saga = Uuid::now_v7();
    assert_eq!(bank.undo(saga).await, (Found::Nothing, Vec::new()));
    assert_eq!(bank.undo(saga).await, (Found::Tombstone, Vec::new()));
    assert_eq!(bank.debit(saga, 4_000).await, Acted::Tombstoned);
    assert_eq!(bank.balance().await, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_is_booked_once_and_one_that_cannot_be_fails_alone() {
    let bank = Bank::with(1_000).await;
    let saga = Uuid::now_v7();
    let booked = RefundWalletReply { balance_after: 1_500, seq: 2 };
    assert_eq!(bank.refund(USER, saga, 500).await.unwrap(), Acted::Done(booked));
    assert_eq!(bank.refund(USER, saga, 500).await.unwrap(), Acted::Done(booked));
    assert_eq!(bank.balance().await, 1_500);

    let lost = Uuid::now_v7();
    let calls = (0..8).map(|index| {
        let bank = bank.clone();
        async move {
            if index == 0 {
                let failed = bank.refund(USER + 1, lost, 500).await.unwrap_err();
                assert_eq!(failed.code(), Code::Internal);
            } else {
                bank.charge(1_000, &request_id()).await.unwrap();
            }
        }
    });
    at_once(calls).await;
    assert_eq!(bank.balance().await, 8_500);
    bank.assert_sound().await;
    // Nothing is on record for it, so that it can still be done.
    assert!(bank.steps.recorded(lost).await.is_empty());
    bank.create(USER + 1, &request_id()).await.unwrap();
    bank.refund(USER + 1, lost, 500).await.unwrap().done();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_record_can_be_read() {
    let bank = Bank::with(1_000).await;
    let (paid, short) = (Uuid::now_v7(), Uuid::now_v7());
    let booked = bank.debit(paid, 400).await.done();
    let refused = bank.debit(short, 4_000).await.rejection();
    let refunded = bank.refund(USER, paid, 400).await.unwrap().done();
    let recorded = async |saga: Uuid| -> Vec<_> {
        let rows = bank.steps.recorded(saga).await.into_iter();
        rows.map(|row| (row.saga, row.step, row.state, row.reply)).collect()
    };
    let expected = [
        (paid.into(), StepNo(REFUND), RowState::Done, refunded.encode_to_vec()),
        (paid.into(), StepNo(DEBIT), RowState::Done, booked.encode_to_vec()),
    ];
    assert_eq!(recorded(paid).await, expected);
    let expected = [(short.into(), StepNo(DEBIT), RowState::Rejected, refused.encode())];
    assert_eq!(recorded(short).await, expected);
    assert_eq!(recorded(Uuid::now_v7()).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_has_its_event_in_order() {
    let bank = Bank::with(10_000).await;
    let saga = Uuid::now_v7();
    bank.debit(saga, 4_000).await.done();
    bank.undo(saga).await;
    bank.refund(USER, saga, 1).await.unwrap().done();
    bank.debit(Uuid::now_v7(), 1_000_000).await.rejection();
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

#[tokio::test(flavor = "multi_thread")]
async fn steps_of_a_saga_that_is_over_are_refused_as_purged() {
    let bank = Bank::with(10_000).await;
    let (over, next) = (Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(bank.steps.raise_watermark(over).await, over);
    assert_eq!(bank.debit(over, 4_000).await, Acted::Purged);
    assert_eq!(bank.undo(over).await, (Found::Purged, Vec::new()));
    assert_eq!(bank.balance().await, 10_000);
    bank.debit(next, 4_000).await.done();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_outside_its_ranges_is_not_run_and_can_still_be_done() {
    let bank = Bank::with(10_000).await;
    let saga = Uuid::now_v7();
    let payload = payment(USER, -1);
    let act = bank.steps.act::<DebitWalletReply>("DebitWallet", saga, DEBIT, &payload).await;
    let refused = Refusal::from_status(&act.unwrap_err()).unwrap();
    assert_eq!((refused.reason, &*refused.metadata["field"]), (Reason::InvalidField, "amount"));
    assert!(bank.steps.recorded(saga).await.is_empty());
    bank.debit(saga, 1).await.done();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_an_action_is_answered_in_band_and_a_repeat_equally() {
    let bank = Bank::with(10_000).await;
    let debit = async |saga: Uuid, amount: i64| -> Debited {
        let payload = payment(USER, amount);
        let key = Some(key_of(saga, DEBIT, &payload));
        let request = DebitWalletRequest { key, payload: Some(payload) };
        let answer = bank.actions().debit_wallet(request).await.unwrap();
        answer.into_inner().outcome.unwrap()
    };
    let refused = |reason: StepRefusalReason| -> Debited {
        Debited::Refused(StepRefusal { reason: reason.into() })
    };
    let (paid, short, closed) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());

    let done = Debited::Done(DebitWalletReply {
        balance_after: 6_000,
        seq: 2,
        user_id: USER,
        amount: 4_000,
        order_id: ORDER,
    });
    assert_eq!(debit(paid, 4_000).await, done);
    assert_eq!(debit(paid, 4_000).await, done);
    assert_eq!(debit(paid, 4_001).await, refused(StepRefusalReason::OtherContent));

    let rejected = debit(short, 6_001).await;
    let Debited::Rejected(rejection) = &rejected else { panic!("not rejected: {rejected:?}") };
    assert_insufficient(rejection, "6000", "6001");
    bank.charge(5_000, &request_id()).await.unwrap();
    assert_eq!(debit(short, 6_001).await, rejected);

    bank.undo(closed).await;
    assert_eq!(debit(closed, 1).await, refused(StepRefusalReason::Tombstoned));
    assert_eq!(bank.balance().await, 11_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_an_action_that_is_malformed_is_an_error_and_leaves_nothing() {
    let bank = Bank::with(10_000).await;
    let saga = Uuid::now_v7();
    let payload = Some(payment(USER, 1));
    let good = key_of(saga, DEBIT, &payment(USER, 1));
    let negative = payment(USER, -1);
    let bad = [
        DebitWalletRequest { key: None, payload },
        DebitWalletRequest { key: Some(key(saga, DEBIT)), payload },
        DebitWalletRequest { key: Some(StepKey { step: 0, ..good.clone() }), payload },
        DebitWalletRequest { key: Some(StepKey { saga_id: vec![1], ..good.clone() }), payload },
        DebitWalletRequest { key: Some(good.clone()), payload: None },
        DebitWalletRequest { key: Some(key_of(saga, DEBIT, &negative)), payload: Some(negative) },
    ];
    for request in bad {
        let refused = bank.actions().debit_wallet(request.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{request:?}");
    }
    assert!(bank.steps.recorded(saga).await.is_empty());
    assert_eq!(bank.balance().await, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_describes_its_actions_with_roles_and_rejections() {
    let bank = Bank::open().await;
    let request = DescribeRequest { participant: "wallet".to_owned() };
    let mut actions = bank.participants().describe(request).await.unwrap().into_inner().actions;
    actions.sort_by(|one, other| one.method.cmp(&other.method));
    let action = |method: &str, role: StepRole, rejections: &[&str]| Action {
        method: method.to_owned(),
        role: role.into(),
        rejections: rejections.iter().map(|&it| it.to_owned()).collect(),
    };
    let expected = [
        action(
            DEBIT_METHOD,
            StepRole::Compensatable,
            &["WALLET_NOT_FOUND", "INSUFFICIENT_BALANCE"],
        ),
        action(REFUND_METHOD, StepRole::Retriable, &[]),
    ];
    assert_eq!(actions, expected);

    let request = DescribeRequest { participant: "purse".to_owned() };
    let unknown = bank.participants().describe(request).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_steps_each_is_answered_by_itself_and_then_on_record() {
    let bank = Bank::with(10_000).await;
    let (paid, short, undone, unknown, lost) =
        (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let undoing = bank.debit(undone, 3_000).await.done();
    let keyless = StepCall { key: None, ..debit(unknown, 1) };
    let elsewhere = ActionCall {
        method: "commerce.wallet.v1.WalletParticipantService/BurnWallet".to_owned(),
        payload: Some(Vec::new()),
    };
    let refund = RefundWalletPayload { order_id: ORDER, user_id: USER + 1, amount: 1 };
    let unforeseen =
        ActionCall { method: REFUND_METHOD.to_owned(), payload: Some(refund.encode_to_vec()) };
    let answers = bank
        .run(vec![
            debit(paid, 4_000),
            debit(short, 1_000_000),
            step(key(undone, DEBIT), Call::Compensation(CompensationCall {})),
            keyless,
            step(key_of(unknown, DEBIT, &refund), Call::Action(elsewhere)),
            step(key_of(lost, REFUND, &refund), Call::Action(unforeseen)),
        ])
        .await;
    assert_eq!(answers.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);

    let Answered::Outcome(StepOutcome { outcome: Some(Outcome::Done(reply)) }) = &answers[&0]
    else {
        panic!("not done: {answers:?}")
    };
    let booked = DebitWalletReply::decode(reply.as_slice()).unwrap();
    assert_eq!((booked.user_id, booked.amount, booked.order_id), (USER, 4_000, ORDER));
    let Answered::Outcome(StepOutcome { outcome: Some(Outcome::Rejected(rejection)) }) =
        &answers[&1]
    else {
        panic!("not rejected: {answers:?}")
    };
    assert_eq!(rejection.reason, "INSUFFICIENT_BALANCE");
    let found = StepState::Done.into();
    let compensated = Answered::Compensation(CompensateResponse { found, rejection: None });
    assert_eq!(answers[&2], compensated);
    let codes = [3, 4, 5].map(|place| match &answers[&place] {
        Answered::Error(StepError { code, .. }) => Code::from_i32(*code),
        other => panic!("no error: {other:?}"),
    });
    assert_eq!(codes, [Code::InvalidArgument, Code::Unimplemented, Code::Internal]);
    assert_eq!(bank.balance().await, 6_000);
    bank.assert_sound().await;

    let repeated = bank.run(vec![debit(short, 1_000_000), debit(paid, 4_000)]).await;
    assert_eq!((&repeated[&0], &repeated[&1]), (&answers[&1], &answers[&0]));

    let expected = [
        (key(paid, DEBIT), StepState::Done, reply.clone(), None),
        (key(short, DEBIT), StepState::Rejected, Vec::new(), Some(rejection.clone())),
        (key(undone, DEBIT), StepState::Compensated, undoing.encode_to_vec(), None),
    ];
    let records = bank.records(&[paid, short, undone, unknown, lost]).await.into_iter();
    let records: Vec<_> =
        records.map(|it| (it.key.clone().unwrap(), it.state(), it.reply, it.rejection)).collect();
    assert_eq!(records, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_watermark_never_falls_and_purges_the_sagas_up_to_it() {
    let bank = Bank::with(10_000).await;
    let (older, over, next) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    for asked in [over, older] {
        let watermark = asked.as_bytes().to_vec();
        let request = RaiseWatermarkRequest { participant: "wallet".to_owned(), watermark };
        let raised = bank.participants().raise_watermark(request).await.unwrap().into_inner();
        assert_eq!(raised.watermark, over.as_bytes());
    }
    let answers = bank
        .run(vec![
            debit(over, 4_000),
            step(key(older, DEBIT), Call::Compensation(CompensationCall {})),
            debit(next, 4_000),
        ])
        .await;
    let reason = StepRefusalReason::Purged.into();
    let purged = Outcome::Refused(StepRefusal { reason });
    assert_eq!(answers[&0], Answered::Outcome(StepOutcome { outcome: Some(purged) }));
    let found = StepState::Purged.into();
    let nothing_left = Answered::Compensation(CompensateResponse { found, rejection: None });
    assert_eq!(answers[&1], nothing_left);
    assert!(
        matches!(answers[&2], Answered::Outcome(StepOutcome { outcome: Some(Outcome::Done(_)) })),
        "{answers:?}"
    );
    assert_eq!(bank.balance().await, 6_000);
}
