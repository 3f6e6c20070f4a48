//! Asking a saga's register, for a saga that is not known to have ended.

use crate::calls::{Caller, Participants};
use crate::{checkout, kind, record};
use api::checkout::v1::PlacedOrder;
use api::order::v1::{ConfirmOrderResponse, GetStepsRequest};
use api::saga::v1::StepFound;
use prost::Message;
use saga::journal::Start;
use std::time::Duration;
use tonic::Request;

/// A read does not wait for a register that is slow to answer.
const BUDGET: Duration = Duration::from_millis(500);

/// The order of a checkout whose register is done. For anything else there is nothing to tell yet, a cancel included: its
/// client is answered at the last step, not at the register.
pub(crate) async fn order_of(participants: &Participants, start: &Start) -> Option<PlacedOrder> {
    if start.plan.kind != kind::CHECKOUT {
        return None;
    }
    let request = GetStepsRequest { saga_ids: vec![start.saga.0.to_vec()] };
    let call = participants.order.get_steps(Request::new(request));
    let answer = Caller::new(start).call(BUDGET, call).await.ok()?.into_inner();
    let done = answer.records.into_iter().find(|step| {
        let register =
            step.key.as_ref().is_some_and(|key| key.step == i32::from(checkout::CONFIRM_ORDER.0));
        register && step.state() == StepFound::Done
    })?;
    let order = ConfirmOrderResponse::decode(done.reply.as_slice()).ok()?.order?;
    Some(record::placed_order(order))
}
