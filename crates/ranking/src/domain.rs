//! What the list of best sellers is: pure rules, no I/O.

use chrono::{DateTime, Utc};
use std::cmp::Reverse;

/// Minutes that the window reaches back from the minute of now: 72 hours.
pub const WINDOW_MINUTES: i64 = 72 * 60;

/// Orders placed in `[start, as_of)` count. The start is a whole minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first instant that counts.
    pub start: DateTime<Utc>,
    /// The first instant that does not.
    pub as_of: DateTime<Utc>,
}

/// A product that is in orders of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The product.
    pub product_id: i64,
    /// Orders that contain it, 1 or more; units do not matter.
    pub orders: i64,
    /// When the newest of them was placed.
    pub latest: DateTime<Utc>,
}

/// A change of what was ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The position of the event's message in its shard.
    pub position: i64,
    /// Whether the order came or went.
    pub kind: Kind,
    /// The order.
    pub order_id: i64,
    /// When the order was placed, also where it is cancelled: it leaves the place where it was counted.
    pub placed_at: DateTime<Utc>,
    /// The products in it, each once.
    pub products: Vec<i64>,
}

/// Whether an order came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It was placed and paid.
    Confirmed,
    /// It was cancelled.
    Cancelled,
}

/// The best `limit`: by number of orders, of equals the one with the later latest order, then the smaller id.
pub fn best(mut entries: Vec<Entry>, limit: usize) -> Vec<Entry> {
    entries.sort_unstable_by_key(|entry| {
        (Reverse(entry.orders), Reverse(entry.latest), entry.product_id)
    });
    entries.truncate(limit);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(product_id: i64, orders: i64, latest: i64) -> Entry {
        let latest = DateTime::from_timestamp_micros(latest).unwrap();
        Entry { product_id, orders, latest }
    }

    #[test]
    fn more_orders_then_the_later_latest_order_then_the_smaller_id() {
        let entries =
            vec![entry(5, 1, 9), entry(4, 2, 7), entry(3, 2, 7), entry(2, 2, 8), entry(1, 3, 1)];
        let ids: Vec<i64> = best(entries, 4).iter().map(|entry| entry.product_id).collect();
        assert_eq!(ids, [1, 2, 3, 4]);
    }
}
