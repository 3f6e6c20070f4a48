//! The list of a wallet's ledger: its pages and its filters.

use crate::bank::{Bank, USER, list, reason, refusal};
use api::Reason;
use api::wallet::v1::{ListWalletTransactionsRequest, WalletTransactionKind as Kind};
use prost_types::Timestamp;
use testkit::request_id;
use uuid::Uuid;

/// 2026-01-01T00:00:00Z.
const NEW_YEAR: i64 = 1_767_225_600;

impl Bank {
    /// The numbers of the entries that a list has, page by page.
    async fn pages(&self, mut request: ListWalletTransactionsRequest) -> Vec<Vec<i64>> {
        let mut pages = Vec::new();
        loop {
            let page = self.page(&request).await.unwrap().into_inner();
            pages.push(page.transactions.iter().map(|entry| entry.seq).collect());
            if page.next_page_token.is_empty() {
                return pages;
            }
            assert!(pages.len() < 100, "pages without end: {pages:?}");
            request.page_token = page.next_page_token;
        }
    }

    /// A bank whose user was charged once for each of these, so many seconds after new year.
    async fn charged_at(seconds: &[u32]) -> Self {
        let bank = Self::with(0).await;
        for (seconds, seq) in seconds.iter().zip(1..) {
            bank.charge(1_000, &request_id()).await.unwrap();
            bank.run(&format!(
                "UPDATE ledger SET created_at = TIMESTAMP('2026-01-01') + INTERVAL {seconds} SECOND \
                WHERE user_id = {USER} AND seq = {seq}"
            ))
            .await;
        }
        bank
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as the requests have it")]
fn after_new_year(seconds: i64, nanos: i32) -> Option<Timestamp> {
    Some(Timestamp { seconds: NEW_YEAR + seconds, nanos })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_is_listed_newest_first_in_pages_that_belong_to_it() {
    let bank = Bank::with(0).await;
    bank.create(USER + 1, &request_id()).await.unwrap();
    for _ in 0..5 {
        bank.charge(1_000, &request_id()).await.unwrap();
    }
    assert_eq!(bank.pages(list(USER, 2)).await, [vec![5, 4], vec![3, 2], vec![1]]);
    let page_token = bank.page(&list(USER, 2)).await.unwrap().into_inner().next_page_token;
    let others = ListWalletTransactionsRequest { page_token, ..list(USER + 1, 2) };
    assert_eq!(reason(bank.page(&others).await), Reason::InvalidPageToken);
    let page_token = "nonsense".to_owned();
    let nonsense = ListWalletTransactionsRequest { page_token, ..list(USER, 2) };
    assert_eq!(reason(bank.page(&nonsense).await), Reason::InvalidPageToken);
    assert_eq!(bank.pages(list(USER + 1, 0)).await, [[0; 0]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_of_a_user_without_a_wallet_is_not_found_whatever_the_filter() {
    let bank = Bank::open().await;
    let refunds = ListWalletTransactionsRequest { kind: Kind::Refund.into(), ..list(USER, 0) };
    for request in [list(USER, 0), refunds] {
        assert_eq!(reason(bank.page(&request).await), Reason::WalletNotFound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_one_kind_has_its_entries_in_the_order_of_the_ledger_across_pages() {
    let bank = Bank::with(10_000).await;
    for _ in 0..3 {
        let saga = Uuid::now_v7();
        bank.debit(saga, 100).await.done();
        bank.undo(saga).await;
        bank.refund(USER, saga, 100).await.unwrap().done();
    }
    bank.charge(1_000, &request_id()).await.unwrap();
    let of = |kind: Kind| ListWalletTransactionsRequest { kind: kind.into(), ..list(USER, 2) };
    assert_eq!(bank.pages(of(Kind::Charge)).await, [[11, 1]]);
    assert_eq!(bank.pages(of(Kind::Debit)).await, [vec![8, 5], vec![2]]);
    assert_eq!(bank.pages(of(Kind::UndoDebit)).await, [vec![9, 6], vec![3]]);
    assert_eq!(bank.pages(of(Kind::Refund)).await, [vec![10, 7], vec![4]]);
    let any = bank.pages(of(Kind::Unspecified)).await.concat();
    assert_eq!(any, (1..=11).rev().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_a_time_compares_every_entry_also_where_a_clock_was_put_back() {
    let bank = Bank::charged_at(&[10, 50, 30, 30, 20, 40]).await;
    let within = |created_from: Option<Timestamp>, created_to: Option<Timestamp>| {
        bank.pages(ListWalletTransactionsRequest { created_from, created_to, ..list(USER, 1) })
    };
    let (from, to) = (after_new_year(20, 0), after_new_year(40, 0));
    assert_eq!(within(from, to).await, [[5], [4], [3]], "from inclusive, to exclusive");
    assert_eq!(within(from, None).await, [[6], [5], [4], [3], [2]]);
    assert_eq!(within(None, from).await, [[1]]);
    assert_eq!(within(after_new_year(51, 0), None).await, [[0; 0]]);
    let a_nanosecond_later = after_new_year(30, 1);
    assert_eq!(within(a_nanosecond_later, None).await, [[6], [2]]);
    assert_eq!(within(None, a_nanosecond_later).await, [[5], [4], [3], [1]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_hold_together_and_a_page_token_belongs_to_them() {
    let bank = Bank::charged_at(&[10, 20, 30, 40]).await;
    bank.run("UPDATE ledger SET kind = 4, order_id = 1 WHERE seq <> 3").await;
    let filtered = ListWalletTransactionsRequest {
        kind: Kind::Refund.into(),
        created_from: after_new_year(20, 0),
        created_to: after_new_year(41, 0),
        ..list(USER, 1)
    };
    assert_eq!(bank.pages(filtered.clone()).await, [[4], [2]]);

    let page_token = bank.page(&filtered).await.unwrap().into_inner().next_page_token;
    let next = ListWalletTransactionsRequest { page_token, ..filtered };
    let others = [
        ListWalletTransactionsRequest { kind: Kind::Charge.into(), ..next.clone() },
        ListWalletTransactionsRequest { created_from: None, ..next.clone() },
        ListWalletTransactionsRequest { created_to: after_new_year(42, 0), ..next.clone() },
    ];
    for other in others {
        assert_eq!(reason(bank.page(&other).await), Reason::InvalidPageToken, "{other:?}");
    }
    let other_size = ListWalletTransactionsRequest { page_size: 7, ..next };
    assert_eq!(bank.pages(other_size).await, [[2]], "the size is no filter");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_filtered_list_ends_after_10_000_entries_and_the_next_one_goes_on() {
    let bank = Bank::with(1_000).await;
    for doubling in 0..15 {
        let more = 1 << doubling;
        bank.run(&format!(
            "INSERT INTO ledger (user_id, seq, kind, amount, balance_after, created_at) \
            SELECT user_id, seq + {more}, kind, amount, balance_after, created_at FROM ledger"
        ))
        .await;
    }
    bank.run("UPDATE wallet SET version = 32768").await;
    let kept = "UPDATE ledger SET kind = 4, order_id = 1 WHERE seq IN (5, 22768, 22769)";
    bank.run(kept).await;
    let refunds = ListWalletTransactionsRequest { kind: Kind::Refund.into(), ..list(USER, 50) };
    let expected = [vec![22_769], vec![22_768], vec![], vec![5]];
    assert_eq!(bank.pages(refunds.clone()).await, expected);
    let full = ListWalletTransactionsRequest { page_size: 1, ..refunds };
    let expected = [vec![22_769], vec![22_768], vec![], vec![5]];
    assert_eq!(bank.pages(full).await, expected);
    let all = bank.page(&list(USER, 200)).await.unwrap().into_inner();
    let seqs: Vec<_> = all.transactions.iter().map(|entry| entry.seq).collect();
    assert_eq!(
        seqs,
        (32_569..=32_768).rev().collect::<Vec<_>>(),
        "without a filter a page is full"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_there_is_not_and_a_time_that_ends_before_it_begins_are_refused() {
    let bank = Bank::with(0).await;
    let unknown = ListWalletTransactionsRequest { kind: 99, ..list(USER, 0) };
    let backwards = ListWalletTransactionsRequest {
        created_from: after_new_year(2, 0),
        created_to: after_new_year(1, 0),
        ..list(USER, 0)
    };
    for (request, field) in [(unknown, "kind"), (backwards, "created_to")] {
        let refused = refusal(bank.page(&request).await);
        assert_eq!((refused.reason, &*refused.metadata["field"]), (Reason::InvalidField, field));
    }
}
