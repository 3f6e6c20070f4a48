//! Events and their numbers, which every participant has.

use crate::bench::{Bench, Corruption};
use api::events::v1::{EventBatch, EventEnvelope};
use events::Shard;
use prost::Message as _;

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

/// A row that holds several events.
struct Shared {
    id: i64,
    shard: i64,
    position: i64,
    events: Vec<EventEnvelope>,
}

pub(crate) async fn corruptions(bench: &Bench) -> Vec<Corruption> {
    let mut all = Vec::new();
    for outbox in OUTBOXES {
        all.extend(outbox.corruptions(&outbox.middle(bench).await));
        all.extend(outbox.shared_corruptions(&outbox.shared(bench).await));
    }
    all
}

impl Outbox {
    async fn middle(&self, bench: &Bench) -> Middle {
        let sql = "SELECT CONCAT_WS(',', o.id, o.shard, o.position, next.id, s.last_position, \
            o.aggregate_kind, o.aggregate_id, o.version) AS name \
            FROM outbox o JOIN outbox_shard s ON s.shard = o.shard \
            JOIN outbox next ON next.shard = o.shard AND next.position = o.position + 1 \
            WHERE o.position > 1 AND o.event_type <> 'commerce.events.v1.EventBatch' ORDER BY o.id LIMIT 1";
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

    async fn shared(&self, bench: &Bench) -> Shared {
        let sql = "SELECT CONCAT_WS(',', id, shard, position, HEX(payload)) AS name FROM outbox \
            WHERE event_type = 'commerce.events.v1.EventBatch' AND position > 0 ORDER BY id LIMIT 1";
        let found = bench.text(self.schema, sql).await.pop().expect("a row of several events");
        let parts: Vec<&str> = found.split(',').collect();
        let number = |part: usize| parts[part].parse::<i64>().unwrap();
        let digits = parts[3].as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
        let payload: Vec<u8> =
            digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect();
        let EventBatch { events } = EventBatch::decode(payload.as_slice()).unwrap();
        assert!(events.len() > 1, "several");
        Shared { id: number(0), shard: number(1), position: number(2), events }
    }

    fn shared_corruptions(&self, row: &Shared) -> Vec<Corruption> {
        let Shared { id, shard, position, events } = row;
        let streamed = format!("shard {shard} position {position}");
        let (first, rest) = events.split_first().unwrap();
        let with_first = |change: &dyn Fn(&mut EventEnvelope)| {
            let mut changed = events.clone();
            change(&mut changed[0]);
            row.with(changed)
        };
        let elsewhere = stranger(*shard, first.aggregate_id);
        let reversed: Vec<EventEnvelope> = events.iter().rev().cloned().collect();
        let doubled: Vec<EventEnvelope> = events.iter().chain([first]).cloned().collect();
        let mut all = vec![
            Corruption::new(self.rows, "one of several removed", row.with(rest.to_vec()))
                .breaks(self.events, name(first))
                .breaks(self.stream, &streamed),
            Corruption::new(self.rows, "one of several doubled", row.with(doubled))
                .breaks(self.events, name(first))
                .breaks(self.relay, format!("event {id} twice"))
                .breaks(self.stream, &streamed),
            Corruption::new(
                self.rows,
                "the payload of one of several altered",
                with_first(&|event| event.payload.as_mut().unwrap().value.push(0xff)),
            )
            .breaks(self.events, name(first))
            .breaks(self.stream, &streamed),
            Corruption::new(
                self.rows,
                "one of several of something else",
                with_first(&|event| elsewhere.clone_into(&mut event.aggregate_kind)),
            )
            .breaks(self.events, name(first))
            .breaks(self.relay, format!("event {id} shard {shard}"))
            .breaks(self.stream, &streamed),
            Corruption::new(
                self.rows,
                "one of several of a type that no column holds",
                with_first(&|event| event.payload.as_mut().unwrap().type_url = "x".repeat(65)),
            )
            .breaks(self.events, name(first))
            .breaks(self.stream, &streamed),
            Corruption::new(
                self.rows,
                "several unreadable",
                format!("UPDATE outbox SET payload = X'FF' WHERE id = {id}"),
            )
            .breaks(self.events, name(first))
            .breaks(self.relay, format!("event {id} shard {shard}"))
            .breaks(self.stream, &streamed),
        ];
        // Events of different aggregates have no order.
        if let Some(next) = rest.iter().find(|event| event.aggregate_id == first.aggregate_id) {
            let shuffled =
                Corruption::new(self.rows, "several in another order", row.with(reversed));
            all.push(shuffled.breaks(self.events, name(next)).breaks(self.stream, &streamed));
        }
        all
    }

    fn corruptions(&self, middle: &Middle) -> Vec<Corruption> {
        let Middle { id, shard, position, name, follower, last, .. } = middle;
        let stranger = stranger(middle.shard, middle.aggregate_id);
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

impl Shared {
    /// The row with other events in it.
    fn with(&self, events: Vec<EventEnvelope>) -> String {
        let payload = EventBatch { events }.encode_to_vec();
        let hex = payload.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02X}"));
        format!("UPDATE outbox SET payload = X'{hex}' WHERE id = {}", self.id)
    }
}

/// An event as reports name it.
fn name(event: &EventEnvelope) -> String {
    format!("{} {} version {}", event.aggregate_kind, event.aggregate_id, event.version)
}

/// A kind of aggregate that belongs to another shard.
fn stranger(shard: i64, aggregate_id: i64) -> &'static str {
    let elsewhere = |kind: &&str| i64::from(Shard::of(kind, aggregate_id).number()) != shard;
    ["nothing", "nobody", "nowhere"].into_iter().find(elsewhere).unwrap()
}
