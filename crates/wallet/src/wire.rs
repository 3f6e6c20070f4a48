//! Wallets in the words of the contract: messages, refusals, events.

use crate::domain::{BALANCE_LIMIT, Cause, Charge, Entry, Kind, Refused, Wallet};
use api::wallet::v1::{
    self, WalletCharged, WalletCreated, WalletDebitUndone, WalletDebited, WalletRefunded,
    WalletTransaction, WalletTransactionKind,
};
use api::{Reason, Refusal};
use chrono::{DateTime, Utc};
use events::Event;
use participant::Moment;
use prost::{Message, Name};
use prost_types::Timestamp;

/// 9999-12-31T23:59:59.999999Z in Unix microseconds: the latest that a column holds.
const LAST_MICRO: i64 = 253_402_300_799_999_999;

impl From<&Wallet> for v1::Wallet {
    fn from(wallet: &Wallet) -> Self {
        Self { user_id: wallet.user_id, balance_won: wallet.balance.get() }
    }
}

impl From<&Entry> for WalletTransaction {
    fn from(entry: &Entry) -> Self {
        Self {
            seq: entry.seq,
            kind: WalletTransactionKind::from(entry.cause.kind()).into(),
            amount_won: entry.change,
            balance_after_won: entry.balance_after.get(),
            order_id: entry.cause.order_id(),
            created_at: Some(timestamp(entry.at)),
        }
    }
}

impl From<Kind> for WalletTransactionKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Charge => Self::Charge,
            Kind::Debit => Self::Debit,
            Kind::UndoDebit => Self::UndoDebit,
            Kind::Refund => Self::Refund,
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
                .with("field", "amount_won")
                .with("minimum", Charge::MINIMUM),
            Refused::ChargeTooLarge => {
                Self::invalid_field("amount_won", format!("must be at most {}", Charge::MAXIMUM))
            }
            Refused::BalanceLimit => {
                Self::new(Reason::BalanceLimitExceeded).with("limit_won", BALANCE_LIMIT)
            }
            Refused::InsufficientBalance { available, required } => {
                Self::new(Reason::InsufficientBalance)
                    .with("available_won", available.get())
                    .with("required_won", required.get())
            }
        }
    }
}

/// The kind that a filter names; `None` for any.
pub(crate) fn kind(kind: WalletTransactionKind) -> Option<Kind> {
    match kind {
        WalletTransactionKind::Unspecified => None,
        WalletTransactionKind::Charge => Some(Kind::Charge),
        WalletTransactionKind::Debit => Some(Kind::Debit),
        WalletTransactionKind::UndoDebit => Some(Kind::UndoDebit),
        WalletTransactionKind::Refund => Some(Kind::Refund),
    }
}

/// Rounds the bound of a filter up to the next microsecond, because entries have no finer times.
///
/// # Errors
/// `INVALID_FIELD` for what is no instant.
pub(crate) fn bound(field: &str, at: &Timestamp) -> Result<DateTime<Utc>, Refusal> {
    let micros = || {
        let within = u32::try_from(at.nanos).ok()?.div_ceil(1_000);
        at.seconds.checked_mul(1_000_000)?.checked_add(within.into())
    };
    micros()
        .and_then(|micros| DateTime::from_timestamp_micros(micros.min(LAST_MICRO)))
        .ok_or_else(|| Refusal::invalid_field(field, "must be an instant"))
}

/// The event of a new wallet.
pub(crate) fn created(wallet: &Wallet, moment: &Moment<'_>) -> Event {
    let payload = WalletCreated { user_id: wallet.user_id };
    event(wallet.user_id, wallet.version, &payload, moment)
}

/// The event of a ledger's entry.
pub(crate) fn booked(entry: &Entry, moment: &Moment<'_>) -> Event {
    let Entry { user_id, seq, change, .. } = *entry;
    let balance_after_won = entry.balance_after.get();
    match entry.cause {
        Cause::Charge => {
            let payload = WalletCharged { user_id, seq, amount_won: change, balance_after_won };
            event(user_id, seq, &payload, moment)
        }
        Cause::Debit { order_id } => {
            let amount_won = -change;
            let payload = WalletDebited { user_id, seq, amount_won, balance_after_won, order_id };
            event(user_id, seq, &payload, moment)
        }
        Cause::UndoDebit { order_id } => {
            let amount_won = change;
            let payload =
                WalletDebitUndone { user_id, seq, amount_won, balance_after_won, order_id };
            event(user_id, seq, &payload, moment)
        }
        Cause::Refund { order_id } => {
            let amount_won = change;
            let payload = WalletRefunded { user_id, seq, amount_won, balance_after_won, order_id };
            event(user_id, seq, &payload, moment)
        }
    }
}

fn event<M: Message + Name>(user_id: i64, version: i64, payload: &M, moment: &Moment<'_>) -> Event {
    Event {
        event_type: M::full_name(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bound_of(seconds: i64, nanos: i32) -> Option<i64> {
        bound("created_from", &Timestamp { seconds, nanos }).ok().map(|at| at.timestamp_micros())
    }

    #[test]
    fn a_bound_is_the_first_microsecond_that_is_not_before_its_instant() {
        assert_eq!(bound_of(7, 0), Some(7_000_000));
        assert_eq!(bound_of(7, 1_000), Some(7_000_001));
        assert_eq!(bound_of(7, 1_001), Some(7_000_002));
        assert_eq!(bound_of(7, 999_999_001), Some(8_000_000));
        assert_eq!(bound_of(253_402_300_799, 999_999_999), Some(LAST_MICRO));
        assert_eq!(bound_of(7, -1), None);
        assert_eq!(bound_of(i64::MAX, 0), None);
    }
}
