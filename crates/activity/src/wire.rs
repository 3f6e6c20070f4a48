//! From events to rows of the log.

use crate::domain::{Entry, Kind, Source};
use api::events::v1::EventEnvelope;
use api::order::v1::{OrderCancelled, OrderConfirmed};
use api::wallet::v1::{
    WalletCharged, WalletCreated, WalletDebitUndone, WalletDebited, WalletRefunded,
};
use chrono::{DateTime, Datelike, SubsecRound, Utc};
use prost::{DecodeError, Message};
use prost_types::Timestamp;

/// The widest text that a column holds.
const TEXT: usize = 64;

/// What the payload says.
#[derive(Default)]
struct Said {
    user_id: Option<i64>,
    order_id: Option<i64>,
    amount: Option<i64>,
    balance_after: Option<i64>,
    total: Option<i64>,
    paid: Option<i64>,
}

/// The row of an event.
///
/// # Errors
/// What is wrong with an event that no service writes.
pub(crate) fn entry(source: Source, event: &EventEnvelope) -> Result<Entry, String> {
    let event_id = event.event_id.as_slice().try_into();
    let event_id = event_id.map_err(|_| "event_id is not 16 bytes".to_owned())?;
    if event.r#type.len() > TEXT || event.trace_id.len() > TEXT {
        return Err(format!("type or trace_id of more than {TEXT} bytes"));
    }
    let (kind, said) = said(&event.r#type, &event.payload).map_err(|error| error.to_string())?;
    Ok(Entry {
        occurred_at: instant(event.occurred_at).ok_or("occurred_at is no instant")?,
        event_id,
        source,
        event_type: event.r#type.clone(),
        kind,
        version: event.version,
        user_id: said.user_id,
        order_id: said.order_id,
        amount: said.amount,
        balance_after: said.balance_after,
        total: said.total,
        paid: said.paid,
        trace_id: event.trace_id.clone(),
        payload: event.payload.clone(),
    })
}

fn said(event_type: &str, payload: &[u8]) -> Result<(Kind, Said), DecodeError> {
    Ok(match event_type {
        "WalletCreated" => {
            let WalletCreated { user_id } = WalletCreated::decode(payload)?;
            (Kind::Wallet, Said { user_id: Some(user_id), ..Said::default() })
        }
        "WalletCharged" => {
            let it = WalletCharged::decode(payload)?;
            (Kind::Charge, moved(it.user_id, None, it.amount, it.balance_after))
        }
        "WalletDebited" => {
            let it = WalletDebited::decode(payload)?;
            let amount = it.amount.saturating_neg();
            (Kind::Use, moved(it.user_id, Some(it.order_id), amount, it.balance_after))
        }
        "WalletDebitUndone" => {
            let it = WalletDebitUndone::decode(payload)?;
            (Kind::Undo, moved(it.user_id, Some(it.order_id), it.amount, it.balance_after))
        }
        "WalletRefunded" => {
            let it = WalletRefunded::decode(payload)?;
            (Kind::Refund, moved(it.user_id, Some(it.order_id), it.amount, it.balance_after))
        }
        "OrderConfirmed" => {
            let it = OrderConfirmed::decode(payload)?;
            let (user_id, order_id) = (Some(it.user_id), Some(it.order_id));
            let (total, paid) = (Some(it.total), Some(it.paid));
            (Kind::Order, Said { user_id, order_id, total, paid, ..Said::default() })
        }
        "OrderCancelled" => {
            let it = OrderCancelled::decode(payload)?;
            let (user_id, order_id) = (Some(it.user_id), Some(it.order_id));
            (Kind::Cancel, Said { user_id, order_id, ..Said::default() })
        }
        _ => (Kind::Other, Said::default()),
    })
}

fn moved(user_id: i64, order_id: Option<i64>, amount: i64, balance_after: i64) -> Said {
    let (user_id, amount, balance_after) = (Some(user_id), Some(amount), Some(balance_after));
    Said { user_id, order_id, amount, balance_after, ..Said::default() }
}

/// An instant that a column holds.
fn instant(at: Option<Timestamp>) -> Option<DateTime<Utc>> {
    let at = at?;
    let instant = DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?)?;
    (1970..=9999).contains(&instant.year()).then(|| instant.trunc_subsecs(6))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(r#type: &str, payload: &impl Message) -> EventEnvelope {
        EventEnvelope {
            event_id: vec![7; 16],
            r#type: r#type.to_owned(),
            version: 3,
            occurred_at: Some(Timestamp { seconds: 1, nanos: 1_999 }),
            payload: payload.encode_to_vec(),
            ..EventEnvelope::default()
        }
    }

    #[test]
    fn a_payment_goes_out_of_the_wallet_and_what_comes_back_into_it() {
        let paid =
            WalletDebited { user_id: 1, seq: 3, amount: 500, balance_after: 200, order_id: 9 };
        let row = entry(Source::Wallet, &event("WalletDebited", &paid)).unwrap();
        assert_eq!((row.kind, row.user_id, row.order_id), (Kind::Use, Some(1), Some(9)));
        assert_eq!((row.amount, row.balance_after), (Some(-500), Some(200)));
        let back =
            WalletRefunded { user_id: 1, seq: 4, amount: 500, balance_after: 700, order_id: 9 };
        let row = entry(Source::Wallet, &event("WalletRefunded", &back)).unwrap();
        assert_eq!((row.kind, row.amount, row.balance_after), (Kind::Refund, Some(500), Some(700)));
        assert_eq!(row.occurred_at.timestamp_subsec_nanos(), 1_000);
    }

    #[test]
    fn a_type_of_a_later_version_is_kept_with_its_payload() {
        let row = entry(Source::Order, &event("OrderAdmired", &WalletCreated { user_id: 1 }));
        let row = row.unwrap();
        assert_eq!((row.kind, row.user_id, row.version), (Kind::Other, None, 3));
        assert_eq!(row.payload, WalletCreated { user_id: 1 }.encode_to_vec());
    }

    #[test]
    fn what_no_service_writes_makes_no_sense() {
        let good = event("WalletCreated", &WalletCreated { user_id: 1 });
        let bad = [
            EventEnvelope { event_id: vec![7; 15], ..good.clone() },
            EventEnvelope { r#type: "x".repeat(65), ..good.clone() },
            EventEnvelope { occurred_at: None, ..good.clone() },
            EventEnvelope { payload: vec![0xff], ..good },
        ];
        for event in bad {
            assert!(entry(Source::Wallet, &event).is_err(), "{event:?}");
        }
    }
}
