//! The steps as the contract of participants has them: calls of actions, many steps by one call, records, watermarks.

use crate::bank::{Bank, DEBIT, ORDER, REFUND, USER, payment};
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
use api::wallet::v1::{DebitWalletReply, DebitWalletRequest, RefundWalletPayload};
use participant::{ActionServer, SagaId, SagaParticipants, StepNo, content_digest};
use prost::Message;
use std::collections::BTreeMap;
use testkit::request_id;
use tokio_util::task::TaskTracker;
use tonic::Code;
use uuid::Uuid;
use wallet::Wallet;

const DEBIT_METHOD: &str = "commerce.wallet.v1.WalletParticipantService/DebitWallet";
const REFUND_METHOD: &str = "commerce.wallet.v1.WalletParticipantService/RefundWallet";

impl Bank {
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
    async fn run_steps(&self, calls: Vec<StepCall>) -> BTreeMap<i32, Answered> {
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
    let values = [("available_won", available), ("required_won", required)];
    let values = values.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(rejection.metadata, values.into());
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
        balance_after_won: 6_000,
        seq: 2,
        user_id: USER,
        amount_won: 4_000,
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
    let refund = RefundWalletPayload { order_id: ORDER, user_id: USER + 1, amount_won: 1 };
    let unforeseen =
        ActionCall { method: REFUND_METHOD.to_owned(), payload: Some(refund.encode_to_vec()) };
    let answers = bank
        .run_steps(vec![
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
    assert_eq!((booked.user_id, booked.amount_won, booked.order_id), (USER, 4_000, ORDER));
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

    let repeated = bank.run_steps(vec![debit(short, 1_000_000), debit(paid, 4_000)]).await;
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
        .run_steps(vec![
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
