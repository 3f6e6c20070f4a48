//! Checks every invariant that the design implies, beside live traffic, by reading alone: all that it writes is a
//! temporary table of its own.
//!
//! # How it can be right while the shop is open
//!
//! - What one schema says of itself ([`INVARIANTS`] that read one schema) is read in one snapshot. A transaction changes
//!   all rows of a matter or none, so what does not fit there is wrong, whatever is under way.
//! - What several schemas say of a saga is compared for sagas that had ended *before* the participants' snapshots were
//!   opened: nothing of them changes any more. Sagas under way are counted and left to the next audit. Sagas that only
//!   a participant knows are looked up in a journal that is newer than all other snapshots.
//! - Coupons against orders, streams against outboxes: what does not fit is read again, and is an offence when it does
//!   not fit in any of a few readings.
//! - The ranking and the activity log tell up to which events they have come, and are compared with just those.
//!
//! Tables are read once each, row by row and sorted by the server, so that memory does not grow with them, but for a few
//! numbers a client's request and a coupon's use.

mod activity;
mod batches;
mod chain;
mod coupon_orders;
mod dossier;
mod events;
mod files;
mod findings;
mod ids;
mod invariant;
mod ranking_count;
mod relay;
mod report;
mod requests;
mod sagas;
mod schemas;
mod snapshot;
mod steps;
mod stream;
mod uses;

pub use invariant::{INVARIANTS, Invariant};
pub use report::{Check, Explained, Report};

use ::events::{Bus, RedisStreams};
use anyhow::{Context, Result};
use findings::Findings;
use invariant::{
    COUPON_RELAY, COUPON_STREAM, ORDER_RELAY, ORDER_STREAM, PRODUCT_RELAY, PRODUCT_STREAM,
    WALLET_RELAY, WALLET_STREAM,
};
use sagas::Snapshots;
use snapshot::Snapshot;
use std::sync::Arc;
use std::time::Duration;

/// What is audited. Users with SELECT are enough, and CREATE TEMPORARY TABLES where there is an outbox.
#[derive(Clone)]
pub struct Targets {
    /// `mysql://user:password@host:port/database` of the wallet's schema.
    pub wallet: String,
    /// Of the product's schema.
    pub product: String,
    /// Of the coupon's schema.
    pub coupon: String,
    /// Of the order's schema.
    pub order: String,
    /// Of the journal's schema.
    pub orchestrator: String,
    /// Of the activity log's schema; `None` where there is no log.
    pub activity: Option<String>,
    /// What carries the events; without it outboxes are compared with nothing.
    pub streams: Option<Streams>,
    /// The ranking's counts; without them they are not checked.
    pub ranking: Option<Redis>,
    /// No event may wait longer for its number; `None` where the relays may rest.
    pub relayed_within: Option<Duration>,
}

/// Each schema's events, on Redis or Kafka. They are only read: nobody need follow these buses.
#[derive(Clone)]
pub struct Streams {
    /// The wallet's.
    pub wallet: Arc<dyn Bus>,
    /// The product's.
    pub product: Arc<dyn Bus>,
    /// The coupon's.
    pub coupon: Arc<dyn Bus>,
    /// The order's.
    pub order: Arc<dyn Bus>,
}

/// The Redis of the ranking, and of the events where they are not on Kafka.
#[derive(Clone)]
pub struct Redis {
    /// `redis://host:port/database`, or a socket's.
    pub url: String,
    /// What all keys begin with.
    pub prefix: String,
}

impl Redis {
    /// The events on this Redis.
    ///
    /// # Errors
    /// A URL that is none.
    pub fn streams(&self) -> Result<Streams> {
        let bus = |schema| -> Result<Arc<dyn Bus>> {
            Ok(Arc::new(RedisStreams::new(self.client()?, &self.prefix, schema, &[])?))
        };
        Ok(Streams {
            wallet: bus("wallet")?,
            product: bus("product")?,
            coupon: bus("coupon")?,
            order: bus("order")?,
        })
    }

    fn client(&self) -> Result<::redis::Client> {
        ::redis::Client::open(self.url.as_str()).context("the URL of Redis")
    }
}

/// Checks everything.
///
/// # Errors
/// What keeps it from reading: a broken invariant is no error, but an offence in the report.
pub async fn run(targets: &Targets) -> Result<Report> {
    let mut findings = Findings::default();
    // The journal first: what had ended then stands in all the others.
    let mut of = Snapshots {
        journal: open("orchestrator", &targets.orchestrator).await?,
        product: open_participant("product", &targets.product).await?,
        coupon: open_participant("coupon", &targets.coupon).await?,
        wallet: open_participant("wallet", &targets.wallet).await?,
        order: open_participant("order", &targets.order).await?,
    };
    let walked = sagas::check(&mut of, &mut findings).await?;
    walked.uses.check(&mut of.coupon, &mut findings).await?;
    schemas::wallet::check(&mut of.wallet, &mut findings).await?;
    schemas::product::check(&mut of.product, &mut findings).await?;
    schemas::coupon::check(&mut of.coupon, &mut findings).await?;
    schemas::order::check(&mut of.order, &mut findings).await?;
    schemas::journal::check(&mut of.journal, &mut findings).await?;
    for (invariant, snapshot) in [
        (&WALLET_RELAY, &mut of.wallet),
        (&PRODUCT_RELAY, &mut of.product),
        (&COUPON_RELAY, &mut of.coupon),
        (&ORDER_RELAY, &mut of.order),
    ] {
        relay::check(invariant, targets.relayed_within, snapshot, &mut findings).await?;
    }
    // Everything below reads anew.
    of.journal.renew().await?;
    sagas::check_known(&mut of.journal, &walked.unknown, &mut findings).await?;
    schemas::journal::check_watermarks(&mut of.journal, &walked.watermarks, &mut findings).await?;
    coupon_orders::check(&mut of, &mut findings).await?;
    if let Some(url) = &targets.activity {
        activity::check(url, &mut of.wallet, &mut of.order, &mut findings).await?;
    }
    if let Some(streams) = &targets.streams {
        check_streams(streams, &mut of, &mut findings).await?;
    }
    if let Some(redis) = &targets.ranking {
        let store = ranking::Store::new(redis.client()?, &redis.prefix)?;
        ranking_count::check(&store, &mut of.order, &mut findings).await?;
    }
    Ok(Report { checks: findings.into_checks(), explained: walked.explained })
}

async fn open_participant(schema: &str, url: &str) -> Result<Snapshot> {
    let snapshot = Snapshot::open_with_events(url).await;
    snapshot.with_context(|| format!("cannot read the schema {schema}"))
}

async fn open(schema: &str, url: &str) -> Result<Snapshot> {
    Snapshot::open(url).await.with_context(|| format!("cannot read the schema {schema}"))
}

async fn check_streams(
    streams: &Streams,
    of: &mut Snapshots,
    findings: &mut Findings,
) -> Result<()> {
    for (invariant, bus, snapshot) in [
        (&WALLET_STREAM, &streams.wallet, &mut of.wallet),
        (&PRODUCT_STREAM, &streams.product, &mut of.product),
        (&COUPON_STREAM, &streams.coupon, &mut of.coupon),
        (&ORDER_STREAM, &streams.order, &mut of.order),
    ] {
        stream::check(invariant, snapshot, bus.as_ref(), findings).await?;
    }
    Ok(())
}
