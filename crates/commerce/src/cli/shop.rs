//! Commands that run a shop, or some of its roles.

use super::args::ReplayArgs;
use super::reach::Source;
use super::{Context, Verdict};
use crate::bench::{self, Measured};
use crate::clients::{Addresses, Clients};
use crate::config::{Config, LogFormat, Shown, Sources};
use crate::output::{Output, Table, announce, grouped, note};
use crate::process::{self, Listening, Process};
use crate::replay::baskets::Baskets;
use crate::replay::{Held, Replay, Report};
use crate::roles::Roles;
use crate::shop::Shop;
use anyhow::{Context as _, Result, anyhow};
use migrations::Schema;
use serde_json::json;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// How long raw commits are measured at each number of connections.
const RAW_COMMITS: Duration = Duration::from_secs(3);

/// Everything, until told to end.
pub(super) async fn up(context: Context, split: bool) -> Result<Verdict> {
    let Context { sources, config, shown, output } = context;
    show_configuration(&shown, &config, output);
    let output = of_server(&config, output);
    let mut shop = Shop::start(config, &sources, split).await?;
    if let Err(error) = tell_ready(&shop, output) {
        shop.stop().await?;
        return Err(error);
    }
    let ended = tokio::select! {
        told = told_to_end(false) => told,
        broken = shop.broken() => broken,
    };
    shop.stop().await?;
    ended.map(|()| Verdict::Good)
}

/// Some roles, until told to end.
pub(super) async fn serve(
    context: Context,
    roles: &Roles,
    until_stdin_ends: bool,
) -> Result<Verdict> {
    let Context { config, shown, output, .. } = context;
    Process::check(&config, roles)?;
    Process::check_ports(&config, roles)?;
    // A parent has printed it, and reads only what it waits for.
    if !until_stdin_ends {
        show_configuration(&shown, &config, output);
    }
    let output = of_server(&config, output);
    let mut process = Process::start(&config, roles).await?;
    let listening = process.listening();
    match output {
        Output::Json => announce(json!({ "ready": listening, "roles": roles.to_string() }))?,
        Output::Human => {
            let Listening { public, participant, admin } = listening;
            let mut table = Table::new(["listener", "address"]);
            table.row(["public".to_owned(), public.to_string()]);
            if let Some(participant) = participant {
                table.row(["participant".to_owned(), participant.to_string()]);
            }
            table.row(["admin".to_owned(), admin.to_string()]);
            announce(format_args!("{table}\nready: {roles}; Ctrl-C ends it"))?;
        }
    }
    let ended = tokio::select! {
        told = told_to_end(until_stdin_ends) => told,
        broken = process.broken() => broken,
    };
    let calls = process.calls();
    process.stop().await;
    if output == Output::Json {
        announce(json!({ "ended": { "calls": calls } }))?;
    }
    ended.map(|()| Verdict::Good)
}

/// A file of baskets, on a running shop or one of its own.
pub(super) async fn replay(context: Context, args: ReplayArgs) -> Result<Verdict> {
    let file = std::fs::read(&args.file).with_context(|| args.file.display().to_string())?;
    let baskets = Baskets::parse(&file).with_context(|| args.file.display().to_string())?;
    let Context { sources, config, output, .. } = context;
    let report = if let Some(addresses) = Addresses::parse(&args.connect.connect)? {
        Source::of_shop("--connect").check_all(&addresses).await?;
        let server = config.database.server_url().map(str::to_owned);
        replay_on(&addresses, &config, server, &baskets, &args).await?
    } else {
        let mut shop = Shop::start(on_free_ports(&sources)?, &sources, args.split).await?;
        let (addresses, config) = (shop.addresses().clone(), shop.config().clone());
        let server = shop.server_url();
        let replayed = tokio::select! {
            replayed = replay_on(&addresses, &config, server, &baskets, &args) => replayed,
            broken = shop.broken() => Err(broken.err().unwrap_or_else(|| anyhow!("the shop has ended"))),
        };
        let peak_memory_mib = shop.peak_memory_mib();
        let calls = shop.stop().await?;
        let mut report = replayed?;
        report.measured.get_or_insert_default().peak_memory_mib = peak_memory_mib;
        report.calls = Some(calls);
        report
    };
    output.result(&report)?;
    Ok(if report.failed == 0 { Verdict::Good } else { Verdict::Bad })
}

