//! The steps: once, undone at most once, never two orders with one coupon.

use crate::harness::{
    DAY, Shop, in_seconds, key, reason, redeem, refusal, request_id, ten_percent, undo,
};
use api::Reason;
use api::coupon::v1::{
    CancelPolicy, CreateCouponRequest, GetStepsRequest, IssuedCouponState, RedeemCouponResponse,
    RestoreCouponRequest,
};
use api::outcome::SAGA_OUTCOME;
use api::saga::v1::{StepFound, StepRecord};
use std::sync::Arc;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_orders_at_once_exactly_one_uses_the_coupon() {
    let shop = Shop::start().await;
    for user in 1..=20 {
        let coupon = shop.campaign(1).await;
        let issued = shop.issue(user, coupon).await.unwrap();
        let start = Arc::new(Barrier::new(2));
        let mut orders = JoinSet::new();
        for order in 1..=2 {
            let (mut steps, start) = (shop.steps(), Arc::clone(&start));
            orders.spawn(async move {
                start.wait().await;
                steps.redeem_coupon(redeem(order, user, coupon)).await
            });
        }
        let answers = orders.join_all().await;
        let used: Vec<_> = answers.iter().flatten().map(|it| *it.get_ref()).collect();
        let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        assert_eq!((used.len(), refused.len()), (1, 1));
        assert_eq!(refused[0].metadata().get(SAGA_OUTCOME).unwrap(), "rejected");
        let told = refusal(refused[0]);
        assert_eq!(
            (told.reason, told.metadata["state"].as_str()),
            (Reason::CouponNotUsable, "USED")
        );
        let now = shop.issued(issued.issued_coupon_id).await;
        assert_eq!((now.state(), now.order_id), (IssuedCouponState::Used, Some(used[0].order_id)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_use_is_one_use_and_undoing_it_twice_is_once() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(1).await;
    let issued = shop.issue(1, coupon).await.unwrap();
    let request = redeem(7, 1, coupon);
    let expected = RedeemCouponResponse {
        discount: 2_000,
        issued_coupon_id: issued.issued_coupon_id,
        coupon_id: coupon,
        user_id: 1,
        order_id: 7,
    };
    for _ in 0..3 {
        let answer = shop.steps().redeem_coupon(request.clone()).await.unwrap().into_inner();
        assert_eq!(answer, expected);
    }
    let mut other = request.clone();
    other.total += 1;
    assert_eq!(reason(&shop.steps().redeem_coupon(other).await.unwrap_err()), Reason::Internal);

    for found in [StepFound::Done, StepFound::Compensated] {
        let undone = shop.steps().undo_redeem(undo(&request)).await.unwrap().into_inner();
        assert_eq!((undone.found(), undone.reply), (found, Some(expected)));
        let now = shop.issued(issued.issued_coupon_id).await;
        assert_eq!(now, issued, "as if it had never been used");
    }
    let late = shop.steps().redeem_coupon(request).await.unwrap_err();
    assert_eq!(reason(&late), Reason::SagaStepTombstoned);
    shop.steps().redeem_coupon(redeem(8, 1, coupon)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn undoing_that_comes_first_keeps_the_use_out_for_ever() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(1).await;
    let issued = shop.issue(1, coupon).await.unwrap();
    let request = redeem(7, 1, coupon);
    for found in [StepFound::Nothing, StepFound::Tombstone] {
        let undone = shop.steps().undo_redeem(undo(&request)).await.unwrap().into_inner();
        assert_eq!((undone.found(), undone.reply), (found, None));
        let late = shop.steps().redeem_coupon(request.clone()).await.unwrap_err();
        assert_eq!(reason(&late), Reason::SagaStepTombstoned);
    }
    assert_eq!(shop.issued(issued.issued_coupon_id).await, issued);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_is_refused_for_the_first_reason_that_applies_and_stays_refused() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(1).await;
    let nowhere = shop.steps().redeem_coupon(redeem(7, 1, 999)).await.unwrap_err();
    assert_eq!(reason(&nowhere), Reason::CouponNotFound);

    let request = redeem(8, 1, coupon);
    let told = refusal(&shop.steps().redeem_coupon(request.clone()).await.unwrap_err());
    assert_eq!(told.reason, Reason::IssuedCouponNotFound);
    assert_eq!(
        (told.metadata["user_id"].as_str(), &told.metadata["coupon_id"]),
        ("1", &coupon.to_string())
    );
    shop.issue(1, coupon).await.unwrap();
    let again = shop.steps().redeem_coupon(request.clone()).await.unwrap_err();
    assert_eq!(
        refusal(&again),
        told,
        "the first answer stands, though the user has the coupon by now"
    );
    let found = shop.steps().undo_redeem(undo(&request)).await.unwrap().into_inner();
    assert_eq!(found.found(), StepFound::Rejected);
    assert_eq!(found.rejection.unwrap().reason, "ISSUED_COUPON_NOT_FOUND");

    shop.let_expire(coupon).await;
    let told = refusal(&shop.steps().redeem_coupon(redeem(9, 1, coupon)).await.unwrap_err());
    assert_eq!(
        (told.reason, told.metadata["state"].as_str()),
        (Reason::CouponNotUsable, "EXPIRED")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_is_used_whichever_way_the_clock_that_dated_the_order_was_wrong() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(2).await;
    for (user, days) in [(1, -8), (2, 8)] {
        shop.issue(user, coupon).await.unwrap();
        let mut request = redeem(user, user, coupon);
        request.placed_at = Some(in_seconds(days * DAY));
        let used = shop.steps().redeem_coupon(request).await.unwrap().into_inner();
        assert_eq!(used.discount, 2_000, "{days} days off");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_that_would_take_nothing_off_stays_unused_and_the_answer_says_why() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(1).await;
    let issued = shop.issue(1, coupon).await.unwrap();
    let mut request = redeem(7, 1, coupon);
    // A tenth of it is less than a won.
    request.total = 9;
    for _ in 0..2 {
        let status = shop.steps().redeem_coupon(request.clone()).await.unwrap_err();
        assert_eq!(status.metadata().get(SAGA_OUTCOME).unwrap(), "rejected");
        let told = refusal(&status);
        assert_eq!(told.reason, Reason::CouponNotUsable);
        assert_eq!(told.metadata["state"], "DISCOUNT_IS_ZERO");
        assert_eq!(shop.issued(issued.issued_coupon_id).await, issued);
    }
    let mut request = redeem(8, 1, coupon);
    request.total = 10;
    let used = shop.steps().redeem_coupon(request).await.unwrap().into_inner();
    assert_eq!(used.discount, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_gives_its_coupon_back_or_takes_it_with_it() {
    let shop = Shop::start().await;
    let policies = [
        (CancelPolicy::Restore, IssuedCouponState::Active, None),
        (CancelPolicy::Forfeit, IssuedCouponState::Forfeited, Some(7)),
    ];
    for (policy, state, order) in policies {
        let terms = CreateCouponRequest {
            request_id: request_id(),
            cancel_policy: policy.into(),
            ..ten_percent()
        };
        let coupon = shop.create(terms).await.coupon_id;
        let issued = shop.issue(1, coupon).await.unwrap();
        let used = redeem(7, 1, coupon);
        shop.steps().redeem_coupon(used.clone()).await.unwrap();
        let restore = RestoreCouponRequest {
            key: Some(key()),
            order_id: 7,
            coupon_id: coupon,
            issued_coupon_id: issued.issued_coupon_id,
        };
        for _ in 0..2 {
            let answer = shop.steps().restore_coupon(restore.clone()).await.unwrap().into_inner();
            assert_eq!(answer.state(), state);
        }
        let now = shop.issued(issued.issued_coupon_id).await;
        assert_eq!((now.state(), now.order_id), (state, order));
        assert_eq!(now.valid_until_date, issued.valid_until_date);

        let saga_ids = vec![used.key.unwrap().saga_id, restore.key.unwrap().saga_id];
        let on_record = shop.steps().get_steps(GetStepsRequest { saga_ids }).await.unwrap();
        let states: Vec<_> = on_record.into_inner().records.iter().map(StepRecord::state).collect();
        assert_eq!(states, [StepFound::Done; 2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_that_its_order_does_not_use_is_left_alone_and_harms_nobody_else() {
    let shop = Shop::start().await;
    let coupon = shop.campaign(2).await;
    let issued = shop.issue(1, coupon).await.unwrap();
    let restore = RestoreCouponRequest {
        key: Some(key()),
        order_id: 7,
        coupon_id: coupon,
        issued_coupon_id: issued.issued_coupon_id,
    };
    let (mut steps, mut public) = (shop.steps(), shop.public());
    let other = crate::harness::issue(2, coupon);
    let (broken, fine) = tokio::join!(steps.restore_coupon(restore), public.issue_coupon(other));
    assert_eq!(reason(&broken.unwrap_err()), Reason::Internal);
    assert_eq!(fine.unwrap().into_inner().issued_coupon.unwrap().sequence, 2);
    assert_eq!(shop.issued(issued.issued_coupon_id).await, issued);
}
