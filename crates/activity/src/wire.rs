//! From events to rows of the log.

use crate::domain::{Entry, Kind, Source};
use api::events::v1::EventEnvelope;
use api::order::v1::{OrderCancelled, OrderConfirmed};
use api::wallet::v1::{
    WalletCharged, WalletCreated, WalletDebitUndone, WalletDebited, WalletRefunded,
};
use chrono::{DateTime, Datelike, SubsecRound, Utc};
use events::message::{read, type_of};
use prost::DecodeError;
use prost_types::Timestamp;
use uuid::Uuid;

/// The widest type that the column holds.
const TYPE: usize = 128;
/// The widest trace id that the column holds.
const TRACE_ID: usize = 64;

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
    let event_id = Uuid::try_parse(&event.event_id).map_err(|_| "event_id is no UUID")?;
    let event_type = type_of(event);
    if event_type.is_empty() {
        return Err("an event without a type".to_owned());
    }
    if event_type.len() > TYPE {
        return Err(format!("a type of more than {TYPE} bytes"));
    }
    if event.trace_id.len() > TRACE_ID {
        return Err(format!("a trace_id of more than {TRACE_ID} bytes"));
    }
    let payload = event.payload.as_ref().ok_or("an event without a payload")?;
    let (kind, said) = said(event).map_err(|error| error.to_string())?;
    Ok(Entry {
        occurred_at: instant(event.occurred_at).ok_or("occurred_at is no instant")?,
        event_id: event_id.into_bytes(),
        source,
        event_type: event_type.to_owned(),
        kind,
        version: event.version,
        user_id: said.user_id,
        order_id: said.order_id,
        amount: said.amount,
        balance_after: said.balance_after,
        total: said.total,
        paid: said.paid,
        trace_id: event.trace_id.clone(),
        payload: payload.value.clone(),
    })
}

fn said(event: &EventEnvelope) -> Result<(Kind, Said), DecodeError> {
    if let Some(WalletCreated { user_id }) = read(event)? {
        return Ok((Kind::Wallet, Said { user_id: Some(user_id), ..Said::default() }));
    }
    if let Some(it) = read::<WalletCharged>(event)? {
        return Ok((Kind::Charge, moved(it.user_id, None, it.amount_won, it.balance_after_won)));
    }
    if let Some(it) = read::<WalletDebited>(event)? {
        let (order_id, amount) = (Some(it.order_id), it.amount_won.saturating_neg());
        return Ok((Kind::Use, moved(it.user_id, order_id, amount, it.balance_after_won)));
    }
    if let Some(it) = read::<WalletDebitUndone>(event)? {
        let order_id = Some(it.order_id);
        return Ok((Kind::Undo, moved(it.user_id, order_id, it.amount_won, it.balance_after_won)));
    }
    if let Some(it) = read::<WalletRefunded>(event)? {
        let order_id = Some(it.order_id);
        return Ok((
            Kind::Refund,
            moved(it.user_id, order_id, it.amount_won, it.balance_after_won),
        ));
    }
    if let Some(it) = read::<OrderConfirmed>(event)? {
        let (user_id, order_id) = (Some(it.user_id), Some(it.order_id));
        let (total, paid) = (Some(it.total_won), Some(it.paid_won));
        return Ok((Kind::Order, Said { user_id, order_id, total, paid, ..Said::default() }));
    }
    if let Some(it) = read::<OrderCancelled>(event)? {
        let (user_id, order_id) = (Some(it.user_id), Some(it.order_id));
        return Ok((Kind::Cancel, Said { user_id, order_id, ..Said::default() }));
    }
    // Of a later version: kept as it is.
    Ok((Kind::Other, Said::default()))
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
    use events::message::payload;
    use prost::{Message, Name};

    fn of_type(event_type: &str, content: Vec<u8>) -> EventEnvelope {
        EventEnvelope {
            event_id: "07070707-0707-0707-0707-070707070707".to_owned(),
            version: 3,
            occurred_at: Some(Timestamp { seconds: 1, nanos: 1_999 }),
            payload: Some(payload(event_type, content)),
            ..EventEnvelope::default()
        }
    }

    fn event<M: Name>(content: &M) -> EventEnvelope {
        of_type(&M::full_name(), content.encode_to_vec())
    }

    #[test]
    fn a_payment_goes_out_of_the_wallet_and_what_comes_back_into_it() {
        let (user_id, order_id, amount_won) = (1, 9, 500);
        let paid = WalletDebited { user_id, seq: 3, amount_won, balance_after_won: 200, order_id };
        let row = entry(Source::Wallet, &event(&paid)).unwrap();
        assert_eq!((row.kind, row.user_id, row.order_id), (Kind::Use, Some(1), Some(9)));
        assert_eq!((row.amount, row.balance_after), (Some(-500), Some(200)));
        let back = WalletRefunded { user_id, seq: 4, amount_won, balance_after_won: 700, order_id };
        let row = entry(Source::Wallet, &event(&back)).unwrap();
        assert_eq!((row.kind, row.amount, row.balance_after), (Kind::Refund, Some(500), Some(700)));
        assert_eq!(row.occurred_at.timestamp_subsec_nanos(), 1_000);
    }

    #[test]
    fn a_row_has_the_full_name_of_its_type_and_the_id_as_bytes() {
        let row = entry(Source::Order, &event(&OrderCancelled::default())).unwrap();
        assert_eq!(row.event_type, "commerce.order.v1.OrderCancelled");
        assert_eq!((row.kind, row.event_id), (Kind::Cancel, [7; 16]));
    }

    #[test]
    fn a_type_of_a_later_version_is_kept_with_its_payload() {
        let content = WalletCreated { user_id: 1 }.encode_to_vec();
        let longest = format!("commerce.order.v1.{}", "x".repeat(TYPE - 18));
        for event_type in ["commerce.order.v1.OrderAdmired", &longest] {
            let row = entry(Source::Order, &of_type(event_type, content.clone())).unwrap();
            assert_eq!((row.kind, row.user_id, row.version), (Kind::Other, None, 3));
            assert_eq!((row.event_type.as_str(), &row.payload), (event_type, &content));
        }
        // Of the same name in another package, which is another type.
        let row = entry(Source::Wallet, &of_type("commerce.wallet.v2.WalletCreated", content));
        assert_eq!(row.unwrap().kind, Kind::Other);
    }

    #[test]
    fn what_no_service_writes_makes_no_sense() {
        let good = event(&WalletCreated { user_id: 1 });
        assert!(entry(Source::Wallet, &good).is_ok());
        let bad = [
            EventEnvelope { event_id: String::new(), ..good.clone() },
            EventEnvelope { event_id: "7".repeat(31), ..good.clone() },
            EventEnvelope { trace_id: "x".repeat(TRACE_ID + 1), ..good.clone() },
            EventEnvelope { occurred_at: None, ..good.clone() },
            EventEnvelope { payload: None, ..good },
            of_type("", Vec::new()),
            of_type(&"x".repeat(TYPE + 1), Vec::new()),
            of_type(&WalletCreated::full_name(), vec![0xff]),
        ];
        for event in bad {
            assert!(entry(Source::Wallet, &event).is_err(), "{event:?}");
        }
    }
}
