//! The database fails over under orders: three MySQL servers with Group Replication and one primary, three MariaDB
//! servers with Galera and one writer, behind a proxy that follows.
//!
//! The server that is written to is killed, stands still, or refuses writes. Orders have to succeed again within
//! [`BOUND`] of the proxy's move, without a restart of the shop; no answer may be INTERNAL or deny what was told before;
//! at the end every promise is kept on the server that took over, and an audit of it is clean.
//!
//! `deploy/test --ha` lays out the servers and runs these.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and one tells its figures"
)]

mod cluster;
mod customers;
mod follower;
mod promises;
mod shop;

use cluster::{Cluster, Kind};
use customers::Customers;
use follower::Follower;
use shop::Shop;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long it may take from the proxy's move until everybody's orders succeed again.
const BOUND: Duration = Duration::from_mins(1);
/// How long a server refuses writes before another may be written to.
const REFUSING: Duration = Duration::from_secs(3);
/// How long orders go on before and after everything.
const CALM: Duration = Duration::from_secs(3);

/// What becomes of the server that is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// `kill -9`.
    Kill,
    /// It stands still, and wakes up when another has taken over. Connections to it are cut when the proxy moves.
    Freeze,
    /// The same, and nobody cuts the connections to it.
    FreezeUncut,
    /// It refuses writes, and goes on. Nobody cuts the connections to it.
    ReadOnly,
}

macro_rules! failovers {
    ($($name:ident: $kind:ident, $fault:ident;)+) => {
        $(#[tokio::test(flavor = "multi_thread")]
        #[ignore = "three servers that replicate: deploy/test --ha"]
        async fn $name() {
            survives(Kind::$kind, Fault::$fault).await;
        })+
    };
}

failovers! {
    failover_of_group_replication_when_the_primary_is_killed: GroupReplication, Kill;
    failover_of_group_replication_when_the_primary_stands_still: GroupReplication, Freeze;
    failover_of_group_replication_when_nobody_cuts_the_silent_primary: GroupReplication, FreezeUncut;
    failover_of_group_replication_when_the_primary_is_read_only: GroupReplication, ReadOnly;
    failover_of_galera_when_the_writer_is_killed: Galera, Kill;
    failover_of_galera_when_the_writer_stands_still: Galera, Freeze;
    failover_of_galera_when_nobody_cuts_the_silent_writer: Galera, FreezeUncut;
    failover_of_galera_when_the_writer_is_read_only: Galera, ReadOnly;
}

async fn survives(kind: Kind, fault: Fault) {
    let cluster = Arc::new(Cluster::start(kind).await);
    let cuts = matches!(fault, Fault::Kill | Fault::Freeze);
    let follower = Follower::start(Arc::clone(&cluster), cuts).await;
    let shop = Shop::start(&follower.url()).await;
    let customers = Customers::gather(&shop.clients()).await;
    placed(&customers, &shop, Instant::now()).await;
    sleep(CALM).await;

    let (old, before) = (follower.node(), customers.count());
    let struck = Instant::now();
    strike(&cluster, fault, old).await;
    let moved = follower.until_left(old).await;
    let (first, last) = placed(&customers, &shop, moved.at).await;
    let seconds = |span: Duration| span.as_secs_f64();
    let until_move = moved.at - struck;
    println!(
        "{kind:?}, {fault:?}: the proxy moved after {:.1} s; the first order was placed {:.1} s after the fault and {:.1} s \
         after the move; everybody's {:.1} s after the move",
        seconds(until_move),
        seconds(until_move + first),
        seconds(first),
        seconds(last)
    );
    if matches!(fault, Fault::Freeze | Fault::FreezeUncut) {
        // It wakes up as the one that is written to, and finds that it is not.
        cluster.thaw(old);
        cluster.until_back(old).await;
        placed(&customers, &shop, Instant::now()).await;
    }
    sleep(CALM).await;
    assert_eq!(follower.node(), moved.node, "the proxy stays where it is");
    println!("{before} orders before the fault, {} after it", customers.count() - before);

    let told = customers.dismiss().await;
    promises::kept(&cluster, moved.node, &shop, &told).await;
    shop.stop().await;
    drop(follower);
    let cluster = Arc::into_inner(cluster);
    if let Some(cluster) = cluster {
        cluster.stop().await;
    }
}

async fn strike(cluster: &Cluster, fault: Fault, node: usize) {
    match fault {
        Fault::Kill => cluster.kill(node).await,
        Fault::Freeze | Fault::FreezeUncut => cluster.freeze(node),
        Fault::ReadOnly => {
            cluster.forbid_writes(node).await;
            // So that the shop meets it, and not only the next server.
            sleep(REFUSING).await;
            cluster.promote(node + 1).await;
        }
    }
}

/// Waits until everybody has placed an order since: how long the first took, and the last.
async fn placed(customers: &Customers, shop: &Shop, since: Instant) -> (Duration, Duration) {
    match customers.all_placed_since(since, BOUND).await {
        Ok(times) => times,
        Err(count) => panic!("{count} customers placed an order within {BOUND:?}\n{}", shop.logs()),
    }
}
