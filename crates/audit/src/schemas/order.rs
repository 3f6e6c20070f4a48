//! Orders: totals and events. Nobody but a saga writes them.

use crate::events::{self, Events, Told};
use crate::findings::Findings;
use crate::invariant::{ORDER_EVENTS, ORDER_REQUESTS, ORDER_TOTALS};
use crate::requests::Requests;
use crate::snapshot::Snapshot;
use anyhow::Result;
use api::order::v1::{OrderCancelled, OrderConfirmed, OrderLine};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool};
use prost::Message;

const REQUESTS: Requests = Requests {
    invariant: ORDER_REQUESTS,
    owner: "order",
    made: "",
    told: |_, _| None,
    through: None,
};

/// What a placed and a cancelled order tell: total, paid, and of the lines their number, products and units.
const EVENTS: Events = Events {
    invariant: ORDER_EVENTS,
    changes: "SELECT 'order' AS kind, o.id, 1 AS version, 1 AS through, 0 AS is_event, \
        'commerce.order.v1.OrderConfirmed' AS event_type, o.placed_at AS at, o.total AS a, o.paid AS b, \
        COALESCE(l.number, 0) AS c, COALESCE(l.products, 0) AS d, COALESCE(l.units, 0) AS e, \
        X'' AS payload FROM orders o LEFT JOIN (SELECT order_id, COUNT(*) AS number, \
        CAST(SUM(product_id) AS SIGNED) AS products, CAST(SUM(quantity) AS SIGNED) AS units \
        FROM order_line GROUP BY order_id) l ON l.order_id = o.id \
        UNION ALL SELECT 'order', o.id, o.version, o.version, 0, 'commerce.order.v1.OrderCancelled', \
        COALESCE(o.cancelled_at, o.placed_at), o.user_id, 0, COALESCE(l.number, 0), COALESCE(l.products, 0), 0, X'' \
        FROM orders o LEFT JOIN (SELECT order_id, COUNT(*) AS number, \
        CAST(SUM(product_id) AS SIGNED) AS products \
        FROM order_line GROUP BY order_id) l ON l.order_id = o.id WHERE o.state = 3",
    tells,
};

fn tells(change: &events::Row, told: &Told<'_>) -> bool {
    let count = |len: usize| i64::try_from(len) == Ok(change.c);
    match told.event_type {
        "commerce.order.v1.OrderConfirmed" => {
            OrderConfirmed::decode(told.payload).is_ok_and(|said| {
                let products = said.lines.iter().map(|line| line.product_id);
                let units = said.lines.iter().map(|line| i64::from(line.quantity));
                let price =
                    |line: &OrderLine| i64::from(line.quantity).saturating_mul(line.unit_price_won);
                let price = said.lines.iter().map(price);
                said.order_id == change.id
                    && (said.total_won, said.paid_won) == (change.a, change.b)
                    && said.total_won.checked_sub(said.discount_won) == Some(said.paid_won)
                    && count(said.lines.len())
                    && sum(products) == change.d
                    && sum(units) == change.e
                    && sum(price) == said.total_won
            })
        }
        "commerce.order.v1.OrderCancelled" => {
            OrderCancelled::decode(told.payload).is_ok_and(|said| {
                (said.order_id, said.user_id) == (change.id, change.a)
                    && count(said.product_ids.len())
                    && sum(said.product_ids.iter().copied()) == change.d
            })
        }
        _ => false,
    }
}

fn sum(numbers: impl Iterator<Item = i64>) -> i64 {
    numbers.fold(0, i64::saturating_add)
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Bool)]
    holds: bool,
}

/// An order against its lines, and lines without an order.
const TOTALS: &str = "SELECT o.id, COALESCE(l.total = o.total AND o.total - o.discount = o.paid \
    AND o.paid >= 0 AND o.discount >= 0 AND l.number = l.last AND l.number = l.places \
    AND l.first = 1 AND l.least > 0 AND (o.coupon_id IS NULL) = (o.issued_coupon_id IS NULL) \
    AND (o.discount = 0 OR o.coupon_id IS NOT NULL) \
    AND o.version = o.state AND (o.cancel_saga_id IS NULL) = (o.state = 1) \
    AND (o.cancelled_at IS NULL) = (o.state < 3), 0) AS holds \
    FROM orders o LEFT JOIN (SELECT order_id, COUNT(*) AS number, \
    COUNT(DISTINCT line) AS places, MIN(line) AS first, MAX(line) AS last, \
    MIN(LEAST(quantity, unit_price)) AS least, SUM(quantity * unit_price) AS total \
    FROM order_line GROUP BY order_id) l ON l.order_id = o.id \
    UNION ALL SELECT l.order_id, 0 FROM order_line l LEFT JOIN orders o ON o.id = l.order_id \
    WHERE o.id IS NULL";

/// Checks what the schema says of itself.
pub(crate) async fn check(snapshot: &mut Snapshot, findings: &mut Findings) -> Result<()> {
    snapshot
        .each(TOTALS, |row: Row| {
            findings.check(&ORDER_TOTALS, row.holds, format!("order {}", row.id));
        })
        .await?;
    REQUESTS.check(snapshot, findings).await?;
    EVENTS.check(snapshot, findings).await
}
