//! An action that arrives more than once has one effect.

use crate::scenarios::{Case, undo_of};
use crate::shop::{Stage, one_attempt, patient};
use crate::wire::Fault;
use api::checkout::v1::CheckoutState;
use participant::{ActReply, StepAnswer};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_calls_each_step_that_takes_part_once() {
    let stage = Stage::start(one_attempt()).await;
    stage.each_case(once).await;
}

async fn once(stage: Arc<Stage>, case: Case) {
    let world = stage.world(&case).await;
    let before = stage.shop.standing(&world).await;
    let told = stage.ask(&world).await.unwrap();
    assert_eq!((told.state, told.replayed), (CheckoutState::Succeeded, false), "{case}");
    assert_ne!(stage.shop.standing(&world).await, before, "{case}");
    assert_eq!(stage.shop.wire.sent(&world.trace, case.step()), 1, "{case}");
    for undo in case.steps().iter().filter_map(undo_of) {
        assert_eq!(stage.shop.wire.sent(&world.trace, &undo), 0, "{case}: {undo}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_that_arrives_twice_at_once_and_again_later_has_one_effect() {
    let stage = Stage::start(patient()).await;
    stage.each_case(repeated).await;
}

async fn repeated(stage: Arc<Stage>, case: Case) {
    let Stage { shop, .. } = &*stage;
    let success = stage.success(&case).await;
    let world = stage.world(&case).await;
    shop.wire.next(&world.trace, case.step(), &[Fault::DOUBLED]);

    let told = stage.ask(&world).await.unwrap();
    assert_eq!(told.state, CheckoutState::Succeeded, "{case}");
    assert_eq!(shop.snapshot(&world).await, success, "{case}");

    let first = shop.wire.first(&world.trace, case.step());
    let answer = shop.wire.answer(&world.trace, case.step());
    assert!(matches!(answer, StepAnswer::Acted(ActReply::Done(_))), "{case}: {answer:?}");
    for late in shop.deliver_twice(&first).await {
        assert_eq!(late.unwrap(), answer, "{case}");
    }
    assert_eq!(shop.snapshot(&world).await, success, "{case}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_repeated_gets_the_same_answer_and_calls_nobody() {
    let stage = Stage::start(patient()).await;
    stage.each_case(asked_again).await;
}

async fn asked_again(stage: Arc<Stage>, case: Case) {
    let Stage { shop, .. } = &*stage;
    let world = stage.world(&case).await;
    let first = stage.ask(&world).await.unwrap();
    let calls = shop.wire.sent(&world.trace, case.step());
    let after = shop.snapshot(&world).await;

    let again = stage.ask(&world).await.unwrap();
    assert!(again.replayed, "{case}");
    let answers = [first, again].map(|told| (told.checkout_id, told.state, told.order));
    assert_eq!(answers[0], answers[1], "{case}");
    assert_eq!(shop.wire.sent(&world.trace, case.step()), calls, "{case}");
    assert_eq!(shop.snapshot(&world).await, after, "{case}");
}
