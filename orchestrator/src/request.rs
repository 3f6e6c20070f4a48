//! What START keeps of a client's request: normalised, and no more than a replay needs.

use api::checkout::v1::{CancelOrderRequest, PlaceOrderRequest};
use chrono::{DateTime, Utc};
use participant::{Name, RequestHash, content_hash};
use prost::Message;
use prost_types::Timestamp;
use saga::journal::Start;
use saga::runtime::Unreadable;
use std::collections::HashMap;

/// Version of the encodings below, in the digest of a request's content.
const VERSION: u8 = 1;

/// One product of an order, lines of the same product added up.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Line {
    #[prost(int64, tag = "1")]
    pub(crate) product_id: i64,
    #[prost(int32, tag = "2")]
    pub(crate) quantity: i32,
}

/// The content of a `PlaceOrder` request.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct PlaceOrder {
    #[prost(message, repeated, tag = "1")]
    pub(crate) lines: Vec<Line>,
    #[prost(int64, optional, tag = "2")]
    pub(crate) coupon_id: Option<i64>,
    #[prost(int64, optional, tag = "3")]
    pub(crate) expected_total_won: Option<i64>,
}

/// The content of a `CancelOrder` request, for its digest.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct CancelOrder {
    #[prost(int64, tag = "1")]
    pub(crate) order_id: i64,
}

impl PlaceOrder {
    /// Normalises a request that has been checked: one line a product, in the order of first mention.
    pub(crate) fn new(request: &PlaceOrderRequest) -> Self {
        let mut lines: Vec<Line> = Vec::with_capacity(request.lines.len());
        let mut places: HashMap<i64, usize> = HashMap::new();
        for line in &request.lines {
            let place = *places.entry(line.product_id).or_insert(lines.len());
            match lines.get_mut(place) {
                // At most 100 lines of 9,999: no overflow.
                Some(first) => first.quantity = first.quantity.saturating_add(line.quantity),
                None => {
                    lines.push(Line { product_id: line.product_id, quantity: line.quantity });
                }
            }
        }
        let (coupon_id, expected_total_won) = (request.coupon_id, request.expected_total_won);
        Self { lines, coupon_id, expected_total_won }
    }

    pub(crate) fn hash(&self) -> RequestHash {
        content_hash(VERSION, self)
    }

    /// What is at stake, as far as it is known before the prices are.
    pub(crate) fn weight_won(&self) -> i64 {
        self.expected_total_won.unwrap_or(0)
    }
}

impl CancelOrder {
    pub(crate) fn new(request: &CancelOrderRequest) -> Self {
        Self { order_id: request.order_id }
    }

    pub(crate) fn hash(self) -> RequestHash {
        content_hash(VERSION, &self)
    }
}

/// Whose order a saga is about. START keeps both ids as names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) user_id: i64,
    pub(crate) order_id: i64,
}

impl Ids {
    /// # Errors
    /// [`Unreadable`] where a name is no id.
    pub(crate) fn of(start: &Start) -> Result<Self, Unreadable> {
        let id = |what: &str, name: &Name| {
            let number = name.number();
            number.ok_or_else(|| {
                Unreadable(format!("the {what} {:?} in START is no id", name.as_str()))
            })
        };
        let Start { subject, object, .. } = start;
        Ok(Self { user_id: id("subject", subject)?, order_id: id("object", object)? })
    }
}

/// A checkout, from its START.
#[derive(Debug, Clone)]
pub(crate) struct Checkout {
    pub(crate) order_id: i64,
    pub(crate) user_id: i64,
    pub(crate) lines: Vec<Line>,
    pub(crate) coupon_id: Option<i64>,
    pub(crate) expected_total_won: Option<i64>,
    placed_at: DateTime<Utc>,
}

impl Checkout {
    pub(crate) fn decode(start: &Start) -> Result<Self, Unreadable> {
        let content = PlaceOrder::decode(start.request.as_slice())
            .map_err(|error| Unreadable(error.to_string()))?;
        let Ids { user_id, order_id } = Ids::of(start)?;
        Ok(Self {
            order_id,
            user_id,
            lines: content.lines,
            coupon_id: content.coupon_id,
            expected_total_won: content.expected_total_won,
            placed_at: start.placed_at,
        })
    }

    pub(crate) fn placed_at(&self) -> Timestamp {
        timestamp(self.placed_at)
    }
}

/// A cancel, from its START.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cancel {
    pub(crate) order_id: i64,
    pub(crate) user_id: i64,
    asked_at: DateTime<Utc>,
}

impl Cancel {
    pub(crate) fn decode(start: &Start) -> Result<Self, Unreadable> {
        CancelOrder::decode(start.request.as_slice())
            .map_err(|error| Unreadable(error.to_string()))?;
        let Ids { user_id, order_id } = Ids::of(start)?;
        Ok(Self { order_id, user_id, asked_at: start.placed_at })
    }

    pub(crate) fn asked_at(&self) -> Timestamp {
        timestamp(self.asked_at)
    }
}

pub(crate) fn timestamp(at: DateTime<Utc>) -> Timestamp {
    let nanos = i32::try_from(at.timestamp_subsec_nanos()).unwrap_or_default();
    Timestamp { seconds: at.timestamp(), nanos }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::checkout::v1::CheckoutLine;

    fn request(lines: &[(i64, i32)]) -> PlaceOrderRequest {
        let lines = lines
            .iter()
            .map(|&(product_id, quantity)| CheckoutLine { product_id, quantity })
            .collect();
        PlaceOrderRequest { lines, ..Default::default() }
    }

    #[test]
    fn lines_of_one_product_are_added_up_where_it_was_first_named() {
        let order = PlaceOrder::new(&request(&[(7, 1), (3, 2), (7, 4)]));
        let lines: Vec<_> = order.lines.iter().map(|l| (l.product_id, l.quantity)).collect();
        assert_eq!(lines, [(7, 5), (3, 2)]);
    }

    #[test]
    fn the_digest_is_of_the_normalised_content() {
        let split = PlaceOrder::new(&request(&[(7, 1), (3, 2), (7, 4)]));
        let whole = PlaceOrder::new(&request(&[(7, 5), (3, 2)]));
        let other = PlaceOrder::new(&request(&[(3, 2), (7, 5)]));
        assert_eq!(split.hash(), whole.hash());
        assert_ne!(split.hash(), other.hash());
    }
}
