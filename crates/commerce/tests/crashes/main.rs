//! `kill -9` of each role, of everything, of the database and of Redis, under orders of which many must fail.
//!
//! Every role is a process of its own, and so are the servers. A kill counts only if at least [`IN_FLIGHT`] sagas were
//! under way and not decided. After each or every second, everything in flight has to end by itself, every promise to a client has to be
//! kept ([`promises`]), and an audit has to be clean. [`phase`] tells what a kill hit.
//!
//! `CRASH_SEED` repeats a run's choices; each run prints its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and one tells its figures"
)]

mod apart;
mod crowd;
mod edges;
mod goods;
mod journal;
mod phase;
mod promises;
mod replicas;
mod upgrade;

use apart::{Apart, Victim};
use commerce::roles::Role;
use crowd::Crowd;
use goods::Goods;
use phase::{Hits, Phase};
use promises::Promises;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;

/// Sagas that must be under way for a kill to count.
const IN_FLIGHT: usize = 50;
/// Kills of the long run that count, at least.
const KILLS: usize = 20;
/// Groups of one or two kills after which the long run gives up.
const MOST_GROUPS: usize = 60;

/// What became of the kills of one victim.
#[derive(Default)]
struct Row {
    kills: usize,
    in_flight: Vec<usize>,
    hits: Hits,
}

/// A shop that is killed again and again.
struct Run {
    shop: Apart,
    goods: Goods,
    random: StdRng,
    promises: Promises,
    rows: BTreeMap<Victim, Row>,
}

impl Run {
    async fn start() -> Self {
        let seed = match std::env::var("CRASH_SEED") {
            Ok(seed) => seed.parse().expect("CRASH_SEED is a number"),
            Err(_) => rand::rng().random_range(0..1_000_000),
        };
        println!("CRASH_SEED={seed}");
        let shop = Apart::start().await;
        let goods = Goods::make(&shop.clients()).await;
        let random = StdRng::seed_from_u64(seed);
        Self { shop, goods, random, promises: Promises::default(), rows: BTreeMap::new() }
    }

    /// Kills the victims one after the other under load, and sees that no promise was broken.
    async fn kill(&mut self, victims: &[Victim]) {
        self.goods.new_campaign(&self.shop.clients()).await;
        let crowd = Crowd::gather(&self.shop.clients(), &self.goods, self.random.random());
        for victim in victims {
            crowd.answered(self.random.random_range(50..500)).await;
            self.strike(&crowd, *victim).await;
        }
        crowd.answered(100).await;
        let asked = crowd.dismiss().await;
        let told = self.promises.kept(&self.shop, asked).await;
        println!("  {told}");
    }

    /// Kills one, under the crowd's eyes.
    async fn strike(&mut self, crowd: &Crowd, victim: Victim) {
        self.shop.until_in_flight(IN_FLIGHT + IN_FLIGHT / 2).await;
        let calls = crowd.calls();
        self.shop.kill(victim).await;
        let left = self.shop.look_and_revive(victim).await;
        let hits = phase::hits(victim, &left, &calls);
        let in_flight = hits.undecided();
        println!("{victim:?}: {in_flight} in flight, {hits:?}");
        if in_flight >= IN_FLIGHT {
            let row = self.rows.entry(victim).or_default();
            row.kills += 1;
            row.in_flight.push(in_flight);
            row.hits += &hits;
        }
    }

    fn kills(&self) -> usize {
        self.rows.values().map(|row| row.kills).sum()
    }

    /// The phases that no kill hit.
    fn missing(&self) -> Vec<Phase> {
        let is_hit = |phase: &Phase| self.rows.values().any(|row| row.hits.count(*phase) > 0);
        Phase::ALL.into_iter().filter(|phase| !is_hit(phase)).collect()
    }

    fn print(&self) {
        println!("\nvictim, kills, least in flight, sagas hit by phase");
        for (victim, Row { kills, in_flight, hits }) in &self.rows {
            let least = in_flight.iter().min().unwrap_or(&0);
            println!("{victim:?}, {kills}, {least}, {hits:?}");
        }
        println!("{} kills", self.kills());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_the_database_and_everything_die_and_no_promise_is_broken() {
    let mut run = Run::start().await;
    let role =
        *[Role::Product, Role::Coupon, Role::Wallet, Role::Order].choose(&mut run.random).unwrap();
    for victim in [Victim::Role(role), Victim::Database, Victim::Everything] {
        run.kill(&[victim]).await;
    }
    assert!(run.kills() > 0, "some kill had enough sagas in flight");
    run.shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes three minutes"]
async fn whoever_dies_in_whichever_phase_no_promise_is_broken() {
    let mut run = Run::start().await;
    let mut victims = [Victim::ALL; 4].concat();
    victims.shuffle(&mut run.random);
    // Every other time the second dies while what the first left is being finished.
    let mut groups = 0;
    while !victims.is_empty() || !run.missing().is_empty() || run.kills() < KILLS {
        groups += 1;
        assert!(groups <= MOST_GROUPS, "after {} kills: {:?}", run.kills(), run.missing());
        while victims.len() < 2 {
            victims.push(*Victim::ALL.choose(&mut run.random).unwrap());
        }
        let group = victims.split_off(victims.len() - 1 - groups % 2);
        run.kill(&group).await;
    }
    run.print();
    run.shop.stop().await;
}
