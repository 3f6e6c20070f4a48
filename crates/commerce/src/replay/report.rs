//! What came of a replay.

use super::orders::{Placed, Told};
use super::relay::Relayed;
use crate::bench::{Measured, rate};
use crate::output::{Table, grouped};
use crate::process::Counts;
use api::ranking::v1::TopProduct;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Failed orders that are told one by one.
const SHOWN_FAILURES: usize = 10;

/// What came of a replay.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Orders that this run placed.
    pub placed: usize,
    /// Orders that an earlier run had placed.
    pub replayed: usize,
    /// Baskets that no order came of.
    pub failed: usize,
    /// The reasons of those, and how many each.
    pub failures: BTreeMap<String, usize>,
    /// The first of those: line, reason, message.
    pub first_failures: Vec<(u64, String, String)>,
    /// From the first call to the last answer.
    pub seconds: f64,
    /// Answers a second.
    pub orders_per_second: f64,
    /// From an order's first call to its answer, repeats included.
    pub latency: Latency,
    /// From the last answer, or from letting relays go that were held, until the best sellers had heard of every order.
    pub behind_seconds: f64,
    /// How fast the relays worked off what the orders wrote, where they were held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relayed: Option<Relayed>,
    /// The best sellers afterwards.
    pub best_sellers: Vec<Seller>,
    /// How often each step was called, as the participants count, where this run had a shop of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<Counts>,
    /// What was measured beside, if anything was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Half of the orders took no longer.
    pub p50_ms: f64,
    /// 95 of 100.
    pub p95_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// All.
    pub max_ms: f64,
}

/// A best seller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seller {
    /// Its place, from 1.
    pub rank: i32,
    /// Its name, byte for byte.
    pub name: String,
    /// Orders that contain it.
    pub orders: i64,
}

impl Report {
    pub(super) fn new(placed: &[Placed], took: Duration, best: Vec<TopProduct>) -> Self {
        let mut report = Self {
            placed: 0,
            replayed: 0,
            failed: 0,
            failures: BTreeMap::new(),
            first_failures: Vec::new(),
            seconds: took.as_secs_f64(),
            orders_per_second: rate(placed.len(), took.as_secs_f64()),
            latency: Latency::of(placed.iter().map(|placed| placed.took).collect()),
            behind_seconds: 0.0,
            relayed: None,
            best_sellers: best.into_iter().map(Seller::from).collect(),
            calls: None,
            measured: None,
        };
        for Placed { line, told, .. } in placed {
            match told {
                Told::Order { replayed: false, .. } => report.placed += 1,
                Told::Order { replayed: true, .. } => report.replayed += 1,
                Told::Failed { reason, message } => {
                    report.failed += 1;
                    *report.failures.entry(reason.clone()).or_default() += 1;
                    report.first_failures.push((*line, reason.clone(), message.clone()));
                }
            }
        }
        report.first_failures.sort_by_key(|(line, ..)| *line);
        report.first_failures.truncate(SHOWN_FAILURES);
        report
    }
}

impl Latency {
    fn of(mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        // The smallest value that is not exceeded by more than the rest: nearest rank.
        let at = |percent: usize| {
            let rank = (took.len() * percent).div_ceil(100).max(1);
            took.get(rank - 1).map_or(0.0, |took| took.as_secs_f64() * 1_000.0)
        };
        Self { p50_ms: at(50), p95_ms: at(95), p99_ms: at(99), max_ms: at(100) }
    }
}

impl From<TopProduct> for Seller {
    fn from(product: TopProduct) -> Self {
        Self { rank: product.rank, name: product.name, orders: product.order_count }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, orders_per_second, latency, .. } = self;
        writeln!(f, "orders placed       {}", grouped(self.placed))?;
        writeln!(f, "placed earlier      {}", grouped(self.replayed))?;
        writeln!(f, "failed              {}", grouped(self.failed))?;
        for (reason, count) in &self.failures {
            writeln!(f, "  {reason}: {}", grouped(*count))?;
        }
        for (line, reason, message) in &self.first_failures {
            writeln!(f, "  line {line}: {reason}: {message}")?;
        }
        writeln!(f, "time                {seconds:.1} s")?;
        writeln!(f, "orders a second     {orders_per_second:.0}")?;
        let Latency { p50_ms, p95_ms, p99_ms, max_ms } = latency;
        writeln!(
            f,
            "latency             p50 {p50_ms:.0} ms, p95 {p95_ms:.0} ms, p99 {p99_ms:.0} ms, max {max_ms:.0} ms"
        )?;
        writeln!(f, "best sellers        {:.1} s behind at the end", self.behind_seconds)?;
        if let Some(relayed) = &self.relayed {
            writeln!(f, "{relayed}")?;
        }
        if let Some(measured) = &self.measured {
            writeln!(f, "{measured}")?;
        }
        for (index, (step, calls)) in self.calls.iter().flatten().enumerate() {
            let heading = if index == 0 { "calls of steps" } else { "" };
            writeln!(f, "{heading:<20}{step} {}", grouped(*calls))?;
        }
        writeln!(f)?;
        let mut table = Table::new(["rank", "best seller", "orders"]);
        for Seller { rank, name, orders } in &self.best_sellers {
            table.row([rank.to_string(), name.clone(), orders.to_string()]);
        }
        write!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let latency = Latency::of((1..=200).rev().map(Duration::from_millis).collect());
        let Latency { p50_ms, p95_ms, p99_ms, max_ms } = latency;
        let rounded = [p50_ms, p95_ms, p99_ms, max_ms].map(f64::round);
        assert_eq!(format!("{rounded:?}"), "[100.0, 190.0, 198.0, 200.0]");
        assert!(Latency::of(Vec::new()).max_ms == 0.0);
    }

    #[test]
    fn placed_replayed_and_failed_are_told_apart() {
        let order = |replayed| Told::Order {
            placed_at: chrono::DateTime::UNIX_EPOCH,
            products: vec![1],
            replayed,
        };
        let failed = |line| {
            let told = Told::Failed { reason: "R".to_owned(), message: "m".to_owned() };
            Placed { line, took: Duration::from_millis(1), told }
        };
        let done = |line, told| Placed { line, took: Duration::from_millis(1), told };
        let placed = [done(1, order(false)), failed(9), done(2, order(true)), failed(3)];
        let report = Report::new(&placed, Duration::from_secs(2), Vec::new());
        assert_eq!((report.placed, report.replayed, report.failed), (1, 1, 2));
        assert_eq!(report.first_failures[0].0, 3);
        assert!((report.orders_per_second - 2.0).abs() < 1e-9);
    }
}
