//! Steps that have no order among them.

use crate::scenarios::cases;
use crate::shop::{Stage, patient};
use crate::snapshot::until;
use crate::wire::Fault;
use api::checkout::v1::CheckoutState;

const AT_ONCE: [&str; 3] = ["RefundWallet", "RestockProducts", "RestoreCoupon"];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cancel_gives_back_does_not_wait_for_one_another() {
    let stage = Stage::start(patient()).await;
    let (shop, node) = (&stage.shop, &stage.node);
    let case = cases(node).into_iter().find(|case| case.step() == "RestoreCoupon").unwrap();
    for silent in AT_ONCE {
        let world = stage.world(&case).await;
        shop.wire.always(&world.trace, silent, Fault::REQUEST_LOST);
        node.ask_and_leave(&world.trace, world.ask.clone());
        let saga = node.started(&world.ask).await;
        let others = || async {
            let done =
                |step: &&str| **step == *silent || shop.wire.answered(&world.trace, step) > 0;
            AT_ONCE.iter().all(done).then_some(())
        };
        until("the other steps are done", others).await;
        assert_eq!(shop.wire.sent(&world.trace, "FinishCancel"), 0);
        shop.wire.heal(&world.trace, silent);
        let done = || async {
            let told = node.checkout(&saga).await;
            (told.state() == CheckoutState::Succeeded).then_some(())
        };
        until("the cancel has succeeded", done).await;
    }
}
