//! The steps: once, undone at most once, never two orders with one coupon.

use crate::harness::{
    DAY, Order, REDEEM, RESTORE, Shop, in_seconds, order, request_id, restore, ten_percent,
};
use api::coupon::v1::coupon_participant_service_client::CouponParticipantServiceClient;
use api::coupon::v1::redeem_coupon_response::Outcome;
use api::coupon::v1::{
    CancelPolicy, CreateCouponRequest, IssuedCouponState, RedeemCouponPayload, RedeemCouponReply,
    RedeemCouponRequest,
};
use api::saga::v1::StepKey;
use api::{Reason, Refusal};
use participant::{Found, RowState};
use std::sync::Arc;
use testkit::Acted;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tonic::Code;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_orders_at_once_exactly_one_uses_the_coupon() {
    let shop = Shop::start().await;
    for user in 1..=20 {
        let coupon = shop.campaign(1).await;
        let issued = shop.issue(user, coupon).await.unwrap();
        let start = Arc::new(Barrier::new(2));
        let mut orders = JoinSet::new();
        for id in 1..=2 {
            let (shop, start) = (shop.clone(), Arc::clone(&start));
            orders.spawn(async move {
                start.wait().await;
                shop.redeem(&order(id, user, coupon)).await
            });
        }
        let answers = orders.join_all().await;
        let (used, refused): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|answer| matches!(answer, Acted::Done(_)));
        assert_eq!((used.len(), refused.len()), (1, 1));
        for answer in refused {
            let told = answer.rejection();
            assert_eq!(
                (told.reason, told.metadata["state"].as_str()),
                (Reason::CouponNotUsable, "USED")
            );
        }
        let now = shop.issued(issued.issued_coupon_id).await;
        for used in used {
            let order_id = used.done().order_id;
            assert_eq!((now.state(), now.order_id), (IssuedCouponState::Used, Some(order_id)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_use_is_one_use_and_undoing_it_twice_is_once() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(1).await;
    let issued = shop.issue(1, coupon).await.unwrap();
    let using = order(7, 1, coupon);
    let expected = RedeemCouponReply {
        discount_won: 2_000,
        issued_coupon_id: issued.issued_coupon_id,
        coupon_id: coupon,
        user_id: 1,
        order_id: 7,
    };
    for _ in 0..3 {
        assert_eq!(shop.redeem(&using).await, Acted::Done(expected));
    }
    let mut other = using.clone();
    other.payload.total_won += 1;
    assert_eq!(shop.redeem(&other).await, Acted::OtherContent);

    for found in [Found::Done, Found::Compensated] {
        assert_eq!(shop.undo(&using).await, (found, Some(expected)));
        let now = shop.issued(issued.issued_coupon_id).await;
        assert_eq!(now, issued, "as if it had never been used");
    }
    assert_eq!(shop.redeem(&using).await, Acted::Tombstoned);
    shop.redeem(&order(8, 1, coupon)).await.done();
}

#[tokio::test(flavor = "multi_thread")]
async fn undoing_that_comes_first_keeps_the_use_out_for_ever() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(1).await;
    let issued = shop.issue(1, coupon).await.unwrap();
    let using = order(7, 1, coupon);
    for found in [Found::Nothing, Found::Tombstone] {
        assert_eq!(shop.undo(&using).await, (found, None));
        assert_eq!(shop.redeem(&using).await, Acted::Tombstoned);
    }
    assert_eq!(shop.issued(issued.issued_coupon_id).await, issued);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_is_refused_for_the_first_reason_that_applies_and_stays_refused() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(1).await;
    let nowhere = shop.redeem(&order(7, 1, 999)).await.rejection();
    assert_eq!(nowhere.reason, Reason::CouponNotFound);

    let using = order(8, 1, coupon);
    let told = shop.redeem(&using).await.rejection();
    assert_eq!(told.reason, Reason::IssuedCouponNotFound);
    assert_eq!(
        (told.metadata["user_id"].as_str(), &told.metadata["coupon_id"]),
        ("1", &coupon.to_string())
    );
    shop.issue(1, coupon).await.unwrap();
    let again = shop.redeem(&using).await.rejection();
    assert_eq!(again, told, "the first answer stands, though the user has the coupon by now");
    let (found, recorded) = shop.steps().compensate(using.saga, REDEEM).await;
    assert_eq!((found, Refusal::decode(&recorded)), (Found::Rejected, Ok(told)));

    shop.let_expire(coupon).await;
    let told = shop.redeem(&order(9, 1, coupon)).await.rejection();
    assert_eq!(
        (told.reason, told.metadata["state"].as_str()),
        (Reason::CouponNotUsable, "EXPIRED")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_outside_its_ranges_is_refused_and_leaves_nothing_on_record() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(1).await;
    let issued = shop.issue(1, coupon).await.unwrap();
    let Order { saga, payload } = order(7, 1, coupon);
    for (payload, field) in [
        (RedeemCouponPayload { placed_at: None, ..payload }, "placed_at"),
        (RedeemCouponPayload { total_won: 0, ..payload }, "total_won"),
    ] {
        let answer =
            shop.steps().act::<RedeemCouponReply>("RedeemCoupon", saga, REDEEM, &payload).await;
        let told = Refusal::from_status(&answer.unwrap_err()).unwrap();
        assert_eq!((told.reason, told.metadata["field"].as_str()), (Reason::InvalidField, field));
    }
    assert_eq!(shop.steps().recorded(saga).await, []);
    assert_eq!(shop.issued(issued.issued_coupon_id).await, issued);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_client_is_answered_with_outcomes() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(1).await;
    shop.issue(1, coupon).await.unwrap();
    let Order { saga, payload } = order(7, 1, coupon);
    let mut client = CouponParticipantServiceClient::new(shop.service.actions());
    let key = StepKey {
        saga_id: saga.as_bytes().to_vec(),
        step: REDEEM.into(),
        content_digest: vec![1; 8],
    };
    let request = RedeemCouponRequest { key: Some(key), payload: Some(payload) };
    let first = client.redeem_coupon(request.clone()).await.unwrap().into_inner();
    let Some(Outcome::Done(reply)) = &first.outcome else { panic!("{first:?}") };
    assert_eq!((reply.order_id, reply.discount_won), (7, 2_000));
    assert_eq!(client.redeem_coupon(request).await.unwrap().into_inner(), first);
    assert_eq!(shop.service.calls()["RedeemCoupon"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_is_used_whichever_way_the_clock_that_dated_the_order_was_wrong() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(2).await;
    for (user, days) in [(1, -8), (2, 8)] {
        shop.issue(user, coupon).await.unwrap();
        let mut using = order(user, user, coupon);
        using.payload.placed_at = Some(in_seconds(days * DAY));
        assert_eq!(shop.redeem(&using).await.done().discount_won, 2_000, "{days} days off");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_that_would_take_nothing_off_stays_unused_and_the_answer_says_why() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(1).await;
    let issued = shop.issue(1, coupon).await.unwrap();
    let mut using = order(7, 1, coupon);
    // A tenth of it is less than a won.
    using.payload.total_won = 9;
    for _ in 0..2 {
        let told = shop.redeem(&using).await.rejection();
        assert_eq!(told.reason, Reason::CouponNotUsable);
        assert_eq!(told.metadata["state"], "DISCOUNT_IS_ZERO");
        assert_eq!(shop.issued(issued.issued_coupon_id).await, issued);
    }
    let mut using = order(8, 1, coupon);
    using.payload.total_won = 10;
    assert_eq!(shop.redeem(&using).await.done().discount_won, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_gives_its_coupon_back_or_takes_it_with_it() {
    let shop = Shop::start().await;
    let policies = [
        (CancelPolicy::Restore, IssuedCouponState::Active, None),
        (CancelPolicy::Forfeit, IssuedCouponState::Forfeited, Some(7)),
    ];
    for (policy, state, order_id) in policies {
        let terms = CreateCouponRequest {
            request_id: request_id(),
            cancel_policy: policy.into(),
            ..ten_percent()
        };
        let coupon = shop.create(terms).await.coupon_id;
        let issued = shop.issue(1, coupon).await.unwrap();
        let using = order(7, 1, coupon);
        shop.redeem(&using).await.done();
        let (cancel, restore) = (Uuid::now_v7(), restore(7, coupon, issued.issued_coupon_id));
        for _ in 0..2 {
            assert_eq!(shop.restore(cancel, &restore).await.unwrap().done().state(), state);
        }
        let now = shop.issued(issued.issued_coupon_id).await;
        assert_eq!((now.state(), now.order_id), (state, order_id));
        assert_eq!(now.valid_until_date, issued.valid_until_date);

        for (saga, step) in [(using.saga, REDEEM), (cancel, RESTORE)] {
            let rows = shop.steps().recorded(saga).await;
            let rows: Vec<_> = rows.iter().map(|it| (it.step.0, it.state)).collect();
            assert_eq!(rows, [(step, RowState::Done)]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_that_its_order_does_not_use_is_left_alone_and_harms_nobody_else() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(2).await;
    let issued = shop.issue(1, coupon).await.unwrap();
    let restore = restore(7, coupon, issued.issued_coupon_id);
    let (broken, fine) =
        tokio::join!(shop.restore(Uuid::now_v7(), &restore), shop.issue(2, coupon));
    assert_eq!(broken.unwrap_err().code(), Code::Internal);
    assert_eq!(fine.unwrap().sequence, 2);
    assert_eq!(shop.issued(issued.issued_coupon_id).await, issued);
}
