//! The wallet's steps in sagas.

use crate::desk::{Desk, Op};
use crate::domain::Won;
use api::Refusal;
use api::wallet::v1::{DebitWalletPayload, RefundWalletPayload};
use participant::{Actions, Routed, SagaId, StepNo};
use service::{read, unknown_action};
use tonic::Status;

impl Actions for Desk {
    fn read(
        &self,
        action: &str,
        _: (SagaId, StepNo),
        payload: &[u8],
    ) -> Result<Routed<Op>, Status> {
        let (user_id, op) = match action {
            "DebitWallet" => {
                let DebitWalletPayload { user_id, order_id, amount_won, .. } = read(payload)?;
                (user_id, Op::Debit { user_id, amount: won(amount_won)?, order_id })
            }
            "RefundWallet" => {
                let RefundWalletPayload { user_id, order_id, amount_won } = read(payload)?;
                (user_id, Op::Refund { user_id, amount: won(amount_won)?, order_id })
            }
            other => return Err(unknown_action(other)),
        };
        Ok(Routed { entity: user_id.cast_unsigned(), op })
    }
}

fn won(amount_won: i64) -> Result<Won, Refusal> {
    Won::new(amount_won).ok_or_else(|| Refusal::invalid_field("amount_won", "must be 0 or more"))
}
