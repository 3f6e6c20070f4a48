//! The program: its command line, and what each command does.

mod actor;
mod args;
mod clock;
mod conformance;
mod demo;
mod reach;
mod saga;
mod shop;
mod tools;

use crate::clients::NoAddress;
use crate::config::{Config, LogFormat, Problem, Shown, Sources};
use crate::durability::Unfit;
use crate::output::{self, Output, ReaderGone, complain};
use crate::process::schemas::NotMigrated;
use anyhow::{Context as _, Result};
use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

/// The exit code of a run that found something wrong with the shop, or failed.
const FAILED: u8 = 1;
/// The exit code of a configuration with which nothing was started; clap's for a bad command line.
const BAD_CONFIGURATION: u8 = 2;

/// The exit code of a program whose reader went away, as the shell gives it to one that SIGPIPE ended.
const READER_GONE: u8 = 141;

/// What every command works with.
struct Context {
    sources: Sources,
    config: Config,
    shown: Vec<Shown>,
    output: Output,
}

/// Whether what a command looked at is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad,
}

/// Runs the program.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::from(FAILED),
        Err(error) if error.downcast_ref().is_some_and(ReaderGone::is) => {
            ExitCode::from(READER_GONE)
        }
        Err(error) => {
            complain(format_args!("commerce: {error:#}"));
            ExitCode::from(if is_configuration(&error) { BAD_CONFIGURATION } else { FAILED })
        }
    }
}

/// Whether nothing was done because of what the command line, the configuration or the server's settings say.
fn is_configuration(error: &anyhow::Error) -> bool {
    error.is::<Problem>()
        || error.is::<Unfit>()
        || error.is::<NoAddress>()
        || error.is::<NotMigrated>()
        || error.is::<tools::NoShop>()
        || error.is::<actor::Nobody>()
        || error.is::<::conformance::PayloadsError>()
        || matches!(error.downcast_ref(), Some(reach::Unreachable::Malformed { .. }))
}

fn run(cli: Cli) -> Result<Verdict> {
    let sources = cli.settings.sources()?;
    let (config, shown) = sources.load()?;
    if config.log.format == LogFormat::Json {
        output::notes_as_json();
    }
    platform::logging::init(config.log.format.into(), &config.log.filter)
        .map_err(|_| not_a_filter(&config, &shown))?;
    let context = Context { sources, config, shown, output: Output::new(cli.json) };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(command(context, cli.command))
}

fn not_a_filter(config: &Config, shown: &[Shown]) -> Problem {
    let key = "log.filter";
    let origin = shown.iter().find(|it| it.key == key).map(|it| it.origin.clone());
    Problem::NotAllowed {
        key: key.to_owned(),
        allowed: "a filter, such as info or warn,saga=debug".to_owned(),
        found: format!("{:?}", config.log.filter),
        origin: origin.unwrap_or_default(),
    }
}

async fn command(context: Context, command: Command) -> Result<Verdict> {
    match command {
        Command::Up { split } => shop::up(context, split).await,
        Command::Serve { roles, until_stdin_ends } => {
            shop::serve(context, &roles, until_stdin_ends).await
        }
        Command::Migrate => tools::migrate(&context).await,
        Command::Replay(args) => shop::replay(context, args).await,
        Command::Audit => tools::audit(context).await,
        Command::Saga(command) => saga::run(&context, command).await,
        Command::Clock { command } => clock::clock(context, command).await,
        Command::Watermark { command } => clock::watermark(context, command).await,
        Command::Conformance { address, participant, payloads } => {
            conformance::run(context, &address, &participant, &payloads).await
        }
        Command::Demo { connect } => demo::run(&context, &connect).await,
        Command::Bench(args::BenchCommand::Commits { seconds }) => {
            tools::bench_commits(context, seconds).await
        }
        Command::Config { explain } => tools::config(&context, explain),
        Command::Descriptors => tools::descriptors(),
    }
}
