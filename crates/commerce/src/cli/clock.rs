//! What the schemas have on record of time, and the operator's word on it: clocks and the watermark below which sagas are
//! forgotten.

use super::args::{ClockCommand, ReasonArgs, WatermarkCommand};
use super::{Context, Verdict};
use crate::config::{Config, Problem};
use crate::output::{Output, Table, line};
use crate::private::PrivateServers;
use crate::process::open;
use crate::shop::Running;
use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use db::{ClockRecord, Db};
use migrations::Schema;
use participant::SagaId;
use saga::journal;
use serde_json::json;
use std::time::Duration;

/// The schemas of the saga's participants.
const PARTICIPANTS: [Schema; 4] = [Schema::Product, Schema::Coupon, Schema::Wallet, Schema::Order];
/// An orchestrator that runs shows it within this time, and one that has ended reaches no participant any more after it.
const SILENCE: Duration = Duration::from_secs(7);

/// Shows what is on record of the clocks, or believes the database's.
pub(super) async fn clock(context: Context, command: Option<ClockCommand>) -> Result<Verdict> {
    let Context { mut config, output, .. } = context;
    let servers = servers(&mut config).await?;
    let done = match command {
        None => show_clocks(&config, output).await,
        Some(ClockCommand::Accept(why)) => accept(&config, output, why).await,
    };
    end(servers, done).await
}

/// Shows the watermarks, or lowers them.
pub(super) async fn watermark(
    context: Context,
    command: Option<WatermarkCommand>,
) -> Result<Verdict> {
    let Context { mut config, output, .. } = context;
    let servers = servers(&mut config).await?;
    let done = match command {
        None => show_watermarks(&config, output).await,
        Some(WatermarkCommand::Lower(why)) => lower(&config, output, why).await,
    };
    end(servers, done).await
}

/// Private servers, where no database is configured.
async fn servers(config: &mut Config) -> Result<Option<PrivateServers>> {
    if config.database.is_configured() {
        return Ok(None);
    }
    if Running::find(&config.data_dir)?.is_some() {
        bail!(
            "a shop runs on this data folder: stop it first, or name its server with database.url"
        );
    }
    Ok(Some(PrivateServers::start(config).await?))
}

async fn end(servers: Option<PrivateServers>, done: Result<()>) -> Result<Verdict> {
    if let Some(servers) = servers {
        servers.stop().await?;
    }
    done.map(|()| Verdict::Good)
}

/// The schemas that this configuration knows.
fn schemas(config: &Config) -> impl Iterator<Item = Schema> {
    Schema::ALL.into_iter().filter(|schema| config.database.schema_url(*schema).is_some())
}

async fn show_clocks(config: &Config, output: Output) -> Result<()> {
    let mut table = Table::new(["schema", "certainly", "run away to", "watched", "believed by"]);
    for schema in schemas(config) {
        let clock = open(config, schema).await?.clock();
        let record = clock.record().await.with_context(|| at(schema))?;
        let name = schema.name();
        let Some(ClockRecord { at, ahead, actor, reason, accepted_at }) = record else {
            match output {
                Output::Json => line(json!({ "schema": name, "at": null }))?,
                Output::Human => table.row([name, "-", "-", "-", "-"].map(str::to_owned)),
            }
            continue;
        };
        let (ahead_at, watched) = ahead.unzip();
        match output {
            Output::Json => line(json!({
                "schema": name,
                "at": time(at),
                "ahead_at": ahead_at.map(time),
                "watched_seconds": watched.map(|watched| watched.as_secs()),
                "accepted_at": accepted_at.map(time),
                "actor": actor,
                "reason": reason,
            }))?,
            Output::Human => table.row([
                name.to_owned(),
                time(at),
                ahead_at.map_or_else(|| "-".to_owned(), time),
                watched.map_or_else(|| "-".to_owned(), |it| format!("{}s", it.as_secs())),
                accepted_at.map_or_else(|| "-".to_owned(), |at| format!("{actor}, {}", time(at))),
            ]),
        }
    }
    human(output, table)
}

async fn accept(config: &Config, output: Output, why: ReasonArgs) -> Result<()> {
    let (actor, reason) = why.named()?;
    for schema in schemas(config) {
        let clock = open(config, schema).await?.clock();
        clock.accept(&actor, &reason).await.with_context(|| at(schema))?;
    }
    show_clocks(config, output).await
}

async fn show_watermarks(config: &Config, output: Output) -> Result<()> {
    let mut table = Table::new(["schema", "watermark", "sagas that began until"]);
    let mut row = |schema: Schema, watermark: SagaId| -> Result<()> {
        let until = began(watermark);
        match output {
            Output::Json => {
                let row = json!({ "schema": schema.name(), "watermark": watermark.to_string(), "until": until });
                line(row)?;
            }
            Output::Human => table.row([schema.name().to_owned(), watermark.to_string(), until]),
        }
        Ok(())
    };
    let journal = journal(config).await?;
    row(Schema::Orchestrator, journal::watermark_of(&journal).await?)?;
    for schema in PARTICIPANTS {
        row(schema, participant::watermark_of(&open(config, schema).await?).await?)?;
    }
    human(output, table)
}

async fn lower(config: &Config, output: Output, why: ReasonArgs) -> Result<()> {
    let (actor, reason) = why.named()?;
    let journal = journal(config).await?;
    let before = journal::heartbeats(&journal).await?;
    tokio::time::sleep(SILENCE).await;
    if journal::heartbeats(&journal).await? != before {
        bail!("an orchestrator runs: stop all of them first, they would raise it again");
    }
    let clock = journal.clock();
    clock.measure().await?;
    if !clock.is_trusted_to_delete() {
        bail!("the clock of this machine differs from the database's: set it first");
    }
    let now = clock.earlier_now().context("the database's clock")?;
    let mut to = journal::lowest_watermark(&journal, now + TimeDelta::minutes(1)).await?;
    let mut participants = Vec::new();
    for schema in PARTICIPANTS {
        let db = open(config, schema).await?;
        to = to.max(participant::newest_purgeable(&db).await?.unwrap_or(SagaId([0; 16])));
        participants.push((schema, db));
    }
    // The journal last: until then new sagas get ids above the highest.
    for (schema, db) in &participants {
        participant::lower_watermark(db, to).await.with_context(|| at(*schema))?;
    }
    journal::lower_watermark(&journal, to, &actor, &reason).await?;
    show_watermarks(config, output).await
}

async fn journal(config: &Config) -> Result<Db> {
    if PARTICIPANTS.iter().any(|schema| config.database.schema_url(*schema).is_none()) {
        return Err(Problem::needed("database.url", "the schemas of all participants").into());
    }
    open(config, Schema::Orchestrator).await
}

/// When a saga with this id began.
fn began(saga: SagaId) -> String {
    let milliseconds = u128::from_be_bytes(saga.0) >> 80;
    let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::MAX);
    DateTime::from_timestamp_millis(milliseconds).map_or_else(|| "-".to_owned(), time)
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn at(schema: Schema) -> String {
    format!("in the schema {}", schema.name())
}

fn human(output: Output, table: Table) -> Result<()> {
    if output == Output::Human {
        line(table)?;
    }
    Ok(())
}
