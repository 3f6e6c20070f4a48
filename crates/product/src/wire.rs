//! Products in the words of the contract: messages, refusals, events.

use crate::domain::{
    Cause, Line, Movement, OrderId, Product, ProductId, Quantity, Quote, Refused, STOCK_LIMIT,
    Shortage,
};
use ::participant::Moment;
use api::product::v1::{
    self, PricedLine, ProductCreated, ProductUpdated, ReserveStockReply, StockAdjusted,
    StockChange, StockMovement, StockMovementKind, StockReleased, StockReserved, StockRestocked,
};
use api::{Reason, Refusal};
use chrono::{DateTime, Utc};
use events::Event;
use prost::{Message, Name};
use prost_types::Timestamp;

impl From<&Product> for v1::Product {
    fn from(product: &Product) -> Self {
        Self {
            product_id: product.id.0,
            name: product.name.clone(),
            price_won: product.price,
            stock: product.stock,
            version: product.version,
            created_at: Some(timestamp(product.created_at)),
            updated_at: Some(timestamp(product.updated_at)),
        }
    }
}

impl From<&Movement> for StockMovement {
    fn from(movement: &Movement) -> Self {
        let kind = match movement.cause {
            Cause::Initial => StockMovementKind::Initial,
            Cause::Adjust { .. } => StockMovementKind::Adjust,
            Cause::Reserve(_) => StockMovementKind::Reserve,
            Cause::Release(_) => StockMovementKind::Release,
            Cause::Restock(_) => StockMovementKind::Restock,
        };
        Self {
            seq: movement.seq,
            kind: kind.into(),
            delta: movement.delta,
            stock_after: movement.stock_after,
            order_id: movement.cause.order().map(|order| order.0),
            reason: reason(&movement.cause).to_owned(),
            created_at: Some(timestamp(movement.at)),
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound(ids) => {
                let ids = list(ids.into_iter().map(|id| id.0));
                Self::new(Reason::ProductNotFound).with("product_ids", ids)
            }
            Refused::Short(short) => {
                let each = |value: fn(&Shortage) -> i64| list(short.iter().map(value));
                Self::new(Reason::InsufficientStock)
                    .with("product_ids", each(|it| it.product.0))
                    .with("available", each(|it| it.available.into()))
                    .with("required", each(|it| it.required.into()))
            }
            Refused::StockLimit(id) => Self::new(Reason::StockLimitExceeded)
                .with("product_ids", id.0)
                .with("limit", STOCK_LIMIT),
            Refused::PriceChanged { expected, actual } => Self::new(Reason::PriceChanged)
                .with("expected_won", expected)
                .with("actual_won", actual),
            Refused::VersionMismatch { expected, actual } => {
                Self::new(Reason::VersionMismatch).with("expected", expected).with("actual", actual)
            }
        }
    }
}

/// A line of a request.
///
/// # Errors
/// `INVALID_FIELD` below one unit.
pub(crate) fn line(line: &v1::StockLine) -> Result<Line, Refusal> {
    let quantity = Quantity::new(line.quantity)
        .ok_or_else(|| Refusal::invalid_field("lines.quantity", "must be 1 or more"))?;
    Ok(Line { product: ProductId(line.product_id), quantity })
}

/// The reply of a reservation, which is also all that undoing it needs.
pub(crate) fn reserved(order: OrderId, quote: &Quote) -> ReserveStockReply {
    let lines = quote.lines.iter().map(|priced| PricedLine {
        product_id: priced.line.product.0,
        quantity: priced.line.quantity.get(),
        unit_price_won: priced.unit_price,
    });
    ReserveStockReply { lines: lines.collect(), total_won: quote.total, order_id: order.0 }
}

/// The order and the lines of a recorded reservation; `None` for what no version recorded.
pub(crate) fn reservation(recorded: &[u8]) -> Option<(OrderId, Vec<Line>)> {
    let reply = ReserveStockReply::decode(recorded).ok()?;
    let lines = reply.lines.iter().map(|line| {
        let quantity = Quantity::new(line.quantity)?;
        Some(Line { product: ProductId(line.product_id), quantity })
    });
    Some((OrderId(reply.order_id), lines.collect::<Option<_>>()?))
}

/// The event of a new product.
pub(crate) fn created(product: &Product, moment: &Moment<'_>) -> Event {
    let payload = ProductCreated {
        product_id: product.id.0,
        name: product.name.clone(),
        price_won: product.price,
        stock: product.stock,
    };
    event(("product", product.id.0, product.version), &payload, moment)
}

