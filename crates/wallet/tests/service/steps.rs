//! The steps: booked once, undone at most once, never more money than there is.

use crate::bank::{Bank, DEBIT, ORDER, REFUND, USER, at_once, payment};
use api::wallet::v1::{
    DebitWalletReply, RefundWalletReply, WalletTransaction, WalletTransactionKind as Kind,
};
use api::{Reason, Refusal};
use participant::{Found, RowState, StepNo};
use prost::Message;
use testkit::{Acted, request_id};
use tonic::Code;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn a_debit_repeated_is_booked_once_and_never_with_other_content() {
    let bank = Bank::with(10_000).await;
    let saga = Uuid::now_v7();
    let booked = DebitWalletReply {
        balance_after_won: 6_000,
        seq: 2,
        user_id: USER,
        amount_won: 4_000,
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
    assert_eq!((ledger.len(), ledger[0].amount_won, ledger[0].kind()), (1, 0, Kind::Debit));
    assert_eq!(ledger[0].order_id, Some(ORDER));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debit_above_the_balance_is_refused_for_good() {
    let bank = Bank::with(1_000).await;
    let saga = Uuid::now_v7();
    let refused = bank.debit(saga, 1_001).await.rejection();
    assert_eq!(refused.reason, Reason::InsufficientBalance);
    let metadata = ["available_won", "required_won"].map(|key| refused.metadata[key].as_str());
    assert_eq!(metadata, ["1000", "1001"]);
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
    let booked = RefundWalletReply { balance_after_won: 1_500, seq: 2 };
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
    assert_eq!((refused.reason, &*refused.metadata["field"]), (Reason::InvalidField, "amount_won"));
    assert!(bank.steps.recorded(saga).await.is_empty());
    bank.debit(saga, 1).await.done();
}