async fn replay_on(
    addresses: &Addresses,
    config: &Config,
    server: Option<String>,
    baskets: &Baskets,
    args: &ReplayArgs,
) -> Result<Report> {
    let clients = Clients::new(addresses, args.connections.into())?;
    let replay = Replay::prepare(&clients, baskets).await?;
    let outbox = match config.database.schema_url(Schema::Order) {
        Some(_) => Some(process::open(config, Schema::Order).await?),
        None => None,
    };
    let held = if args.relay { Some(Held::take(config).await?) } else { None };
    let server = server.filter(|_| args.raw_commits);
    let before = match &server {
        Some(server) => Some(bench::write_commits(server).await?),
        None => None,
    };
    let mut report = replay.run(args.concurrency.into(), outbox.as_ref(), held).await?;
    if let (Some(server), Some(before)) = (&server, before) {
        let commits = bench::write_commits(server).await? - before;
        note(format_args!("{} transactions wrote; measuring raw commits", grouped(commits)));
        let raw = bench::raw_commits(server, RAW_COMMITS).await?;
        let (orders, rate) = (baskets.baskets.len(), report.orders_per_second);
        report.measured = Some(Measured::new(commits, orders, rate, &raw));
    }
    Ok(report)
}

/// The configuration, but on free ports where nobody asked for others.
fn on_free_ports(sources: &Sources) -> Result<Config> {
    let (_, shown) = sources.load()?;
    let mut sources = sources.clone();
    for Shown { key, origin, .. } in shown {
        if key.starts_with("listen.") && origin == "default" {
            sources.set(key, "127.0.0.1:0");
        }
    }
    Ok(sources.load()?.0)
}

/// Waits for SIGINT or SIGTERM, or for the end of standard input.
async fn told_to_end(until_stdin_ends: bool) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stdin_ends = async {
        if until_stdin_ends {
            stdin_ends().await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        // The parent knows why.
        () = stdin_ends => return Ok(()),
    }
    note("ending; what is in flight is answered first");
    Ok(())
}

/// Reads standard input to its end, on a thread of its own: the runtime would wait for a read of its own at its end.
async fn stdin_ends() {
    let (end, ended) = oneshot::channel();
    std::thread::spawn(move || {
        // An error is an end too.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = end.send(());
    });
    let _ = ended.await;
}

fn tell_ready(shop: &Shop, output: Output) -> Result<()> {
    let addresses = shop.addresses();
    if output == Output::Json {
        return Ok(announce(
            json!({ "ready": { "addresses": addresses, "admin": shop.admin() } }),
        )?);
    }
    let mut table = Table::new(["service", "address"]);
    for (service, address) in [
        ("WalletService", &addresses.wallet),
        ("ProductService", &addresses.product),
        ("CouponService", &addresses.coupon),
        ("OrderService", &addresses.order),
        ("RankingService", &addresses.ranking),
        ("CheckoutService", &addresses.orchestrator),
    ] {
        table.row([service, address.as_str()]);
    }
    table.row(["SagaAdminService", shop.admin()]);
    let data = shop.config().data_dir.display();
    Ok(announce(format_args!("{table}\nready; data in {data}; Ctrl-C ends it"))?)
}

/// How a server writes what is no log: where its log is for programs, all that it writes is.
fn of_server(config: &Config, output: Output) -> Output {
    if config.log.format == LogFormat::Json { Output::Json } else { output }
}

fn show_configuration(shown: &[Shown], config: &Config, output: Output) {
    if of_server(config, output) == Output::Json {
        let values: serde_json::Map<_, _> =
            shown.iter().map(|it| (it.key.to_owned(), json!(it.value))).collect();
        tracing::info!(configuration = %serde_json::Value::Object(values), "configuration");
        return;
    }
    note(super::tools::configuration(shown));
}
