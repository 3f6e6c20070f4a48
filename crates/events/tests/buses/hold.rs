//! Relays that are held, and let go.

use crate::load::on_the_bus;
use crate::support::{
    append, append_together, bus, client, event, published, relay, schema, until,
};
use db::{Conn, Db};
use embedded::Redis;
use events::{Backlog, Bell, Hold};

/// Cycles of two relays in which a relay that is not held would have published.
const CYCLES: usize = 6;

async fn backlog(db: &Db) -> Backlog {
    let read = async |conn: &mut Conn| -> db::Result<Backlog> { events::backlog(conn).await };
    db.read(read).await.unwrap()
}

async fn has_published(db: &Db) -> u64 {
    let read = async |conn: &mut Conn| -> db::Result<u64> { events::published(conn).await };
    db.read(read).await.unwrap()
}

/// How often scripts ran, of which every cycle runs one.
async fn scripts(redis: &Redis) -> usize {
    let mut connection = client(redis).get_multiplexed_async_connection().await.unwrap();
    let mut info = redis::cmd("INFO");
    let told: String = info.arg("commandstats").query_async(&mut connection).await.unwrap();
    let calls = |line: &str| {
        let calls = line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next()?;
        calls.parse::<usize>().ok()
    };
    told.lines().filter_map(calls).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_schema_is_held_its_relays_publish_nothing_and_afterwards_all_of_it() {
    let (db, (redis, bus)) = (schema().await, bus(&["nobody"]).await);
    let _relays = [(); 2].map(|()| relay(&db, bus.clone(), &Bell::default()));
    append(&db, vec![event(1, 1)]).await;
    published(&db).await;
    let hold = Hold::take(&db).await.unwrap();
    append(&db, vec![event(1, 2), event(2, 1)]).await;
    append_together(&db, vec![event(3, 1), event(3, 2), event(3, 3)]).await;
    let before = scripts(&redis).await;
    until(async || scripts(&redis).await >= before + CYCLES).await;
    assert_eq!(backlog(&db).await, Backlog { rows: 3, events: 5 });
    assert_eq!(has_published(&db).await, 1);
    assert_eq!(on_the_bus(&*bus).await, [(1, vec![1])].into());
    hold.release().await.unwrap();
    until(async || has_published(&db).await == 4).await;
    assert_eq!(backlog(&db).await, Backlog::default());
    let all = [(1, vec![1, 2]), (2, vec![1]), (3, vec![1, 2, 3])];
    assert_eq!(on_the_bus(&*bus).await, all.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_dropped_holds_nothing_any_more() {
    let (db, (_redis, bus)) = (schema().await, bus(&["nobody"]).await);
    drop(Hold::take(&db).await.unwrap());
    append(&db, vec![event(1, 1)]).await;
    let _relay = relay(&db, bus.clone(), &Bell::default());
    published(&db).await;
    assert_eq!(on_the_bus(&*bus).await, [(1, vec![1])].into());
}
