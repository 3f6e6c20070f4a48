//! Products: stock against its movements, its requests and its events.

use crate::chain::Chain;
use crate::events::{self, Events, Told};
use crate::findings::Findings;
use crate::ids;
use crate::invariant::{
    PRODUCT_EVENTS, PRODUCT_IDS, PRODUCT_MOVEMENTS, PRODUCT_REQUESTS, PRODUCT_STOCK,
};
use crate::requests::{Made, Requests};
use crate::snapshot::Snapshot;
use anyhow::Result;
use api::product::v1::{
    AdjustStockResponse, CreateProductResponse, ProductCreated, ProductUpdated, StockAdjusted,
    StockChange, StockReleased, StockReserved, StockRestocked, UpdateProductResponse,
};
use prost::Message;

/// Kinds of movements.
pub(crate) const INITIAL: i64 = 1;
const ADJUST: i64 = 2;
/// An order took units.
pub(crate) const RESERVE: i64 = 3;
/// Its checkout failed.
pub(crate) const RELEASE: i64 = 4;
/// It was cancelled.
pub(crate) const RESTOCK: i64 = 5;

const CHAIN: Chain = Chain {
    owner: "product",
    entry: "movement",
    owners: "SELECT id, stock AS amount, movements AS count FROM product",
    owner_key: "id",
    entries: "SELECT product_id AS id, seq, kind, delta, stock_after AS after, \
        order_id IS NOT NULL AS of_order, saga_id IS NOT NULL AS of_saga FROM stock_movement",
    entry_key: "product_id",
    sound: |entry| match entry.kind {
        INITIAL => entry.delta >= 0 && entry.seq == 1 && !entry.of_order && !entry.of_saga,
        ADJUST => entry.delta != 0 && !entry.of_order && !entry.of_saga,
        RESERVE => entry.delta < 0 && entry.of_order && entry.of_saga,
        RELEASE | RESTOCK => entry.delta > 0 && entry.of_order && entry.of_saga,
        _ => false,
    },
    sum: PRODUCT_STOCK,
    links: PRODUCT_MOVEMENTS,
};

const REQUESTS: Requests = Requests {
    invariant: PRODUCT_REQUESTS,
    owner: "product",
    made: "SELECT 1 AS method, product_id AS id, 0 AS part, delta AS amount FROM stock_movement \
        WHERE kind = 1 \
        UNION ALL SELECT 2, id, version, 0 FROM product WHERE version > 1 \
        UNION ALL SELECT 3, product_id, seq, delta FROM stock_movement WHERE kind = 2",
    told: |method, reply| match method {
        1 => {
            let product = CreateProductResponse::decode(reply).ok()?.product?;
            Some(Made { method, id: product.product_id, part: 0, amount: product.stock.into() })
        }
        2 => {
            let product = UpdateProductResponse::decode(reply).ok()?.product?;
            Some(Made { method, id: product.product_id, part: product.version, amount: 0 })
        }
        3 => {
            let reply = AdjustStockResponse::decode(reply).ok()?;
            let (id, movement) = (reply.product?.product_id, reply.movement?);
            Some(Made { method, id, part: movement.seq, amount: movement.delta.into() })
        }
        _ => None,
    },
    // A product knows how often it was changed, not each change.
    through: Some(2),
};

const EVENTS: Events = Events {
    invariant: PRODUCT_EVENTS,
    changes: "SELECT 'product' AS kind, p.id, 1 AS version, p.version AS through, 0 AS is_event, \
        '' AS event_type, p.updated_at AS at, COALESCE(m.delta, 0) AS a, p.price AS b, 0 AS c, \
        0 AS d, 0 AS e, X'' AS payload \
        FROM product p LEFT JOIN stock_movement m ON m.product_id = p.id AND m.seq = 1 \
        UNION ALL SELECT 'stock', product_id, seq, seq, 0, 'commerce.product.v1.StockAdjusted', created_at, \
        delta, stock_after, 0, 0, 0, X'' FROM stock_movement WHERE kind = 2 \
        UNION ALL SELECT 'reservation', order_id, IF(kind = 3, 1, 2), IF(kind = 3, 1, 2), 0, \
        CASE kind WHEN 3 THEN 'commerce.product.v1.StockReserved' WHEN 4 THEN 'commerce.product.v1.StockReleased' \
        ELSE 'commerce.product.v1.StockRestocked' END, MAX(created_at), \
        COUNT(*), CAST(SUM(product_id) AS SIGNED), CAST(SUM(delta) AS SIGNED), \
        CAST(SUM(seq) AS SIGNED), CAST(SUM(stock_after) AS SIGNED), X'' \
        FROM stock_movement WHERE kind > 2 GROUP BY order_id, kind",
    tells,
};

fn tells(change: &events::Row, told: &Told<'_>) -> bool {
    let payload = told.payload;
    let moved = |order_id: i64, lines: &[StockChange]| {
        let sum =
            |number: fn(&StockChange) -> i64| lines.iter().map(number).fold(0, i64::saturating_add);
        order_id == change.id
            && i64::try_from(lines.len()) == Ok(change.a)
            && sum(|line| line.product_id) == change.b
            && sum(|line| line.delta.into()) == change.c
            && sum(|line| line.seq) == change.d
            && sum(|line| line.stock_after.into()) == change.e
    };
    match (change.kind.as_str(), told.event_type) {
        ("product", "commerce.product.v1.ProductCreated") => ProductCreated::decode(payload)
            .is_ok_and(|said| {
                let price = change.through > 1 || said.price_won == change.b;
                told.version == 1
                    && said.product_id == change.id
                    && i64::from(said.stock) == change.a
                    && price
            }),
        ("product", "commerce.product.v1.ProductUpdated") => ProductUpdated::decode(payload)
            .is_ok_and(|said| {
                let price = told.version < change.through || said.price_won == change.b;
                let version = told.version > 1 && said.version == told.version;
                said.product_id == change.id && version && price
            }),
        ("stock", "commerce.product.v1.StockAdjusted") => {
            StockAdjusted::decode(payload).is_ok_and(|said| {
                (said.product_id, said.seq) == (change.id, change.version)
                    && (i64::from(said.delta), i64::from(said.stock_after)) == (change.a, change.b)
            })
        }
        ("reservation", "commerce.product.v1.StockReserved") => {
            StockReserved::decode(payload).is_ok_and(|said| moved(said.order_id, &said.lines))
        }
        ("reservation", "commerce.product.v1.StockReleased") => {
            StockReleased::decode(payload).is_ok_and(|said| moved(said.order_id, &said.lines))
        }
        ("reservation", "commerce.product.v1.StockRestocked") => {
            StockRestocked::decode(payload).is_ok_and(|said| moved(said.order_id, &said.lines))
        }
        _ => false,
    }
}

/// Checks what the schema says of itself.
pub(crate) async fn check(snapshot: &mut Snapshot, findings: &mut Findings) -> Result<()> {
    CHAIN.check(snapshot, findings).await?;
    REQUESTS.check(snapshot, findings).await?;
    EVENTS.check(snapshot, findings).await?;
    ids::check(&PRODUCT_IDS, &[("product", "SELECT MAX(id) FROM product")], snapshot, findings)
        .await
}
