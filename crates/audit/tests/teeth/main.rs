//! The audit has teeth: one row of every table that it reads is corrupted, and it names what broke, with the id.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod activity;
mod bench;
mod coupon;
mod history;
mod journal;
mod order;
mod outbox;
mod product;
mod redis;
mod steps;
mod wallet;

use audit::INVARIANTS;
use bench::{Bench, Corruption};
use history::History;
use std::collections::BTreeSet;

/// Tables that no invariant reads, and why.
const UNREAD: [(&str, &str); 7] = [
    ("orchestrator.heartbeat", "says who is alive now, which nothing depends on for long"),
    ("orchestrator.recovery", "says whether sagas are taken over, which no row depends on"),
    ("orchestrator.saga_operation", "says who asked what of a saga, which no other table repeats"),
    ("*.engine_probe", "is empty but while a start tries the server"),
    (
        "*.clock_mark",
        "says how late it certainly is, which bounds what may be deleted and no row repeats",
    ),
    ("*.replica_clock", "says how the replicas' clocks differ from the database's just now"),
    ("*.__diesel_schema_migrations", "says which tables there are, not what is in them"),
];

/// All corruptions of a history.
async fn corruptions(bench: &Bench, history: &History) -> Vec<Corruption> {
    let parts = [
        wallet::corruptions(history),
        product::corruptions(history),
        coupon::corruptions(history),
        order::corruptions(history),
        journal::corruptions(history),
        steps::corruptions(history),
        outbox::corruptions(bench).await,
        activity::corruptions(history),
    ];
    parts.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_that_is_read_is_corrupted_and_the_broken_invariants_are_named() {
    let (bench, history) = Bench::set_up().await;
    let mut corrupted: BTreeSet<String> = BTreeSet::new();
    for corruption in corruptions(&bench, &history).await {
        bench.expect(&corruption).await;
        corrupted.extend(corruption.tables.iter().map(ToString::to_string));
    }
    for corruption in redis::corruptions(&bench, &history).await {
        redis::expect(&bench, &corruption).await;
        corrupted.insert(corruption.place.to_owned());
    }
    let read: BTreeSet<String> =
        INVARIANTS.iter().flat_map(|invariant| invariant.reads).map(ToString::to_string).collect();
    let untried: Vec<_> = read.difference(&corrupted).collect();
    assert!(untried.is_empty(), "read and never corrupted: {untried:?}");
    let bitten = bench.bitten();
    let toothless: Vec<_> =
        INVARIANTS.iter().map(|it| it.name).filter(|name| !bitten.contains(name)).collect();
    assert!(toothless.is_empty(), "never seen broken: {toothless:?}");

    let unread: BTreeSet<String> = bench.tables().await.difference(&read).cloned().collect();
    let unexplained: Vec<_> = unread.iter().filter(|table| !is_explained(table)).collect();
    assert!(unexplained.is_empty(), "neither read nor explained: {unexplained:?}");
}

fn is_explained(table: &str) -> bool {
    UNREAD.iter().any(|(unread, _)| match unread.strip_prefix('*') {
        Some(ending) => table.ends_with(ending),
        None => table == *unread,
    })
}
