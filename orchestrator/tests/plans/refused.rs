//! A step that refuses leaves nothing behind.

use crate::node::is_replayed;
use crate::scenarios::{Case, Spoil};
use crate::shop::{Stage, World, patient};
use crate::wire::Fault;
use api::Refusal;
use api::checkout::v1::{Checkout, CheckoutState};
use api::saga::v1::StepState;
use std::collections::BTreeMap;
use std::sync::Arc;
use tonic::Status;

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_step_is_told_and_everything_before_it_is_undone() {
    let stage = Stage::start(patient()).await;
    stage.each_case(every_refusal).await;
}

async fn every_refusal(stage: Arc<Stage>, case: Case) {
    for spoil in case.spoils() {
        let world = stage.spoiled(&case, spoil).await;
        refused(&stage, &case, spoil, &world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_refuses_twice_at_once_refuses_once() {
    let stage = Stage::start(patient()).await;
    stage.each_case(every_doubled_refusal).await;
}

async fn every_doubled_refusal(stage: Arc<Stage>, case: Case) {
    for spoil in case.spoils() {
        let world = stage.spoiled(&case, spoil).await;
        stage.shop.wire.next(&world.trace, case.step(), &[Fault::DOUBLED]);
        refused(&stage, &case, spoil, &world).await;
    }
}

pub(crate) async fn refused(stage: &Stage, case: &Case, spoil: Spoil, world: &World) {
    let Stage { shop, node, .. } = stage;
    let what = format!("{case}, {spoil:?}");
    let before = shop.standing(world).await;

    let status = stage.ask(world).await.expect_err(&what);
    // Not after a while: whoever is told of a failure finds everything as before.
    assert_eq!(shop.standing(world).await, before, "{what}");
    let refusal = Refusal::from_status(&status).unwrap();
    assert_eq!(refusal.reason, spoil.reason(), "{what}");
    assert_eq!(refusal.metadata["step"], case.step(), "{what}");
    assert!(!is_replayed(status.metadata()), "{what}");

    let checkout_id = &refusal.metadata["checkout_id"];
    let rows = node.steps(checkout_id).await;
    for (name, expected) in on_record(case) {
        assert_eq!(rows[name], expected, "{what}: {name}");
    }
    told_alike(stage, world, &status).await;
    let again = stage.ask(world).await.expect_err(&what);
    assert_eq!(Refusal::from_status(&again).as_ref(), Some(&refusal), "{what}");
    assert_eq!(again.code(), status.code(), "{what}");
    assert!(is_replayed(again.metadata()), "{what}");
    assert_eq!(shop.standing(world).await, before, "{what}");
}

/// The rows of a saga that was refused at the case's step.
fn on_record(case: &Case) -> Vec<(&str, StepState)> {
    let before = case.before().iter().map(|info| (&*info.name, StepState::Compensated));
    let after = case.after().iter().map(|info| (&*info.name, StepState::Nothing));
    before.chain([(case.step(), StepState::Rejected)]).chain(after).collect()
}

/// A read tells, in its body, what the error of the call told.
pub(crate) async fn told_alike(stage: &Stage, world: &World, status: &Status) {
    let refusal = Refusal::from_status(status).unwrap();
    let checkout_id = refusal.metadata["checkout_id"].clone();
    let by_id = stage.node.checkout(&checkout_id).await;
    let by_request = stage.node.checkout_of(&world.ask).await.unwrap();
    for checkout in [by_id, by_request] {
        assert_eq!(checkout.checkout_id, checkout_id);
        assert_eq!(checkout.state(), CheckoutState::Failed, "{checkout:?}");
        let Checkout { order, failure, .. } = checkout;
        let failure = failure.unwrap();
        assert_eq!(order, None);
        assert_eq!(
            (failure.step.as_str(), failure.reason.as_str()),
            (refusal.metadata["step"].as_str(), refusal.reason.as_str())
        );
        assert_eq!(failure.metadata.into_iter().collect::<BTreeMap<_, _>>(), refusal.metadata);
        assert_eq!(
            (failure.code, failure.message.as_str()),
            (status.code().into(), status.message())
        );
    }
}
