//! More users than coupons, all at once.

use crate::harness::{Shop, issue, reason, refusal};
use api::Reason;
use api::coupon::v1::{IssueCouponRequest, IssuedCoupon};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tonic::Status;

#[tokio::test(flavor = "multi_thread")]
async fn of_150_users_at_once_exactly_100_get_one_of_100_coupons() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(100).await;
    let requests: Vec<_> = (1..=150).map(|user| issue(user, coupon)).collect();
    let answers = at_once(&shop, requests.clone()).await;
    let sequences: BTreeSet<i32> = answers.iter().flatten().map(|it| it.sequence).collect();
    assert_eq!(sequences, (1..=100).collect());
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
    assert_eq!(refused.map(reason).collect::<Vec<_>>(), [Reason::CouponSoldOut; 50]);
    assert_eq!(shop.get(coupon).await.issued_count, 100);

    // Sold out is known by now; who was answered before is answered the same nevertheless.
    for (request, answer) in requests.into_iter().zip(answers) {
        let user = request.user_id;
        match (shop.ask(request).await, answer) {
            (Ok(again), Ok(first)) => {
                assert_eq!(again, first);
                let told = refusal(&shop.issue(user, coupon).await.unwrap_err());
                assert_eq!(told.reason, Reason::CouponAlreadyIssued);
                let held = first.issued_coupon_id.to_string();
                assert_eq!(told.metadata["issued_coupon_id"], held);
            }
            (Err(again), Err(first)) => assert_eq!(refusal(&again), refusal(&first)),
            (again, first) => panic!("{first:?} became {again:?}"),
        }
    }
    let told = refusal(&shop.issue(151, coupon).await.unwrap_err());
    assert_eq!((told.reason, told.metadata["quota"].as_str()), (Reason::CouponSoldOut, "100"));
    assert_eq!(shop.get(coupon).await.issued_count, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_asks_twice_at_once_gets_one_and_is_told_which() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(100).await;
    let twice = (1..=100).flat_map(|user| [issue(user, coupon), issue(user, coupon)]).collect();
    let answers = at_once(&shop, twice).await;
    for pair in answers.chunks(2) {
        let got: Vec<_> = pair.iter().flatten().collect();
        let refused: Vec<_> = pair.iter().filter_map(|answer| answer.as_ref().err()).collect();
        assert_eq!((got.len(), refused.len()), (1, 1));
        let told = refusal(refused[0]);
        assert_eq!(told.reason, Reason::CouponAlreadyIssued);
        assert_eq!(told.metadata["issued_coupon_id"], got[0].issued_coupon_id.to_string());
    }
    let got: Vec<_> = answers.iter().flatten().collect();
    let ids: BTreeSet<_> = got.iter().map(|it| it.issued_coupon_id).collect();
    let sequences: BTreeSet<_> = got.iter().map(|it| it.sequence).collect();
    assert_eq!((ids.len(), sequences), (100, (1..=100).collect()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_repeated_at_once_has_one_effect_and_one_answer() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(5).await;
    let answers = at_once(&shop, vec![issue(1, coupon); 10]).await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap() == first));
    assert_eq!(shop.get(coupon).await.issued_count, 1);

    let other = shop.campaign(5).await;
    let mut reused = issue(1, coupon);
    shop.ask(reused.clone()).await.unwrap_err();
    reused.coupon_id = other;
    assert_eq!(reason(&shop.ask(reused).await.unwrap_err()), Reason::RequestIdReused);
}

/// Answers in the order of the requests, which are all released at the same moment.
async fn at_once(
    shop: &Shop,
    requests: Vec<IssueCouponRequest>,
) -> Vec<Result<IssuedCoupon, Status>> {
    let start = Arc::new(Barrier::new(requests.len()));
    let mut calls = JoinSet::new();
    for (index, request) in requests.into_iter().enumerate() {
        let (mut public, start) = (shop.public(), Arc::clone(&start));
        calls.spawn(async move {
            start.wait().await;
            let answer = public.issue_coupon(request).await;
            (index, answer.map(|response| response.into_inner().issued_coupon.unwrap()))
        });
    }
    let mut answers = calls.join_all().await;
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}