/// The event of a product whose name or price changed.
pub(crate) fn updated(product: &Product, moment: &Moment<'_>) -> Event {
    let payload = ProductUpdated {
        product_id: product.id.0,
        name: product.name.clone(),
        price_won: product.price,
        version: product.version,
    };
    event(("product", product.id.0, product.version), &payload, moment)
}

/// The event of a stock that was adjusted.
pub(crate) fn adjusted(movement: &Movement, moment: &Moment<'_>) -> Event {
    let payload = StockAdjusted {
        product_id: movement.product.0,
        seq: movement.seq,
        delta: movement.delta,
        stock_after: movement.stock_after,
        reason: reason(&movement.cause).to_owned(),
    };
    event(("stock", movement.product.0, movement.seq), &payload, moment)
}

/// The event of an order's units, taken (its reservation's version 1) or given back (version 2).
pub(crate) fn moved(cause: &Cause, movements: &[Movement], moment: &Moment<'_>) -> Option<Event> {
    let order_id = cause.order()?.0;
    let mut lines: Vec<StockChange> = movements.iter().map(StockChange::from).collect();
    lines.sort_unstable_by_key(|line| line.product_id);
    let reservation = |version| ("reservation", order_id, version);
    Some(match cause {
        Cause::Reserve(_) => event(reservation(1), &StockReserved { order_id, lines }, moment),
        Cause::Release(_) => event(reservation(2), &StockReleased { order_id, lines }, moment),
        Cause::Restock(_) => event(reservation(2), &StockRestocked { order_id, lines }, moment),
        Cause::Initial | Cause::Adjust { .. } => return None,
    })
}

impl From<&Movement> for StockChange {
    fn from(movement: &Movement) -> Self {
        Self {
            product_id: movement.product.0,
            seq: movement.seq,
            delta: movement.delta,
            stock_after: movement.stock_after,
        }
    }
}

fn event<P: Name>(
    (aggregate_kind, aggregate_id, version): (&'static str, i64, i64),
    payload: &P,
    moment: &Moment<'_>,
) -> Event {
    Event {
        event_type: P::full_name(),
        aggregate_kind,
        aggregate_id,
        version,
        occurred_at: moment.at,
        trace_id: moment.trace.trace_id.clone(),
        traceparent: moment.trace.traceparent.clone(),
        payload: payload.encode_to_vec(),
    }
}

fn reason(cause: &Cause) -> &str {
    match cause {
        Cause::Adjust { reason } => reason,
        _ => "",
    }
}

/// Numbers as error metadata has them: separated by commas.
fn list(values: impl Iterator<Item = i64>) -> String {
    values.map(|value| value.to_string()).collect::<Vec<_>>().join(",")
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
    use crate::domain;

    /// What a barrier row and an idempotency row hold at most.
    const ROOM: usize = 4_096;
    const LARGEST_ID: i64 = (1 << 53) - 1;

    fn lines() -> Vec<Line> {
        let line = |n| Line {
            product: ProductId(LARGEST_ID - n),
            quantity: Quantity::new(999_900).unwrap(),
        };
        (0..100).map(line).collect()
    }

    #[test]
    fn the_largest_reservation_fits_its_row_and_is_read_back() {
        let priced = |line| domain::PricedLine { line, unit_price: 1_000_000_000 };
        let quote = Quote {
            lines: lines().into_iter().map(priced).collect(),
            total: 1_000_000_000_000_000,
        };
        let recorded = reserved(OrderId(LARGEST_ID), &quote).encode_to_vec();
        assert!(recorded.len() <= ROOM, "{} bytes", recorded.len());
        assert_eq!(reservation(&recorded), Some((OrderId(LARGEST_ID), lines())));
    }

    #[test]
    fn the_largest_refusals_fit_their_rows() {
        let short = lines().into_iter().map(|line| Shortage {
            product: line.product,
            available: line.quantity.get() - 1,
            required: line.quantity.get(),
        });
        let missing = lines().into_iter().map(|line| line.product);
        for refused in [Refused::Short(short.collect()), Refused::NotFound(missing.collect())] {
            let recorded = Refusal::from(refused).encode();
            assert!(recorded.len() <= ROOM, "{} bytes", recorded.len());
        }
    }

    #[test]
    fn what_nobody_recorded_is_no_reservation() {
        assert_eq!(reservation(b"\xff\xff"), None);
        let line = PricedLine { product_id: 1, quantity: -1, unit_price_won: 1 };
        let minting = ReserveStockReply { lines: vec![line], total_won: 1, order_id: 1 };
        assert_eq!(reservation(&minting.encode_to_vec()), None);
    }
}
