//! Wallets: a user's money, the ledger of every change of it, and the wallet's steps in the orchestrator's sagas.

mod desk;
pub mod domain;
mod grpc;
mod participant;
mod service;
mod store;
mod wire;

use ::participant::{Call, Lanes, Options, Outcome, Trace, refuse_lane};
use api::wallet::v1::wallet_participant_service_server::WalletParticipantServiceServer;
use api::wallet::v1::wallet_service_server::WalletServiceServer;
use desk::{Desk, Op};
use platform::MAX_MESSAGE_BYTES;
use std::sync::Arc;
use tokio_util::task::TaskTracker;
use tonic::Status;

/// The wallet service. Cheap to clone.
#[derive(Clone)]
pub struct Wallet {
    db: db::Db,
    lanes: Arc<Lanes<Desk>>,
}

impl Wallet {
    /// Starts the service on its schema; its lanes run as `tasks`.
    pub fn start(db: db::Db, options: Options, tasks: &TaskTracker) -> Self {
        let lanes = Arc::new(Lanes::start("wallet", &db, Desk, options, tasks));
        Self { db, lanes }
    }

    /// The calls for everybody.
    pub fn public(&self) -> WalletServiceServer<Self> {
        WalletServiceServer::new(self.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The saga's steps, for the orchestrator.
    pub fn participant(&self) -> WalletParticipantServiceServer<Self> {
        WalletParticipantServiceServer::new(self.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Takes no more writes; what is queued still runs.
    pub fn close(&self) {
        self.lanes.close();
    }

    /// Runs a call in the user's lane.
    async fn run(&self, user_id: i64, call: Call<Op>) -> Result<Outcome, Status> {
        let deadline = platform::current().deadline;
        let outcome = self.lanes.call(user_id, call, deadline).await;
        outcome.map_err(|error| refuse_lane(&error))
    }
}

/// The trace of the call that this runs in.
fn trace() -> Trace {
    let context = platform::current();
    Trace { trace_id: context.trace_id, traceparent: context.traceparent }
}

// TEMPORARY
mod platform {
    pub(crate) const MAX_MESSAGE_BYTES: usize = 256 * 1024;
    pub(crate) struct Context { pub(crate) deadline: tokio::time::Instant, pub(crate) trace_id: String, pub(crate) traceparent: String }
    pub(crate) fn current() -> Context { Context { deadline: tokio::time::Instant::now() + std::time::Duration::from_secs(10), trace_id: String::new(), traceparent: String::new() } }
    pub(crate) mod page {
        #[derive(Clone, Copy)]
        pub(crate) struct PageSize(usize);
        pub(crate) struct PageToken;
        impl PageSize {
            pub(crate) fn from_request(n: i32) -> Self { Self(match n { 0 => 50, n => usize::try_from(n).unwrap_or(0).min(200) }) }
            pub(crate) fn rows_to_read(self) -> i64 { i64::try_from(self.0).unwrap_or(0) + 1 }
            pub(crate) fn cut<T: Clone>(self, mut rows: Vec<T>) -> (Vec<T>, Option<T>) {
                if rows.len() <= self.0 { return (rows, None); }
                rows.truncate(self.0);
                let last = rows.last().cloned();
                (rows, last)
            }
        }
        impl PageToken {
            pub(crate) fn encode(call: &str, filters: &impl std::fmt::Debug, cursor: &[u8]) -> String { format!("{call}~{filters:?}~{}", cursor.iter().map(|b| format!("{b:02x}")).collect::<String>()) }
            pub(crate) fn decode(call: &str, filters: &impl std::fmt::Debug, token: &str) -> Result<Option<Vec<u8>>, api::Refusal> {
                if token.is_empty() { return Ok(None); }
                let bad = || api::Refusal::new(api::Reason::InvalidPageToken).with("field", "page_token");
                let hex = token.strip_prefix(&format!("{call}~{filters:?}~")).ok_or_else(bad)?;
                Ok(Some((0..hex.len()/2).map(|i| u8::from_str_radix(&hex[2*i..2*i+2], 16).unwrap()).collect()))
            }
        }
    }
}
