//! The proxy through which the shop reaches the node that is written to, and the task that lets it follow.

use crate::cluster::{Cluster, Health};
use futures_util::future::join_all;
use std::sync::Arc;
use std::time::Duration;
use testkit::Proxy;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Between two looks at the nodes.
const LOOK: Duration = Duration::from_millis(200);
/// So many times in a row the node that is written to must say that it is not, or say nothing.
const DOUBTS: u32 = 5;
/// How long the proxy may take to follow.
const PATIENCE: Duration = Duration::from_mins(1);

/// A proxy that follows the node that is written to.
///
/// It moves only when that node is no longer fit, and then to the first node that is: so a node that wakes up and takes
/// itself for what it was is not written to again.
pub(crate) struct Follower {
    proxy: Arc<Proxy>,
    moves: watch::Receiver<Move>,
    following: JoinHandle<()>,
}

/// The node that the proxy forwards to, and since when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move {
    pub(crate) node: usize,
    pub(crate) at: Instant,
}

impl Follower {
    /// Connections that exist when the proxy moves stay where they are, unless it `cuts` them.
    pub(crate) async fn start(cluster: Arc<Cluster>, cuts: bool) -> Self {
        let proxy = Arc::new(Proxy::before(&cluster.shop_url(0)).await);
        let (sender, moves) = watch::channel(Move { node: 0, at: Instant::now() });
        let following = tokio::spawn(follow(cluster, Arc::clone(&proxy), sender, cuts));
        Self { proxy, moves, following }
    }

    /// The URL of the shop's server, by way of the proxy.
    pub(crate) fn url(&self) -> String {
        self.proxy.url()
    }

    /// Where it forwards to.
    pub(crate) fn node(&self) -> usize {
        self.moves.borrow().node
    }

    /// Waits until it forwards to another node than this.
    pub(crate) async fn until_left(&self, node: usize) -> Move {
        let mut moves = self.moves.clone();
        let left = moves.wait_for(|to| to.node != node);
        *tokio::time::timeout(PATIENCE, left).await.expect("the proxy follows in time").unwrap()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.following.abort();
    }
}

async fn follow(cluster: Arc<Cluster>, proxy: Arc<Proxy>, sender: watch::Sender<Move>, cuts: bool) {
    let mut doubts = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        let node = sender.borrow().node;
        let health = join_all(cluster.numbers().map(|number| cluster.health(number))).await;
        if health[node].is_some_and(|health| health.is_writable) {
            doubts = 0;
            continue;
        }
        doubts += 1;
        let is_fit =
            |health: Option<Health>| health.is_some_and(|it| it.is_writable && it.is_current);
        let fit = cluster.numbers().find(|number| *number != node && is_fit(health[*number]));
        let Some(fit) = fit.filter(|_| doubts >= DOUBTS) else { continue };
        proxy.retarget(&cluster.shop_url(fit));
        if cuts {
            proxy.cut();
        }
        doubts = 0;
        sender.send_replace(Move { node: fit, at: Instant::now() });
    }
}
