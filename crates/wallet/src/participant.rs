//! The wallet's steps in sagas.

use crate::desk::Op;
use crate::domain::Won;
use crate::{Wallet, trace};
use ::participant::grpc::{self, OnRecord, step_key};
use api::wallet::v1::wallet_participant_service_server::WalletParticipantService;
use api::wallet::v1::{
    DebitWalletRequest, DebitWalletResponse, GetStepsRequest, GetStepsResponse, RaiseFloorRequest,
    RaiseFloorResponse, RefundWalletRequest, RefundWalletResponse, UndoDebitRequest,
    UndoDebitResponse,
};
use api::{Check, Refusal};
use participant::{Call, content_hash};
use tonic::{Request, Response, Status};

/// The encoding of requests that barrier rows digest.
const ENCODING: u8 = 1;

#[tonic::async_trait]
impl WalletParticipantService for Wallet {
    async fn debit_wallet(
        &self,
        request: Request<DebitWalletRequest>,
    ) -> Result<Response<DebitWalletResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let step = step_key("DebitWallet", request.key.as_ref())?;
        let DebitWalletRequest { user_id, order_id, .. } = request;
        let op = Op::Debit { user_id, amount: amount(request.amount)?, order_id };
        let hash = content_hash(ENCODING, &DebitWalletRequest { key: None, ..request });
        let call = Call::step(step, hash, op, trace());
        self.run(user_id, call).await?.into_response()
    }

    async fn undo_debit(
        &self,
        request: Request<UndoDebitRequest>,
    ) -> Result<Response<UndoDebitResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let step = step_key("UndoDebit", request.key.as_ref())?;
        // The request does not name the user, whose lane would be the best: any is right, for rows decide.
        let outcome = self.run(request.order_id, Call::undo(step, trace())).await?;
        let OnRecord { found, rejection, reply, .. } = OnRecord::read(outcome)?;
        Ok(Response::new(UndoDebitResponse { found: found.into(), rejection, reply }))
    }

    async fn refund_wallet(
        &self,
        request: Request<RefundWalletRequest>,
    ) -> Result<Response<RefundWalletResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let step = step_key("RefundWallet", request.key.as_ref())?;
        let RefundWalletRequest { user_id, order_id, .. } = request;
        let op = Op::Refund { user_id, amount: amount(request.amount)?, order_id };
        let hash = content_hash(ENCODING, &RefundWalletRequest { key: None, ..request });
        let call = Call::closing_step(step, hash, op, trace());
        self.run(user_id, call).await?.into_response()
    }

    async fn get_steps(
        &self,
        request: Request<GetStepsRequest>,
    ) -> Result<Response<GetStepsResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let records = grpc::steps(&self.db, &request.saga_ids).await?;
        Ok(Response::new(GetStepsResponse { records }))
    }

    async fn raise_floor(
        &self,
        request: Request<RaiseFloorRequest>,
    ) -> Result<Response<RaiseFloorResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let floor = grpc::raise_floor(&self.db, &request.floor).await?;
        Ok(Response::new(RaiseFloorResponse { floor }))
    }
}

fn amount(won: i64) -> Result<Won, Refusal> {
    Won::new(won).ok_or_else(|| Refusal::invalid_field("amount", "must be 0 or more"))
}
