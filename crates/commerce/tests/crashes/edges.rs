//! Faults that no socket and no exit code tells of: links that swallow what passes, wall clocks that jump, a database that
//! takes no writes for a while. Under orders, many of them bound to fail; afterwards everything ends by itself, every promise is
//! kept, and an audit is clean.

use crate::apart::Apart;
use crate::crowd::Crowd;
use crate::goods::Goods;
use crate::journal;
use crate::promises::Promises;
use commerce::config::keys::Key;
use commerce::roles::Role;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::time::Duration;
use testkit::{Clock, Proxy};
use tokio::time::{Instant, sleep};

/// How long a fault lasts.
const LASTS: Duration = Duration::from_secs(3);
/// A user who may write where all may, and may not where the server is read-only.
const USER: &str = "shop";
const HOUR_MS: i64 = 3_600_000;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The connections of one link, by its name, swallow everything; new ones work.
    Silent(&'static str),
    /// So do new ones, until it is over.
    SilentForAll(&'static str),
    /// A role's clock is this far ahead, and right again afterwards.
    Clock(Role, i64),
    /// The database refuses writes.
    ReadOnly,
}

/// Every link that something depends on.
const LINKS: [&str; 16] = [
    "orchestrator→mysql",
    "product→mysql",
    "coupon→mysql",
    "wallet→mysql",
    "order→mysql",
    "activity→mysql",
    "orchestrator→product.participant",
    "orchestrator→coupon.participant",
    "orchestrator→wallet.participant",
    "orchestrator→order.participant",
    "product→redis",
    "coupon→redis",
    "wallet→redis",
    "order→redis",
    "ranking→redis",
    "activity→redis",
];

const CLOCKS: [i64; 3] = [HOUR_MS, -HOUR_MS, 240 * HOUR_MS];

/// The ways between the parts of a shop, each through a proxy, and its roles' clocks.
pub(crate) struct Edges {
    links: BTreeMap<String, Proxy>,
    clocks: BTreeMap<Role, Clock>,
}

impl Edges {
    pub(crate) fn new() -> Self {
        let clocks = Role::ALL.into_iter().map(|role| (role, Clock::new())).collect();
        Self { links: BTreeMap::new(), clocks }
    }

    /// Leads a role's ways to others through proxies, and gives it its clock.
    pub(crate) async fn route(&mut self, role: Role, variables: &mut Vec<(String, String)>) {
        for (name, value) in variables.iter_mut() {
            let from = role.name();
            if value.starts_with("mysql://") {
                let proxy = self.link(format!("{from}→mysql"), value).await;
                *value = proxy.url_of(value).replace("root@", &format!("{USER}@"));
            } else if value.starts_with("redis") {
                *value = self.link(format!("{from}→redis"), value).await.url();
            } else if let Some(peer) = value.strip_prefix("http://") {
                let to = name.trim_start_matches("COMMERCE_PEERS_").to_lowercase();
                let link = self.link(format!("{from}→{}", to.replace('_', ".")), peer).await;
                *value = format!("http://{}", link.address());
            }
        }
        variables.extend(self.clocks[&role].variables());
        for (key, value) in [("housekeeping.interval", "1s"), ("database.migrate", "true")] {
            variables.push((Key::find(key).unwrap().variable(), value.to_owned()));
        }
    }

    async fn link(&mut self, name: String, to: &str) -> &Proxy {
        if !self.links.contains_key(&name) {
            self.links.insert(name.clone(), Proxy::before(to).await);
        }
        &self.links[&name]
    }

    /// A user whom a read-only server refuses.
    pub(crate) async fn prepare(server: &str) {
        journal::execute(server, &format!("CREATE USER {USER}@'localhost'")).await;
        let rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, \
            CREATE TEMPORARY TABLES, LOCK TABLES";
        journal::execute(server, &format!("GRANT {rights} ON *.* TO {USER}@'localhost'")).await;
    }

    async fn begin(&self, fault: Fault, server: &str) {
        match fault {
            Fault::Silent(link) => self.links[link].swallow_existing(),
            Fault::SilentForAll(link) => self.links[link].swallow_all(),
            Fault::Clock(role, ahead) => self.clocks[&role].set_ms(ahead),
            Fault::ReadOnly => journal::execute(server, "SET GLOBAL read_only = 1").await,
        }
    }

    async fn end(&self, fault: Fault, server: &str) {
        match fault {
            Fault::Silent(link) | Fault::SilentForAll(link) => self.links[link].heal(),
            Fault::Clock(role, _) => self.clocks[&role].set_ms(0),
            Fault::ReadOnly => journal::execute(server, "SET GLOBAL read_only = 0").await,
        }
    }
}

/// Lets the faults come one after the other, under load, and sees that no promise is broken.
async fn survives(faults: &[Fault], seed: u64) {
    println!("CRASH_SEED={seed} {faults:?}");
    let mut random = StdRng::seed_from_u64(seed);
    let shop = Apart::with_edges().await;
    let mut goods = Goods::make(&shop.clients()).await;
    let mut promises = Promises::default();
    for faults in faults.chunks(4) {
        goods.new_campaign(&shop.clients()).await;
        let crowd = Crowd::gather(&shop.clients(), &goods, random.random());
        for fault in faults {
            crowd.answered(200).await;
            shop.edges().begin(*fault, &shop.server_url()).await;
            sleep(LASTS).await;
            shop.edges().end(*fault, &shop.server_url()).await;
            let since = Instant::now();
            crowd.answered(1).await;
            println!("{fault:?}: an answer {} ms after its end", since.elapsed().as_millis());
        }
        crowd.answered(200).await;
        let asked = crowd.dismiss().await;
        let told = promises.kept(&shop, asked).await;
        println!("  {told}");
    }
    shop.stop().await;
}

fn seed() -> u64 {
    match std::env::var("CRASH_SEED") {
        Ok(seed) => seed.parse().expect("CRASH_SEED is a number"),
        Err(_) => rand::rng().random_range(0..1_000_000),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_links_wrong_clocks_and_a_read_only_database_break_no_promise() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut link = |from: usize, to: usize| *LINKS[from..to].choose(&mut random).unwrap();
    let faults = [
        Fault::Silent(link(0, 5)),
        Fault::SilentForAll(link(6, 10)),
        Fault::Clock(Role::Orchestrator, CLOCKS[2]),
        Fault::ReadOnly,
    ];
    survives(&faults, seed).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "tries every link and every clock in turn"]
async fn every_silent_link_and_every_wrong_clock_breaks_no_promise() {
    let mut faults = vec![Fault::ReadOnly];
    faults.extend(LINKS.map(Fault::Silent));
    faults.extend(LINKS.map(Fault::SilentForAll));
    for role in Role::ALL {
        faults.extend(CLOCKS.map(|ahead| Fault::Clock(role, ahead)));
    }
    faults.push(Fault::ReadOnly);
    survives(&faults, seed()).await;
}
