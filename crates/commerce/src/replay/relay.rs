//! How fast the relays work off what the orders wrote, beside how fast the orders wrote it.
//!
//! The relays are held while the orders are placed, so that the outboxes fill with what a bus that is away would leave
//! there; then they are let go, all at once, and work with nothing to wait for. The consumers follow at the same time.

use crate::bench::rate;
use crate::config::Config;
use crate::output::grouped;
use crate::process;
use anyhow::{Context, Result, bail};
use db::{Conn, Db};
use events::{Backlog, Hold};
use futures_util::future::try_join_all;
use migrations::Schema;
use serde::Serialize;
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The schemas that have outboxes.
const SOURCES: [Schema; 4] = [Schema::Wallet, Schema::Product, Schema::Coupon, Schema::Order];
/// How long an outbox may stand still with something in it.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// The outboxes of a shop, whose relays are held.
pub struct Held(Vec<Outbox>);

struct Outbox {
    schema: Schema,
    db: Db,
    hold: Hold,
    /// Rows that were published before.
    before: u64,
}

/// How fast the relays worked off what the orders had left in the outboxes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Relayed {
    /// Rows of the outboxes: messages on the bus.
    pub rows: u64,
    /// Events that those rows told.
    pub events: u64,
    /// From letting the relays go until the schemas knew all of it published.
    pub seconds: f64,
    /// Rows a second of that.
    pub rows_per_second: f64,
    /// Events a second of that.
    pub events_per_second: f64,
    /// Events a second that the orders made, from the first call to the last answer.
    pub made_per_second: f64,
    /// How many times as fast they were relayed as they were made.
    pub times_as_fast: f64,
    /// Each outbox, which has a relay of its own.
    pub outboxes: Vec<Drained>,
}

/// What a relay worked off.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drained {
    /// The schema.
    pub schema: &'static str,
    /// Its rows.
    pub rows: u64,
    /// The events that those told.
    pub events: u64,
    /// Until all of it was known to be published.
    pub seconds: f64,
}

impl Held {
    /// Waits until the outboxes are empty, and holds their relays.
    ///
    /// # Errors
    /// An outbox that stands still with something in it for two minutes; those of the databases.
    pub async fn take(config: &Config) -> Result<Self> {
        Ok(Self(try_join_all(SOURCES.map(|schema| Outbox::hold(config, schema))).await?))
    }

    /// Lets the relays go, and waits until they have worked off what `took` the orders so long to write. Tells when they
    /// were let go, too.
    ///
    /// # Errors
    /// As [`Held::take`]; relays that were not held to the end.
    pub async fn drain(self, took: Duration) -> Result<(Relayed, Instant)> {
        let mut full = Vec::new();
        for outbox in self.0 {
            let backlog = outbox.backlog().await?;
            full.push((outbox, backlog));
        }
        let since = Instant::now();
        let drained = full.into_iter().map(|(outbox, backlog)| outbox.drain(backlog, since));
        Ok((Relayed::new(try_join_all(drained).await?, took), since))
    }
}

impl Outbox {
    async fn hold(config: &Config, schema: Schema) -> Result<Self> {
        let db = process::open(config, schema).await?;
        let pending = async || {
            let read = async |conn: &mut Conn| -> db::Result<i64> { events::pending(conn).await };
            Ok(u64::try_from(db.read(read).await?).unwrap_or_default())
        };
        emptied(schema, pending).await?;
        let hold = Hold::take(&db).await;
        let hold = hold.with_context(|| format!("holding the relay of {}", schema.name()))?;
        let before = published(&db).await?;
        Ok(Self { schema, db, hold, before })
    }

    async fn backlog(&self) -> Result<Backlog> {
        let name = self.schema.name();
        if published(&self.db).await? != self.before {
            bail!("the relay of {name} was not held while the orders were placed");
        }
        let read = async |conn: &mut Conn| -> db::Result<Backlog> { events::backlog(conn).await };
        self.db.read(read).await.with_context(|| format!("reading the outbox of {name}"))
    }

    async fn drain(self, backlog: Backlog, since: Instant) -> Result<Drained> {
        let Self { schema, db, hold, before } = self;
        let Backlog { rows, events } = backlog;
        hold.release()
            .await
            .with_context(|| format!("letting the relay of {schema} go", schema = schema.name()))?;
        emptied(schema, async || Ok((before + rows).saturating_sub(published(&db).await?))).await?;
        Ok(Drained { schema: schema.name(), rows, events, seconds: since.elapsed().as_secs_f64() })
    }
}

/// Waits until nothing is left.
async fn emptied(schema: Schema, left: impl AsyncFn() -> Result<u64>) -> Result<()> {
    let (mut before, mut since) = (u64::MAX, Instant::now());
    loop {
        let left = left().await?;
        if left == 0 {
            return Ok(());
        }
        if left != before {
            (before, since) = (left, Instant::now());
        } else if since.elapsed() > PATIENCE {
            let name = schema.name();
            bail!("the outbox of {name} stands still with {left} rows that are not published");
        }
        sleep(LOOK).await;
    }
}

async fn published(db: &Db) -> Result<u64> {
    let read = async |conn: &mut Conn| -> db::Result<u64> { events::published(conn).await };
    db.read(read).await.context("asking an outbox")
}

impl Relayed {
    fn new(outboxes: Vec<Drained>, took: Duration) -> Self {
        let rows = outboxes.iter().map(|it| it.rows).sum();
        let events = outboxes.iter().map(|it| it.events).sum();
        let seconds = outboxes.iter().map(|it| it.seconds).fold(0.0, f64::max);
        let a_second =
            |count: u64, seconds| rate(usize::try_from(count).unwrap_or(usize::MAX), seconds);
        let made_per_second = a_second(events, took.as_secs_f64());
        let events_per_second = a_second(events, seconds);
        Self {
            rows,
            events,
            seconds,
            rows_per_second: a_second(rows, seconds),
            events_per_second,
            made_per_second,
            times_as_fast: events_per_second / made_per_second.max(f64::MIN_POSITIVE),
            outboxes,
        }
    }
}

impl fmt::Display for Relayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, events, seconds, .. } = self;
        writeln!(
            f,
            "events made         {} in {} rows, {:.0} events a second",
            grouped(*events),
            grouped(*rows),
            self.made_per_second
        )?;
        writeln!(
            f,
            "events relayed      in {seconds:.1} s, {:.0} events and {:.0} rows a second",
            self.events_per_second, self.rows_per_second
        )?;
        for Drained { schema, rows, events, seconds } in &self.outboxes {
            writeln!(
                f,
                "  {schema}: {} events in {} rows, {seconds:.1} s",
                grouped(*events),
                grouped(*rows)
            )?;
        }
        write!(f, "relayed/made        {:.2}", self.times_as_fast)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_outbox_tells_how_long_all_of_them_took() {
        let drained = |schema, rows, events, seconds| Drained { schema, rows, events, seconds };
        let outboxes = vec![drained("wallet", 10, 100, 0.5), drained("order", 30, 100, 2.0)];
        let relayed = Relayed::new(outboxes, Duration::from_secs(8));
        assert_eq!((relayed.rows, relayed.events), (40, 200));
        let Relayed { rows_per_second, events_per_second, made_per_second, times_as_fast, .. } =
            relayed;
        let rates = [rows_per_second, events_per_second, made_per_second, times_as_fast];
        assert_eq!(format!("{rates:?}"), "[20.0, 100.0, 25.0, 4.0]");
    }
}
