//! Events and their numbers, which every participant has.

use crate::bench::Corruption;
use crate::history::History;
use events::Shard;

/// An event that is neither the first nor the last of its shard is picked by the shop's history: a middle version of an
/// aggregate whose events come both before and after it.
struct Outbox {
    outbox: &'static str,
    shards: &'static str,
    events: &'static str,
    relay: &'static str,
    stream: &'static str,
    kind: &'static str,
    id: i64,
    version: i64,
}

pub fn corruptions(history: &History) -> Vec<Corruption> {
    let History { user, other, issued, cancel, .. } = history;
    let outboxes = [
        Outbox {
            outbox: "wallet.outbox",
            shards: "wallet.outbox_shard",
            events: "wallet-events",
            relay: "wallet-relay",
            stream: "wallet-stream",
            kind: "wallet",
            id: *user,
            version: 2,
        },
        Outbox {
            outbox: "product.outbox",
            shards: "product.outbox_shard",
            events: "product-events",
            relay: "product-relay",
            stream: "product-stream",
            kind: "product",
            id: *other,
            version: 2,
        },
        Outbox {
            outbox: "coupon.outbox",
            shards: "coupon.outbox_shard",
            events: "coupon-events",
            relay: "coupon-relay",
            stream: "coupon-stream",
            kind: "issued_coupon",
            id: *issued,
            version: 2,
        },
        Outbox {
            outbox: "order.outbox",
            shards: "order.outbox_shard",
            events: "order-events",
            relay: "order-relay",
            stream: "order-stream",
            kind: "order",
            id: cancel.order,
            version: 3,
        },
    ];
    outboxes.iter().flat_map(Outbox::corruptions).collect()
}

impl Outbox {
    fn corruptions(&self) -> Vec<Corruption> {
        let Self { kind, id, version, .. } = self;
        let shard = Shard::of(kind, *id);
        let event = format!("{kind} {id} version {version}");
        let row =
            format!("aggregate_kind = '{kind}' AND aggregate_id = {id} AND version = {version}");
        let columns = "shard, position, event_id, event_type, aggregate_kind, aggregate_id, \
            version, occurred_at, trace_id, traceparent, payload";
        let copy = |event_id: &str, position: &str| {
            let values =
                columns.replace("event_id", event_id).replace("position", position);
            format!("INSERT INTO outbox ({columns}) SELECT {values} FROM outbox WHERE {row}")
        };
        vec![
            Corruption::new(self.outbox, "doubled", copy("X'00000000000070008000000000000001'", "NULL"))
                .breaks(self.events, &event),
            Corruption::new(
                self.outbox,
                "altered",
                format!("UPDATE outbox SET payload = CONCAT(payload, X'FF') WHERE {row}"),
            )
            .breaks(self.events, &event),
            Corruption::new(
                self.outbox,
                "in another shard",
                format!("UPDATE outbox SET shard = (shard + 1) % 16, position = NULL WHERE {row}"),
            )
            .breaks(self.relay, ""),
            Corruption::new(
                self.shards,
                "one number too many",
                format!("UPDATE outbox_shard SET last_position = last_position + 1 WHERE shard = {shard}"),
            )
            .breaks(self.relay, format!("shard {shard}")),
            Corruption::new(
                self.shards,
                "removed",
                format!("DELETE FROM outbox_shard WHERE shard = {shard}"),
            )
            .breaks(self.relay, format!("shard {shard}")),
        ]
    }
}
