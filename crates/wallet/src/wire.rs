//! Wallets in the words of the contract: messages, refusals, events.

use crate::domain::{BALANCE_LIMIT, Cause, Charge, Entry, Refused, Wallet};
use api::wallet::v1::{
    self, WalletCharged, WalletCreated, WalletDebitUndone, WalletDebited, WalletRefunded,
    WalletTransaction, WalletTransactionKind,
};
use api::{Reason, Refusal};
use chrono::{DateTime, Utc};
use events::Event;
use participant::Moment;
use prost::Message;
use prost_types::Timestamp;

impl From<&Wallet> for v1::Wallet {
    fn from(wallet: &Wallet) -> Self {
        Self { user_id: wallet.user_id, balance: wallet.balance.get() }
    }
}

impl From<&Entry> for WalletTransaction {
    fn from(entry: &Entry) -> Self {
        let kind = match entry.cause {
            Cause::Charge => WalletTransactionKind::Charge,
            Cause::Debit { .. } => WalletTransactionKind::Debit,
            Cause::UndoDebit { .. } => WalletTransactionKind::UndoDebit,
            Cause::Refund { .. } => WalletTransactionKind::Refund,
        };
        Self {
            seq: entry.seq,
            kind: kind.into(),
            amount: entry.change,
            balance_after: entry.balance_after.get(),
            order_id: entry.cause.order_id(),
            created_at: Some(timestamp(entry.at)),
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound { user_id } => {
                Self::new(Reason::WalletNotFound).with("user_id", user_id)
            }
            Refused::AlreadyExists { user_id } => {
                Self::new(Reason::WalletAlreadyExists).with("user_id", user_id)
            }
            Refused::ChargeTooSmall => Self::new(Reason::ChargeAmountBelowMinimum)
                .with("field", "amount")
                .with("minimum", Charge::MINIMUM),
            Refused::ChargeTooLarge => {
                Self::invalid_field("amount", format!("must be at most {}", Charge::MAXIMUM))
            }
            Refused::BalanceLimit => {
                Self::new(Reason::BalanceLimitExceeded).with("limit", BALANCE_LIMIT)
            }
            Refused::InsufficientBalance { available, required } => {
                Self::new(Reason::InsufficientBalance)
                    .with("available", available.get())
                    .with("required", required.get())
            }
        }
    }
}

/// The event of a new wallet.
pub(crate) fn created(wallet: &Wallet, moment: &Moment<'_>) -> Event {
    let payload = WalletCreated { user_id: wallet.user_id };
    event("WalletCreated", wallet.user_id, wallet.version, &payload, moment)
}

/// The event of a ledger's entry.
pub(crate) fn booked(entry: &Entry, moment: &Moment<'_>) -> Event {
    let Entry { user_id, seq, change, .. } = *entry;
    let balance_after = entry.balance_after.get();
    match entry.cause {
        Cause::Charge => {
            let payload = WalletCharged { user_id, seq, amount: change, balance_after };
            event("WalletCharged", user_id, seq, &payload, moment)
        }
        Cause::Debit { order_id } => {
            let payload = WalletDebited { user_id, seq, amount: -change, balance_after, order_id };
            event("WalletDebited", user_id, seq, &payload, moment)
        }
        Cause::UndoDebit { order_id } => {
            let payload =
                WalletDebitUndone { user_id, seq, amount: change, balance_after, order_id };
            event("WalletDebitUndone", user_id, seq, &payload, moment)
        }
        Cause::Refund { order_id } => {
            let payload = WalletRefunded { user_id, seq, amount: change, balance_after, order_id };
            event("WalletRefunded", user_id, seq, &payload, moment)
        }
    }
}

fn event(
    event_type: &'static str,
    user_id: i64,
    version: i64,
    payload: &impl Message,
    moment: &Moment<'_>,
) -> Event {
    Event {
        event_type,
        aggregate_kind: "wallet",
        aggregate_id: user_id,
        version,
        occurred_at: moment.at,
        trace_id: moment.trace.trace_id.clone(),
        traceparent: moment.trace.traceparent.clone(),
        payload: payload.encode_to_vec(),
    }
}

fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: at.timestamp(),
        nanos: i32::try_from(at.timestamp_subsec_nanos()).unwrap_or_default(),
    }
}
