//! Sagas that a replica cannot read: those of a newer program, and rows that no program wrote.

use crate::node::Node;
use crate::scenarios::cases;
use crate::shop::{Shop, World, one_attempt, patient};
use crate::snapshot::until;
use crate::wire::Fault;
use api::checkout::v1::CheckoutState;
use api::saga::v1::SagaState;
use tonic::Code;

/// A saga that its replica left in the middle of the first step.
async fn stuck(shop: &Shop, node: &Node) -> (World, String) {
    let case = cases(node).remove(0);
    let world = shop.world(node, case.scenario).await;
    shop.wire.next(&world.trace, case.step(), &[Fault::HUNG]);
    node.ask_and_leave(&world.trace, world.ask.clone());
    let sent = || async { (shop.wire.sent(&world.trace, case.step()) > 0).then_some(()) };
    until("the call is out", sent).await;
    let saga = node.started(&world.ask).await;
    (world, saga)
}

fn id(saga: &str) -> String {
    saga.replace('-', "")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_cannot_be_read_is_left_alone_and_stops_no_other() {
    let shop = Shop::start().await;
    let node = shop.node(one_attempt()).await;
    let (newer, spoiled) = (stuck(&shop, &node).await.1, stuck(&shop, &node).await.1);
    let known = stuck(&shop, &node).await.1;
    node.kill();
    let set = async |what: &str, saga: &str| {
        shop.in_journal(&format!("UPDATE saga SET {what} WHERE saga_id = X'{}'", id(saga))).await;
    };
    set("plan_version = 99", &newer).await;
    set("state = 9", &spoiled).await;

    let node = shop.node(patient()).await;
    let succeeded = async |saga: &str| {
        let done = || async {
            let state = node.checkout(saga).await.state();
            (state == CheckoutState::Succeeded).then_some(())
        };
        until("the saga succeeds", done).await;
    };
    succeeded(&known).await;
    for left in [&newer, &spoiled] {
        assert!(!node.is_driving(left));
    }
    let needing = node.needing_attention().await;
    assert_eq!(needing.iter().map(|saga| &saga.saga_id).collect::<Vec<_>>(), [&spoiled]);
    let listed = node.listed(SagaState::Running).await;
    let unreadable = listed.iter().find(|saga| saga.saga_id == newer).expect("it is listed");
    assert_eq!((unreadable.plan_version, unreadable.attention.as_ref()), (99, None));
    // Only a program that knows the plan can read its rows, or go on with it.
    let status = node.try_checkout(&newer).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);

    set("plan_version = 1", &newer).await;
    set("state = 1", &spoiled).await;
    succeeded(&newer).await;
    succeeded(&spoiled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_names_no_user_or_order_is_an_error_and_hides_no_other() {
    let shop = Shop::start().await;
    let node = shop.node(patient()).await;
    let placed = async || {
        let world = shop.world(&node, cases(&node).remove(0).scenario).await;
        let told = node.ask(&world.trace, world.ask.clone()).await.unwrap();
        let ended = || async { node.checkout(&told.checkout_id).await.ended_at };
        until("the end is recorded", ended).await;
        told.checkout_id
    };
    for name in ["subject", "object"] {
        let (damaged, other) = (placed().await, placed().await);
        let at = id(&damaged);
        shop.in_journal(&format!("UPDATE saga_history SET {name} = 'x' WHERE saga_id = X'{at}'"))
            .await;
        assert_eq!(node.try_checkout(&damaged).await.unwrap_err().code(), Code::Internal, "{name}");
        let listed = node.listed(SagaState::Succeeded).await;
        let is_listed = |saga: &String| listed.iter().any(|it| it.saga_id == *saga);
        assert_eq!((is_listed(&damaged), is_listed(&other)), (false, true), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_cannot_be_read_is_never_told_as_a_success() {
    let shop = Shop::start().await;
    let node = shop.node(patient()).await;
    for result in ["FF", ""] {
        let case = cases(&node).remove(0);
        let world = shop.world(&node, case.scenario).await;
        let told = node.ask(&world.trace, world.ask.clone()).await.unwrap();
        let saga = told.checkout_id;
        let ended = || async { node.checkout(&saga).await.ended_at };
        until("the end is recorded", ended).await;
        let at = id(&saga);
        shop.in_journal(&format!(
            "UPDATE saga_history SET result = X'{result}' WHERE saga_id = X'{at}'"
        ))
        .await;
        assert_eq!(node.try_checkout(&saga).await.unwrap_err().code(), Code::Internal);
        let again = node.ask(&world.trace, world.ask.clone()).await;
        assert_eq!(again.unwrap_err().code(), Code::Internal);
    }
}
