//! The public calls.

use crate::desk::Op;
use crate::domain::{self, Charge, Entry, Refused};
use crate::store::{self, Filter};
use crate::{Wallet, wire};
use ::service::{answer, refuse_db, rejected, request_key, trace};
use api::wallet::v1::wallet_service_server::WalletService;
use api::wallet::v1::{
    ChargeWalletRequest, ChargeWalletResponse, CreateWalletRequest, CreateWalletResponse,
    GetWalletRequest, GetWalletResponse, ListWalletTransactionsRequest,
    ListWalletTransactionsResponse, WalletTransaction,
};
use api::{Check, Refusal};
use db::{Conn, Script};
use events::outbox;
use participant::{Moment, Trace, Verdict, content_hash};
use platform::page::{PageSize, PageToken};
use prost::Message;
use prost_types::Timestamp;
use tonic::{Request, Response, Status};

/// The calls' numbers in idempotency rows, stable for ever.
const CREATE: i8 = 1;
const CHARGE: i8 = 2;

/// The list that page tokens belong to.
const TRANSACTIONS: &str = "ListWalletTransactions";

/// The encoding of requests that idempotency rows digest.
const ENCODING: u8 = 1;

#[tonic::async_trait]
impl WalletService for Wallet {
    async fn create_wallet(
        &self,
        request: Request<CreateWalletRequest>,
    ) -> Result<Response<CreateWalletResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let user_id = request.user_id;
        let key = request_key(&request.request_id, user_id, CREATE)?;
        let content = CreateWalletRequest { request_id: String::new(), ..request };
        let hash = content_hash(ENCODING, &content);
        let trace = trace();
        let create = async move |conn: &mut Conn| create(conn, user_id, &trace).await;
        let outcome = participant::once(&self.db, key, hash, create).await;
        answer(outcome.map_err(|error| refuse_db(&error))?)
    }

    async fn get_wallet(
        &self,
        request: Request<GetWalletRequest>,
    ) -> Result<Response<GetWalletResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let user_id = request.user_id;
        let found = self
            .db
            .read(async move |conn: &mut Conn| store::find(conn, user_id).await)
            .await
            .map_err(|error| refuse_db(&error))?;
        let wallet = found.ok_or(Refused::NotFound { user_id }).map_err(Refusal::from)?;
        Ok(Response::new(GetWalletResponse { wallet: Some((&wallet).into()) }))
    }

    async fn charge_wallet(
        &self,
        request: Request<ChargeWalletRequest>,
    ) -> Result<Response<ChargeWalletResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let user_id = request.user_id;
        let charge = Charge::new(request.amount_won).map_err(Refusal::from)?;
        let key = request_key(&request.request_id, user_id, CHARGE)?;
        let content = ChargeWalletRequest { request_id: String::new(), ..request };
        let hash = content_hash(ENCODING, &content);
        answer(self.writes.request(user_id, key, hash, Op::Charge { user_id, charge }).await?)
    }

    async fn list_wallet_transactions(
        &self,
        request: Request<ListWalletTransactionsRequest>,
    ) -> Result<Response<ListWalletTransactionsResponse>, Status> {
        let request = request.into_inner();
        request.check()?;
        let user_id = request.user_id;
        let size = PageSize::from_request(request.page_size);
        let bound = |field, at: &Option<Timestamp>| {
            at.as_ref().map(|at| wire::bound(field, at)).transpose()
        };
        let from = bound("created_from", &request.created_from)?;
        let to = bound("created_to", &request.created_to)?;
        let filters = (user_id, request.kind, from, to);
        let before = PageToken::decode(TRANSACTIONS, &filters, &request.page_token)?;
        let filter = Filter { user_id, kind: wire::kind(request.kind()), from, to };
        let found = self
            .db
            .read(async move |conn: &mut Conn| {
                // A token was given out for a wallet, and wallets stay.
                let before = match before {
                    Some(before) => before,
                    None => match store::find(conn, user_id).await? {
                        Some(wallet) => wallet.version.saturating_add(1),
                        None => return Ok(None),
                    },
                };
                store::entries(conn, filter, before, size.rows_to_read()).await.map(Some)
            })
            .await
            .map_err(|error| refuse_db(&error))?
            .ok_or(Refused::NotFound { user_id })
            .map_err(Refusal::from)?;
        let token = |before: i64| PageToken::encode(TRANSACTIONS, &filters, &before);
        let (entries, next) = size.cut(found.entries, |last: &Entry| token(last.seq));
        let next_page_token = match found.floor {
            Some(floor) if next.is_empty() => token(floor),
            _ => next,
        };
        let transactions = entries.iter().map(WalletTransaction::from).collect();
        Ok(Response::new(ListWalletTransactionsResponse { transactions, next_page_token }))
    }
}

/// Creates a wallet, in the transaction of its request id.
async fn create(conn: &mut Conn, user_id: i64, trace: &Trace) -> db::Result<Verdict> {
    if store::find(conn, user_id).await?.is_some() {
        return Ok(rejected(Refused::AlreadyExists { user_id }));
    }
    let moment = Moment { at: db::now_micros(), saga: None, trace };
    let wallet = domain::Wallet::open(user_id, moment.at);
    let mut writes = Script::default();
    store::insert(&mut writes, &wallet)?;
    outbox::append(&mut writes, &[wire::created(&wallet, &moment)])?;
    writes.run(conn).await?;
    let reply = CreateWalletResponse { wallet: Some((&wallet).into()) };
    Ok(Verdict::Done(reply.encode_to_vec()))
}
