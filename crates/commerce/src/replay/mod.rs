//! Replaying a file of baskets: every line one order through the saga, over real gRPC.
//!
//! Request ids follow from the file's content and the line ([`baskets`]), so a replay that was cut off is finished by
//! running it again, and running it once more changes nothing.

pub mod baskets;
pub mod orders;
mod progress;
mod relay;
mod report;
pub mod settle;
pub mod setup;

pub use relay::{Drained, Held, Relayed};
pub use report::{Latency, Report, Seller};

use crate::clients::Clients;
use crate::output::{grouped, note};
use anyhow::Result;
use baskets::Baskets;
use db::Db;
use progress::Progress;
use setup::Shelf;
use tokio::time::Instant;

/// How many best sellers are told.
const BEST: usize = 5;

/// A file that is ready to be replayed: what its baskets need is there.
pub struct Replay<'a> {
    clients: &'a Clients,
    baskets: &'a Baskets,
    shelf: Shelf,
}

impl<'a> Replay<'a> {
    /// Creates what is missing: products, stock, users, wallets, money.
    ///
    /// # Errors
    /// A shop that does not answer, or refuses.
    pub async fn prepare(clients: &'a Clients, baskets: &'a Baskets) -> Result<Self> {
        note(format_args!(
            "{} baskets of {} products: preparing products, stock, users and wallets",
            grouped(baskets.baskets.len()),
            baskets.names.len()
        ));
        Ok(Self { clients, baskets, shelf: setup::prepare(clients, baskets).await? })
    }

    /// Places every basket as one order, `concurrency` at once, and waits until the best sellers have heard of all.
    /// `outbox` is the order schema's database, if it is at hand: it is watched until nothing is left to publish. Relays
    /// that are `held` are let go when the orders are answered, and measured.
    ///
    /// # Errors
    /// A shop that does not answer, a relay that does not get on. An order that is refused is no error: the report counts
    /// it.
    pub async fn run(
        &self,
        concurrency: usize,
        outbox: Option<&Db>,
        held: Option<Held>,
    ) -> Result<Report> {
        let Self { clients, baskets, shelf } = self;
        let progress = Progress::new(baskets.baskets.len());
        let since = Instant::now();
        let placed =
            orders::place_all(clients, baskets, shelf, concurrency, |it| progress.order(it)).await;
        let took = since.elapsed();
        progress.end();
        let (relayed, behind) = match held {
            Some(held) => {
                note("letting the relays go");
                let (relayed, since) = held.drain(took).await?;
                (Some(relayed), since)
            }
            None => (None, Instant::now()),
        };
        note("waiting until the best sellers have heard of every order");
        let best = settle::best_sellers(clients, &placed, outbox, BEST).await?;
        let mut report = Report::new(&placed, took, best);
        report.behind_seconds = behind.elapsed().as_secs_f64();
        report.relayed = relayed;
        Ok(report)
    }
}
