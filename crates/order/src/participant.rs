//! The order's steps in sagas: the pivots that decide whether they succeed.

use crate::desk::{Desk, Op};
use crate::wire;
use api::order::v1::{BeginCancelPayload, ConfirmOrderPayload, FinishCancelPayload};
use participant::{Actions, Routed, SagaId, StepNo};
use service::{read, unknown_action};
use tonic::Status;

impl Actions for Desk {
    fn read(
        &self,
        action: &str,
        (saga, _): (SagaId, StepNo),
        payload: &[u8],
    ) -> Result<Routed<Op>, Status> {
        let (order_id, op) = match action {
            "ConfirmOrder" => {
                let payload: ConfirmOrderPayload = read(payload)?;
                (payload.order_id, Op::Confirm(wire::placed(&payload, saga)?))
            }
            "BeginCancel" => {
                let BeginCancelPayload { order_id, user_id } = read(payload)?;
                (order_id, Op::BeginCancel { order_id, user_id, saga: saga.into() })
            }
            "FinishCancel" => {
                let FinishCancelPayload { order_id, cancelled_at } = read(payload)?;
                let at = wire::instant("cancelled_at", cancelled_at.as_ref())?;
                (order_id, Op::FinishCancel { order_id, saga: saga.into(), at })
            }
            other => return Err(unknown_action(other)),
        };
        Ok(Routed { entity: order_id.cast_unsigned(), op })
    }
}
