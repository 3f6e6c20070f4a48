//! The calls for one campaign or coupon.

use crate::harness::{DAY, Shop, in_seconds, issue, reason, refusal, request_id, ten_percent};
use api::Reason;
use api::coupon::v1::coupon_admin_service_client::CouponAdminServiceClient;
use api::coupon::v1::coupon_service_client::CouponServiceClient;
use api::coupon::v1::create_coupon_request::Discount;
use api::coupon::v1::{
    CancelPolicy, CreateCouponRequest, FixedDiscount, GetCouponRequest, GetIssuedCouponRequest,
    IssuedCouponState, coupon,
};
use api::outcome::IDEMPOTENCY_REPLAYED;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_is_made_once_a_request_id_and_kept_as_it_was_asked_for() {
    let shop = Shop::start().await;
    let request = CreateCouponRequest {
        discount: Some(Discount::Fixed(FixedDiscount { amount_won: 3_000 })),
        quota: 7,
        issuable_from: Some(in_seconds(-DAY)),
        issuable_until: Some(in_seconds(DAY)),
        cancel_policy: CancelPolicy::Forfeit.into(),
        ..ten_percent()
    };
    let made = shop.create(request.clone()).await;
    assert_eq!(made.discount, Some(coupon::Discount::Fixed(FixedDiscount { amount_won: 3_000 })));
    assert_eq!((made.quota, made.issued_count, made.validity_days), (7, 0, 7));
    assert_eq!(
        (&made.issuable_from, &made.issuable_until),
        (&request.issuable_from, &request.issuable_until)
    );
    assert_eq!(made.cancel_policy(), CancelPolicy::Forfeit);
    assert_eq!(shop.get(made.coupon_id).await, made);

    let again = shop.admin().create_coupon(request.clone()).await.unwrap();
    assert!(again.metadata().contains_key(IDEMPOTENCY_REPLAYED));
    assert_eq!(again.into_inner().coupon, Some(made));
    let other = CreateCouponRequest { quota: 8, ..request };
    let status = shop.admin().create_coupon(other).await.unwrap_err();
    assert_eq!(reason(&status), Reason::RequestIdReused);
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_are_made_by_the_back_office_and_issued_to_everybody_else() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(1).await;
    let mut everybody = CouponAdminServiceClient::new(shop.service.public());
    let status = everybody.create_coupon(ten_percent()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let mut back_office = CouponServiceClient::new(shop.service.admin());
    let status = back_office.issue_coupon(issue(1, coupon)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(shop.issue(1, coupon).await.unwrap().sequence, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_1_to_10_million() {
    let shop = Shop::start().await;
    for quota in [i32::MIN, 0, 10_000_001, i32::MAX] {
        let request = CreateCouponRequest { quota, ..ten_percent() };
        let told = refusal(&shop.admin().create_coupon(request).await.unwrap_err());
        assert_eq!(told.reason, Reason::InvalidField);
        assert_eq!(told.metadata["field"], "quota");
    }
    let coupon = shop.campaign(10_000_000).await;
    assert_eq!(shop.get(coupon).await.quota, 10_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_the_greatest_quota_has_the_greatest_number() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(10_000_000).await;
    shop.run("UPDATE coupon SET issued = 9999999").await;
    assert_eq!(shop.issue(1, coupon).await.unwrap().sequence, 10_000_000);
    let told = refusal(&shop.issue(2, coupon).await.unwrap_err());
    assert_eq!((told.reason, told.metadata["quota"].as_str()), (Reason::CouponSoldOut, "10000000"));
    assert_eq!(shop.get(coupon).await.issued_count, 10_000_000);
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
