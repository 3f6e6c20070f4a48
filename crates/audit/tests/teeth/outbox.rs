//! Events and their numbers, which every participant has.

use crate::bench::{Bench, Corruption};
use events::Shard;

/// A participant's outbox, and what guards it.
struct Outbox {
    schema: &'static str,
    rows: &'static str,
    shards: &'static str,
    events: &'static str,
    relay: &'static str,
    stream: &'static str,
}

const OUTBOXES: [Outbox; 4] = [
    Outbox {
        schema: "wallet",
        rows: "wallet.outbox",
        shards: "wallet.outbox_shard",
        events: "wallet-events",
        relay: "wallet-relay",
        stream: "wallet-stream",
    },
    Outbox {
        schema: "product",
        rows: "product.outbox",
        shards: "product.outbox_shard",
        events: "product-events",
        relay: "product-relay",
        stream: "product-stream",
    },
    Outbox {
        schema: "coupon",
        rows: "coupon.outbox",
        shards: "coupon.outbox_shard",
        events: "coupon-events",
        relay: "coupon-relay",
        stream: "coupon-stream",
    },
    Outbox {
        schema: "order",
        rows: "order.outbox",
        shards: "order.outbox_shard",
        events: "order-events",
        relay: "order-relay",
        stream: "order-stream",
    },
];

/// An event that is neither the first nor the last of its shard.
struct Middle {
    id: i64,
    shard: i64,
    position: i64,
    aggregate_id: i64,
    /// As reports name it.
    name: String,
    /// The event that follows it in the shard, as reports name it.
    follower: String,
    /// The shard's last number.
    last: i64,
}

pub(crate) async fn corruptions(bench: &Bench) -> Vec<Corruption> {
    let mut all = Vec::new();
    for outbox in OUTBOXES {
        all.extend(outbox.corruptions(&outbox.middle(bench).await));
    }
    all
}

impl Outbox {
    async fn middle(&self, bench: &Bench) -> Middle {
        let sql = "SELECT CONCAT_WS(',', o.id, o.shard, o.position, next.id, s.last_position, \
            o.aggregate_kind, o.aggregate_id, o.version) AS name \
            FROM outbox o JOIN outbox_shard s ON s.shard = o.shard \
            JOIN outbox next ON next.shard = o.shard AND next.position = o.position + 1 \
            WHERE o.position > 1 ORDER BY o.id LIMIT 1";
        let found = bench.text(self.schema, sql).await.pop().expect("a shard of three events");
        let parts: Vec<&str> = found.split(',').collect();
        let number = |part: usize| parts[part].parse::<i64>().unwrap();
        Middle {
            id: number(0),
            shard: number(1),
            position: number(2),
            aggregate_id: number(6),
            name: format!("{} {} version {}", parts[5], parts[6], parts[7]),
            follower: format!("event {} shard {}", number(3), number(1)),
            last: number(4),
        }
    }

    fn corruptions(&self, middle: &Middle) -> Vec<Corruption> {
        let Middle { id, shard, position, name, follower, last, .. } = middle;
        let stranger = stranger(middle);
        let streamed = format!("shard {shard} position {position}");
        let copied = |event_id: &str| {
            format!(
                "INSERT INTO outbox (shard, position, event_id, event_type, aggregate_kind, \
                aggregate_id, version, occurred_at, trace_id, traceparent, payload) \
                SELECT shard, NULL, {event_id}, event_type, aggregate_kind, aggregate_id, version, \
                occurred_at, trace_id, traceparent, payload FROM outbox WHERE id = {id}"
            )
        };
        vec![
            Corruption::new(self.rows, "removed", format!("DELETE FROM outbox WHERE id = {id}"))
                .breaks(self.events, name)
                .breaks(self.relay, follower)
                .breaks(self.stream, &streamed),
            Corruption::new(self.rows, "told twice", copied("X'00000000000070008000000000000001'"))
                .breaks(self.events, name),
            Corruption::new(
                self.rows,
                "its payload altered",
                format!("UPDATE outbox SET payload = CONCAT(payload, X'FF') WHERE id = {id}"),
            )
            .breaks(self.events, name)
            .breaks(self.stream, &streamed),
            Corruption::new(
                self.rows,
                "its type altered",
                format!("UPDATE outbox SET event_type = 'Nothing' WHERE id = {id}"),
            )
            .breaks(self.events, name)
            .breaks(self.stream, &streamed),
            Corruption::new(
                self.rows,
                "of something else",
                format!("UPDATE outbox SET aggregate_kind = '{stranger}' WHERE id = {id}"),
            )
            .breaks(self.events, name)
            .breaks(self.relay, format!("event {id} shard {shard}"))
            .breaks(self.stream, &streamed),
            Corruption::new(
                self.rows,
                "two with one number",
                format!(
                    "UPDATE outbox SET position = {position} WHERE shard = {shard} \
                    AND position = {position} + 1"
                ),
            )
            .breaks(self.relay, follower)
            .breaks(self.stream, format!("shard {shard} position {}", position + 1)),
            Corruption::new(
                self.shards,
                "one number too many",
                format!(
                    "UPDATE outbox_shard SET last_position = last_position + 1 \
                    WHERE shard = {shard}"
                ),
            )
            .breaks(self.relay, format!("shard {shard}")),
            Corruption::new(
                self.shards,
                "said to be published",
                format!(
                    "UPDATE outbox_shard SET published_position = last_position + 1 \
                    WHERE shard = {shard}"
                ),
            )
            .breaks(self.relay, format!("shard {shard}"))
            .breaks(self.stream, format!("shard {shard} position {}", last + 1)),
            Corruption::new(
                self.shards,
                "removed",
                format!("DELETE FROM outbox_shard WHERE shard = {shard}"),
            )
            .breaks(self.relay, format!("shard {shard}")),
        ]
    }
}

/// A kind of aggregate that belongs to another shard.
fn stranger(middle: &Middle) -> &'static str {
    let elsewhere =
        |kind: &&str| i64::from(Shard::of(kind, middle.aggregate_id).number()) != middle.shard;
    ["nothing", "nobody", "nowhere"].into_iter().find(elsewhere).unwrap()
}
