//! Commands around a shop: configuration, migrations, audit, measures.

use super::{Context, Verdict};
use crate::bench;
use crate::carrier::Carrier;
use crate::config::keys::KEYS;
use crate::config::{Config, Problem, Shown, with_schema};
use crate::output::{Output, Table, bytes, line};
use crate::private::PrivateServers;
use crate::process::{prepare_databases, schemas};
use crate::shop::Running;
use anyhow::{Context as _, Result};
use db::Conn;
use diesel_async::{AsyncConnection, SimpleAsyncConnection};
use migrations::Schema;
use serde_json::json;
use std::time::Duration;

/// What cannot be configured, and is printed with what can.
const FIXED: [(&str, &str); 6] = [
    ("deadline of a call without one", "10s"),
    ("longest deadline honoured", "60s"),
    ("largest message", "256 KiB"),
    ("back-off of a step", "10ms to 1s"),
    ("back-off of a compensation", "10ms to 30s"),
    ("ranking window", "72h"),
];

/// An audit of what is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{place}: there is no shop: `commerce up` starts one; or name the databases of one with --database-url, its data folder with --data-dir"
)]
pub(super) struct NoShop {
    /// Where it was looked for.
    place: String,
}

/// Shows the configuration.
pub(super) fn config(context: &Context, explain: bool) -> Result<Verdict> {
    if context.output == Output::Json {
        for Shown { key, value, origin } in &context.shown {
            line(json!({ "key": key, "value": value, "origin": origin }))?;
        }
    } else if explain {
        for key in KEYS {
            let default = key.default.unwrap_or("not set");
            line(format_args!("{} (default: {default})\n    {}", key.path, key.help))?;
            line(format_args!("    must be {}; {}", key.rule, key.variable()))?;
        }
    } else {
        line(configuration(&context.shown))?;
    }
    Ok(Verdict::Good)
}

/// Writes the descriptors of the contract.
pub(super) fn descriptors() -> Result<Verdict> {
    bytes(&api::descriptors::all()?)?;
    Ok(Verdict::Good)
}

/// The configuration as a table.
pub(super) fn configuration(shown: &[Shown]) -> Table {
    let mut table = Table::new(["key", "value", "set by"]);
    for Shown { key, value, origin } in shown {
        table.row([key, value.as_deref().unwrap_or("(not set)"), origin.as_str()]);
    }
    for (what, value) in FIXED {
        table.row([what, value, "fixed"]);
    }
    table
}

/// Brings the databases up to date.
pub(super) async fn migrate(context: &Context) -> Result<Verdict> {
    let config = &context.config;
    if !config.database.is_configured() {
        return Err(Problem::needed("database.url", "migrate").into());
    }
    if let Some(server) = config.database.server_url() {
        let mut conn =
            Conn::establish(server).await.context("connecting to the database server")?;
        for schema in Schema::ALL {
            let name = config.database.name(schema);
            // Where the database is there, a user without the right to make one needs no such right.
            if Conn::establish(&with_schema(server, &name)).await.is_err() {
                let create = format!(
                    "CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
                );
                conn.batch_execute(&create)
                    .await
                    .with_context(|| format!("making the database {name}"))?;
            }
        }
    }
    let applied = prepare_databases(config, Schema::ALL.to_vec(), true).await?;
    match context.output {
        Output::Json => {
            for (schema, versions) in applied {
                line(json!({ "schema": schema.name(), "applied": versions }))?;
            }
        }
        Output::Human => {
            let mut table = Table::new(["schema", "migrations applied"]);
            for (schema, versions) in applied {
                table.row([schema.name().to_owned(), versions.len().to_string()]);
            }
            line(table)?;
        }
    }
    Ok(Verdict::Good)
}

/// Checks every invariant: of the configured shop, of the one that runs on the data folder, or of the folder's data.
pub(super) async fn audit(context: Context) -> Result<Verdict> {
    let Context { mut config, output, .. } = context;
    let report = if config.database.is_configured() {
        let targets = targets(&config)?;
        check_shop(&config).await?;
        audit::run(&targets).await?
    } else if let Some(running) = Running::find(&config.data_dir)? {
        audit::run(&running.targets()?).await?
    } else if !PrivateServers::has_data(&config.data_dir) {
        let place = format!("data_dir {}", config.data_dir.display());
        return Err(NoShop { place }.into());
    } else {
        let servers = PrivateServers::start(&mut config).await?;
        let report = match check_shop(&config).await {
            Ok(()) => audit::run(&targets(&config)?).await,
            Err(error) => Err(error),
        };
        servers.stop().await?;
        report?
    };
    output.result(&report)?;
    Ok(if report.is_clean() { Verdict::Good } else { Verdict::Bad })
}

/// Refuses databases that never were a shop's.
async fn check_shop(config: &Config) -> Result<()> {
    let is_audited = |schema: &Schema| *schema != Schema::Activity || config.activity.enabled;
    for schema in Schema::ALL.into_iter().filter(is_audited) {
        let Some(url) = config.database.audit_url(schema) else { continue };
        if !schemas::is_shop(schema, &url).await? {
            let place = format!("database {}", config.database.name(schema));
            return Err(NoShop { place }.into());
        }
    }
    Ok(())
}

fn targets(config: &Config) -> Result<audit::Targets> {
    let url = |schema: Schema| {
        let url = config.database.audit_url(schema);
        url.ok_or_else(|| Problem::needed("database.url", "audit"))
    };
    let prefix = config.redis.prefix.clone();
    let redis = config.redis.url().map(|url| audit::Redis { url: url.to_owned(), prefix });
    let streams = Carrier::of(config).ok().map(|carrier| carrier.streams()).transpose()?;
    Ok(audit::Targets {
        wallet: url(Schema::Wallet)?,
        product: url(Schema::Product)?,
        coupon: url(Schema::Coupon)?,
        order: url(Schema::Order)?,
        orchestrator: url(Schema::Orchestrator)?,
        activity: config.activity.enabled.then(|| url(Schema::Activity)).transpose()?,
        streams,
        ranking: redis,
        // A shop may be closed.
        relayed_within: None,
    })
}

/// Measures single-row commits.
pub(super) async fn bench_commits(context: Context, seconds: u64) -> Result<Verdict> {
    let Context { mut config, output, .. } = context;
    let each = Duration::from_secs(seconds);
    let raw = if let Some(server) = config.database.server_url() {
        bench::raw_commits(server, each).await?
    } else {
        let servers = PrivateServers::start(&mut config).await?;
        let server = servers.server_url().context("the private database server's URL")?;
        let raw = bench::raw_commits(&server, each).await;
        servers.stop().await?;
        raw?
    };
    output.result(&raw)?;
    Ok(Verdict::Good)
}
