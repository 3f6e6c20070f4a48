//! The public calls.

use crate::harness::{DAY, Shop, in_seconds, issue, reason, refusal, request_id, ten_percent};
use api::Reason;
use api::coupon::v1::create_coupon_request::Discount;
use api::coupon::v1::{
    CancelPolicy, CreateCouponRequest, FixedDiscount, GetCouponRequest, GetIssuedCouponRequest,
    IssuedCouponState, ListCouponsRequest, ListIssuedCouponsRequest, ListIssuedCouponsResponse,
    coupon,
};
use api::outcome::IDEMPOTENCY_REPLAYED;

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_is_made_once_a_request_id_and_kept_as_it_was_asked_for() {
    let shop = Shop::start().await;
    let request = CreateCouponRequest {
        discount: Some(Discount::Fixed(FixedDiscount { amount: 3_000 })),
        quota: 7,
        issuable_from: Some(in_seconds(-DAY)),
        issuable_until: Some(in_seconds(DAY)),
        cancel_policy: CancelPolicy::Forfeit.into(),
        ..ten_percent()
    };
    let made = shop.create(request.clone()).await;
    assert_eq!(made.discount, Some(coupon::Discount::Fixed(FixedDiscount { amount: 3_000 })));
    assert_eq!((made.quota, made.issued_count, made.validity_days), (7, 0, 7));
    assert_eq!(
        (&made.issuable_from, &made.issuable_until),
        (&request.issuable_from, &request.issuable_until)
    );
    assert_eq!(made.cancel_policy(), CancelPolicy::Forfeit);
    assert_eq!(shop.get(made.coupon_id).await, made);

    let again = shop.public().create_coupon(request.clone()).await.unwrap();
    assert!(again.metadata().contains_key(IDEMPOTENCY_REPLAYED));
    assert_eq!(again.into_inner().coupon, Some(made));
    let other = CreateCouponRequest { quota: 8, ..request };
    let status = shop.public().create_coupon(other).await.unwrap_err();
    assert_eq!(reason(&status), Reason::RequestIdReused);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_what_is_not_there() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(1).await;
    assert_eq!(reason(&shop.issue(1, 999).await.unwrap_err()), Reason::CouponNotFound);
    let status = shop.public().get_coupon(GetCouponRequest { coupon_id: 999 }).await.unwrap_err();
    assert_eq!(reason(&status), Reason::CouponNotFound);
    let request = GetIssuedCouponRequest { issued_coupon_id: 999 };
    let status = shop.public().get_issued_coupon(request).await.unwrap_err();
    assert_eq!(reason(&status), Reason::IssuedCouponNotFound);

    let stranger = issue(1_001, coupon);
    let told = refusal(&shop.ask(stranger.clone()).await.unwrap_err());
    assert_eq!((told.reason, told.metadata["user_id"].as_str()), (Reason::WalletNotFound, "1001"));
    shop.set_users(1_001);
    let again = shop.ask(stranger).await.unwrap_err();
    assert_eq!(refusal(&again), told, "an answer is remembered");
    assert_eq!(shop.issue(1_001, coupon).await.unwrap().sequence, 1, "a no is not");
}

#[tokio::test(flavor = "multi_thread")]
async fn coupons_are_issued_in_their_time_only() {
    let shop = Shop::start().await;
    let early = CreateCouponRequest { issuable_from: Some(in_seconds(DAY)), ..ten_percent() };
    let late = CreateCouponRequest {
        request_id: request_id(),
        issuable_until: Some(in_seconds(-DAY)),
        ..ten_percent()
    };
    for request in [early, late] {
        let coupon = shop.create(request).await.coupon_id;
        let told = refusal(&shop.issue(1, coupon).await.unwrap_err());
        assert_eq!(told.reason, Reason::CouponNotIssuable);
        assert_eq!(shop.get(coupon).await.issued_count, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issued_coupon_is_read_as_it_was_answered() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(1).await;
    let issued = shop.issue(1, coupon).await.unwrap();
    assert_eq!((issued.coupon_id, issued.user_id, issued.sequence), (coupon, 1, 1));
    assert_eq!((issued.state(), issued.order_id), (IssuedCouponState::Active, None));
    assert!(issued.valid_from_date < issued.valid_until_date);
    assert_eq!(shop.issued(issued.issued_coupon_id).await, issued);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_replicas_make_in_turn_is_listed_newest_first() {
    let shop = Shop::start().await;
    let other = shop.replica();
    let (mut campaigns, mut held) = (Vec::new(), Vec::new());
    for maker in [&shop, &other, &shop, &other, &shop] {
        let coupon = maker.campaign(1).await;
        campaigns.insert(0, coupon);
        held.insert(0, maker.issue(1, coupon).await.unwrap().issued_coupon_id);
    }
    for ids in [&campaigns, &held] {
        assert!(!ids.iter().rev().is_sorted(), "ids come from a block of each replica: {ids:?}");
    }
    let mut request = ListCouponsRequest { page_size: 2, page_token: String::new() };
    let mut mine = ListIssuedCouponsRequest { user_id: 1, page_size: 2, page_token: String::new() };
    let (mut listed, mut listed_of_mine) = (Vec::new(), Vec::new());
    for reader in [&shop, &other, &shop] {
        let page = reader.public().list_coupons(request.clone()).await.unwrap().into_inner();
        listed.extend(page.coupons.iter().map(|it| it.coupon_id));
        request.page_token = page.next_page_token;
        let page = reader.public().list_issued_coupons(mine.clone()).await.unwrap().into_inner();
        listed_of_mine.extend(page.issued_coupons.iter().map(|it| it.issued_coupon_id));
        mine.page_token = page.next_page_token;
        // What is new meanwhile is on no later page.
        reader.campaign(1).await;
    }
    assert_eq!((listed, listed_of_mine), (campaigns, held));
    assert_eq!((request.page_token, mine.page_token), (String::new(), String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_and_a_users_coupons_are_listed_newest_first_page_by_page() {
    let shop = Shop::start().await;
    let (mut campaigns, mut held) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let coupon = shop.campaign(2).await;
        campaigns.insert(0, coupon);
        held.insert(0, shop.issue(1, coupon).await.unwrap().issued_coupon_id);
        shop.issue(2, coupon).await.unwrap();
    }

    let mut request = ListCouponsRequest { page_size: 2, page_token: String::new() };
    let mut pages = Vec::new();
    loop {
        let page = shop.public().list_coupons(request.clone()).await.unwrap().into_inner();
        pages.push(page.coupons.iter().map(|it| it.coupon_id).collect::<Vec<_>>());
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(pages.concat(), campaigns);

    let of = |user_id, page_token: &str| ListIssuedCouponsRequest {
        user_id,
        page_size: 2,
        page_token: page_token.to_owned(),
    };
    let mut request = of(1, "");
    let mut pages = Vec::new();
    loop {
        let page = shop.public().list_issued_coupons(request.clone()).await.unwrap().into_inner();
        pages.push(page.issued_coupons.iter().map(|it| it.issued_coupon_id).collect::<Vec<_>>());
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
        let others = of(2, &request.page_token);
        let status = shop.public().list_issued_coupons(others).await.unwrap_err();
        assert_eq!(reason(&status), Reason::InvalidPageToken);
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(pages.concat(), held);
    let nobody = shop.public().list_issued_coupons(of(999, "")).await.unwrap().into_inner();
    assert_eq!(nobody, ListIssuedCouponsResponse::default());
}
