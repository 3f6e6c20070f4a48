//! Streams and counts, which live in Redis.

use crate::bench::Bench;
use crate::history::History;
use ::redis::aio::MultiplexedConnection;
use ::redis::{Client, Cmd, cmd};

/// One way to spoil a key.
pub(crate) struct Corruption {
    /// What the invariants call the place.
    pub(crate) place: &'static str,
    how: &'static str,
    key: String,
    command: Cmd,
    breaks: (&'static str, String),
}

const STREAMS: [(&str, &str, &str); 4] = [
    ("wallet", "bus.wallet-events", "wallet-stream"),
    ("product", "bus.product-events", "product-stream"),
    ("coupon", "bus.coupon-events", "coupon-stream"),
    ("order", "bus.order-events", "order-stream"),
];

pub(crate) async fn corruptions(bench: &Bench, history: &History) -> Vec<Corruption> {
    let mut all = Vec::new();
    for (schema, place, invariant) in STREAMS {
        let sql = "SELECT CONCAT(shard, ' ', last_position) AS name FROM outbox_shard \
            ORDER BY last_position DESC LIMIT 1";
        let found = bench.text(schema, sql).await.pop().unwrap();
        let (shard, last) = found.split_once(' ').unwrap();
        let last: i64 = last.parse().unwrap();
        let prefix = &bench.redis().prefix;
        let key = format!("{prefix}:{{{schema}}}:events:{shard}");
        let corruption = |how, position: i64, command: Cmd| Corruption {
            place,
            how,
            key: key.clone(),
            command,
            breaks: (invariant, format!("shard {shard} position {position}")),
        };
        let removed = |position: i64| {
            let mut command = cmd("XDEL");
            command.arg(&key).arg(format!("{position}-0"));
            command
        };
        let mut added = cmd("XADD");
        added.arg(&key).arg(format!("{}-0", last + 1)).arg("e").arg("nothing");
        all.push(corruption("an event removed", 2, removed(2)));
        all.push(corruption("the last event removed", last, removed(last)));
        all.push(corruption("an event added", last + 1, added));
    }
    all.extend(ranking(bench, history).await);
    all
}

async fn ranking(bench: &Bench, history: &History) -> [Corruption; 3] {
    let prefix = &bench.redis().prefix;
    let mut connection = connect(bench).await;
    let served = format!("{prefix}:{{ranking}}:served");
    let served: String = cmd("GET").arg(served).query_async(&mut connection).await.unwrap();
    let key = format!("{prefix}:{{ranking}}:hours:{served}:total");
    let corruption = |how, product: i64, command: &mut Cmd| Corruption {
        place: "redis.ranking",
        how,
        key: key.clone(),
        command: command.clone(),
        breaks: ("ranking-count", format!("product {product}")),
    };
    let History { product, other, .. } = *history;
    [
        corruption("a score moved", product, cmd("ZINCRBY").arg(&key).arg(-1).arg(product)),
        corruption("a product removed", other, cmd("ZREM").arg(&key).arg(other)),
        corruption("a product added", 999, cmd("ZADD").arg(&key).arg(5).arg(999)),
    ]
}

/// Corrupts, audits, and puts the key back.
pub(crate) async fn expect(bench: &Bench, corruption: &Corruption) {
    let Corruption { place, how, key, command, breaks } = corruption;
    let mut connection = connect(bench).await;
    let kept: Vec<u8> = cmd("DUMP").arg(key).query_async(&mut connection).await.unwrap();
    let () = command.query_async(&mut connection).await.unwrap();
    let report = bench.audit().await;
    bench.compare(&[*place], how, std::slice::from_ref(breaks), &report);
    let mut restore = cmd("RESTORE");
    restore.arg(key).arg(0).arg(kept).arg("REPLACE");
    let () = restore.query_async(&mut connection).await.unwrap();
}

async fn connect(bench: &Bench) -> MultiplexedConnection {
    let client = Client::open(bench.redis().url.as_str()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}
