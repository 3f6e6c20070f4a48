//! The public calls.

use crate::bank::{Bank, ORDER, USER, at_once, reason, refusal, replayed};
use api::Reason;
use api::wallet::v1::{WalletCreated, WalletDebited, WalletTransactionKind as Kind};
use events::message::{read, type_of};
use prost::Name;
use testkit::request_id;
use uuid::Uuid;

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
    let metadata = ["field", "minimum"].map(|key| refused.metadata[key].as_str());
    assert_eq!(metadata, ["amount_won", "1000"]);
    assert_eq!(bank.balance().await, 0);
    let charged = bank.charge(1_000, &id).await.unwrap().into_inner();
    assert_eq!(charged.wallet.unwrap().balance_won, 1_000);
    let entry = charged.transaction.unwrap();
    assert_eq!((entry.seq, entry.kind(), entry.amount_won), (1, Kind::Charge, 1_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_would_reach_the_limit_is_refused_with_the_limit() {
    let bank = Bank::with(0).await;
    bank.run("UPDATE wallet SET balance = 999999999999000").await;
    let refused = refusal(bank.charge(1_000, &request_id()).await);
    assert_eq!(refused.reason, Reason::BalanceLimitExceeded);
    assert_eq!(refused.metadata["limit_won"], "1000000000000000");
    assert_eq!(bank.balance().await, 999_999_999_999_000);
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
    let events = bank.events().await;
    assert_eq!(events.iter().map(type_of).collect::<Vec<_>>(), [WalletCreated::full_name()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_has_its_event_in_order() {
    let bank = Bank::with(10_000).await;
    let saga = Uuid::now_v7();
    bank.debit(saga, 4_000).await.done();
    bank.undo(saga).await;
    bank.refund(USER, saga, 1).await.unwrap().done();
    bank.debit(Uuid::now_v7(), 1_000_000).await.rejection();
    let events = bank.events().await;
    let told: Vec<_> = events.iter().map(|it| (type_of(it), it.version)).collect();
    let expected = [
        ("commerce.wallet.v1.WalletCreated", 0),
        ("commerce.wallet.v1.WalletCharged", 1),
        ("commerce.wallet.v1.WalletDebited", 2),
        ("commerce.wallet.v1.WalletDebitUndone", 3),
        ("commerce.wallet.v1.WalletRefunded", 4),
    ];
    assert_eq!(told, expected);
    let debited = WalletDebited {
        user_id: USER,
        seq: 2,
        amount_won: 4_000,
        balance_after_won: 6_000,
        order_id: ORDER,
    };
    assert_eq!(read(&events[2]), Ok(Some(debited)));
}
