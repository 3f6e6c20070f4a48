//! The command line.

use crate::config::{Problem, Setting, Sources};
use crate::roles::Roles;
use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// The core of a shop over gRPC: wallets, stock, orders, coupons and best sellers behind one saga orchestrator.
#[derive(Debug, Parser)]
#[command(
    name = "commerce",
    version,
    arg_required_else_help = true,
    after_long_help = "Begin with:
  commerce up                          start everything, with a private database and Redis
  commerce demo                        in another terminal: place an order and see it
  commerce replay baskets.csv          a file of baskets, every line an order
  commerce audit                       check every won, unit and coupon

Every setting may stand in a file (commerce.toml), in the environment (COMMERCE_…) or in a flag;
`commerce config` lists all of them."
)]
pub(super) struct Cli {
    /// Where settings come from.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// Write results as JSON, one value a line, for programs.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that set keys of the configuration.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Configuration")]
pub(super) struct SettingArgs {
    /// A TOML file of settings; without it commerce.toml, if it is there.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets any key, such as saga.deadline=10s; `commerce config` lists them.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Sets database.url: the MySQL or MariaDB server.
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
    /// Sets redis.url.
    #[arg(long, global = true, value_name = "URL")]
    redis_url: Option<String>,
    /// Sets `data_dir`: the folder of the private servers.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Sets listen.public: where clients call.
    #[arg(long, global = true, value_name = "IP:PORT")]
    listen_public: Option<String>,
    /// Sets listen.participant: where the orchestrator calls the steps.
    #[arg(long, global = true, value_name = "IP:PORT")]
    listen_participant: Option<String>,
    /// Sets listen.admin: where operators call.
    #[arg(long, global = true, value_name = "IP:PORT")]
    listen_admin: Option<String>,
    /// Sets log.format: human or json.
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Sets log.filter, such as info,saga=debug.
    #[arg(long, global = true, value_name = "FILTER")]
    log_filter: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start everything, with private servers where none are configured.
    #[command(
        long_about = "Start everything: a private MariaDB (or MySQL) and Redis in the data folder where none are \
configured, the schemas, and all roles. Ends them in good order on Ctrl-C, and keeps the data for next time.

Examples:
  commerce up
  commerce up --data-dir /var/lib/shop --listen-public 0.0.0.0:50051
  commerce up --database-url mysql://shop:secret@db:3306 --redis-url redis://cache:6379
  commerce up --split            every role in a process of its own, on free ports"
    )]
    Up {
        /// Every role in a process of its own, each on free ports.
        #[arg(long)]
        split: bool,
    },
    /// Start some roles in this process.
    #[command(
        long_about = "Start roles in this process: all, or some of wallet, product, order, coupon, ranking, \
orchestrator with commas between. Roles of one process call each other without sockets; the others are found by the \
peers.* keys.

Examples:
  commerce serve all --database-url mysql://shop:secret@db --redis-url redis://cache
  commerce serve wallet,product
  commerce serve orchestrator --set peers.wallet.participant=http://wallet:50052 …"
    )]
    Serve {
        /// The roles.
        roles: Roles,
        /// Stop when standard input ends: for a parent process that must not leave children behind.
        #[arg(long, hide = true)]
        until_stdin_ends: bool,
    },
    /// Bring the databases up to date, and make those that are missing.
    #[command(
        long_about = "Bring the schemas of all services up to date. Databases that are missing are made, where \
the user of database.url may do so. Safe to run from several places at once.

Example:
  commerce migrate --database-url mysql://root:secret@db:3306"
    )]
    Migrate,
    /// Replay a file of baskets: every line an order, over real gRPC.
    #[command(
        long_about = "Replay a file of baskets. A line is a basket: product names, kept byte for byte, with commas \
between. What is missing is made: products (with a price from the name, and stock enough), and the users 1 to 1,000 with \
wallets. The basket of line n is ordered by user n mod 1,000, and by user 1,000 where that is 0.

Request ids come from the file's content and the line. So a replay that was cut off is finished by running it again, and \
a second run changes nothing. Exits 1 when an order failed.

With --relay no event is relayed while the orders are placed: the outboxes fill, as if the bus were away. When the last order \
is answered the relays are let go, and it is measured how long they take until all is published, beside the rate at which the \
orders made it. The relays then have the machine without the orders, and share it with those who consume the events.

Examples:
  commerce replay groceries.csv                          on a shop of its own, in the data folder
  commerce replay groceries.csv --split --raw-commits    every role its own process; measures the database too
  commerce replay groceries.csv --relay                  how fast events are relayed, beside how fast they are made
  commerce replay groceries.csv --connect shop:50051     on a shop that runs"
    )]
    Replay(ReplayArgs),
    /// Check every invariant of the shop, beside live traffic.
    #[command(
        long_about = "Check every invariant that the design implies: money, stock, coupons, orders against sagas, \
steps against effects, events, and the ranking against a recount. Runs beside live traffic and changes nothing. Exits 1 \
when an invariant is broken, with the offending ids.

Examples:
  commerce audit                 the shop of the data folder, running or not
  commerce audit --database-url mysql://auditor:secret@db --redis-url redis://cache --json"
    )]
    Audit,
    /// See sagas.
    #[command(subcommand)]
    Saga(SagaCommand),
    /// Show what the schemas have on record of time; believe the database's clock.
    #[command(
        long_about = "Show how late it certainly is by what each schema has on record. A clock that is ahead of that by \
more than an hour deletes nothing: it has run away, or nobody ran the shop for long. It is believed after a day, or once \
an operator says that it is right.

Examples:
  commerce clock
  commerce clock accept --reason 'the shop was closed for a week'"
    )]
    Clock {
        #[command(subcommand)]
        command: Option<ClockCommand>,
    },
    /// Show the watermark below which sagas are forgotten; lower it.
    #[command(
        long_about = "Show the watermark, the saga id at and below which everything has ended and may be forgotten, of \
the journal and of each participant. A clock that was wrong for long may have raised it above what it should be; new \
sagas then get ids above it. Lowering it, with all orchestrators stopped, puts it at the present, but never below a saga \
that is on record at or below it.

Examples:
  commerce watermark
  commerce watermark lower --reason 'the clocks of 3 May, ticket 17'"
    )]
    Watermark {
        #[command(subcommand)]
        command: Option<WatermarkCommand>,
    },
    /// Place one order on a running shop, and show how to go on with grpcurl.
    #[command(
        long_about = "Create a wallet, two products and a coupon on a running shop, issue the coupon to the user, \
place one order through the saga, show what came of it, and print grpcurl lines to paste.

Example:
  commerce demo --connect 127.0.0.1:50051"
    )]
    Demo {
        #[command(flatten)]
        connect: ConnectArgs,
    },
    /// Check a participant of sagas, in any language, against the participant contract.
    #[command(
        long_about = "Call a participant as a saga engine would, and report for each rule of the participant contract \
(crates/participant/CONTRACT.md) whether it holds. For test systems: the run does, undoes and closes steps of new sagas, and \
raises the participant's watermark to a saga that begins with the run. The participant must serve gRPC server reflection.

The file of payloads names for each action a payload that is done and, where it may be rejected, one that is, as JSON; \
\"$n\" stands for a number that is new each time:
  { \"travel.v1.SeatParticipantService/ReserveSeat\": {
      \"done\": { \"flight\": \"KE1\", \"seat\": \"$n\" }, \"rejected\": { \"flight\": \"no flight\", \"seat\": \"1\" } } }

Ends with 1 when a rule is broken.

Example:
  commerce conformance 127.0.0.1:7001 --participant seat --payloads seat.json"
    )]
    Conformance {
        /// Where the participant listens.
        #[arg(value_name = "HOST:PORT")]
        address: String,
        /// The participant's name.
        #[arg(long, value_name = "NAME")]
        participant: String,
        /// The file of payloads.
        #[arg(long, value_name = "FILE")]
        payloads: PathBuf,
    },
    /// Measure what the database can do at most.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Show the configuration: every key, its value, and where it was set.
    Config {
        /// What each key may be and what it is for.
        #[arg(long)]
        explain: bool,
    },
    /// Write the descriptors of all services to standard output.
    #[command(
        long_about = "Write the descriptors of all services, and of the details of their errors (google.rpc), to standard \
output: an encoded google.protobuf.FileDescriptorSet, for tools that do not ask a listener for it.

Examples:
  commerce descriptors > commerce.binpb
  grpcurl -protoset commerce.binpb describe commerce.checkout.v1.CheckoutService"
    )]
    Descriptors,
}

/// How a file is replayed.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The file of baskets.
    pub file: PathBuf,
    /// On which running shop; without it, one of its own is started on free ports and ended afterwards.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Orders at once.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub concurrency: u16,
    /// Connections to each service.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub connections: u8,
    /// Start every role of the shop in a process of its own.
    #[arg(long, conflicts_with = "connect")]
    pub split: bool,
    /// Hold the relays while the orders are placed, then let them go, and measure how fast they publish what waits.
    #[arg(long, conflicts_with = "connect")]
    pub relay: bool,
    /// Measure single-row commits on the same database server afterwards, and count the commits of the orders.
    #[arg(long)]
    pub raw_commits: bool,
}

/// Where a running shop is.
#[derive(Debug, Args)]
pub(super) struct ConnectArgs {
    /// HOST:PORT of the public services; or SERVICE=HOST:PORT, repeated, where they are apart; admin=HOST:PORT where the
    /// admin listener is not at port 50053 of the same host. Without it, `demo` takes the shop that runs on the data
    /// folder, else listen.public and listen.admin; `replay` starts a shop of its own.
    #[arg(long, value_name = "[SERVICE=]HOST:PORT")]
    pub connect: Vec<String>,
}

/// Looking at sagas, and helping those that need it.
#[derive(Debug, Subcommand)]
pub(super) enum SagaCommand {
    /// List sagas, newest first.
    #[command(long_about = "List sagas, newest first.

Examples:
  commerce saga list --state needs-attention
  commerce saga list --state running --older-than 60s --limit 20
  commerce saga list --order 4711
  commerce saga list --trace 5f1c0a --newer-than 1h")]
    List {
        /// running, needs-attention, succeeded, failed or resolved.
        #[arg(long, value_name = "STATE")]
        state: Option<SagaStateArg>,
        /// checkout, cancel or submitted.
        #[arg(long, value_name = "KIND")]
        kind: Option<String>,
        /// Only those that a request of this user began.
        #[arg(long, value_name = "ID")]
        user: Option<i64>,
        /// Only those that place or cancel this order.
        #[arg(long, value_name = "ID")]
        order: Option<i64>,
        /// Only those of requests with this x-trace-id.
        #[arg(long, value_name = "ID")]
        trace: Option<String>,
        /// Only those that began at least this long ago, such as 60s.
        #[arg(long, value_name = "SPAN")]
        older_than: Option<crate::config::span::Span>,
        /// Only those that began at most this long ago, such as 1h.
        #[arg(long, value_name = "SPAN")]
        newer_than: Option<crate::config::span::Span>,
        /// At most this many.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show a saga, and what is on record for each of its steps.
    Show {
        /// The saga's id.
        id: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Let a saga that needs attention go on, at once.
    Retry(OperateArgs),
    /// End a saga that is not certain to succeed: close its pivot, undo its steps, and wait for that.
    Abort(OperateArgs),
    /// Record that a person has settled a saga that needs attention. What it leaves standing is named.
    #[command(
        long_about = "Record that a person has settled a saga that needs attention. What it leaves standing is \
named. Refused until nothing of the saga can happen any more: abort it first, and retry it while a step may still run.

Example:
  commerce saga resolve 0198… --reason 'refunded by hand, ticket 17'"
    )]
    Resolve(OperateArgs),
    /// Tell whether orchestrators take over the sagas of others that are gone; pause that, or resume it.
    Recovery {
        #[command(subcommand)]
        command: Option<RecoveryCommand>,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// What an operator says of clocks.
#[derive(Debug, Subcommand)]
pub(super) enum ClockCommand {
    /// The database's clock is right, wherever it stands: what is old by it may be deleted.
    Accept(ReasonArgs),
}

/// What an operator does to the watermark.
#[derive(Debug, Subcommand)]
pub(super) enum WatermarkCommand {
    /// Lower it to the present, if it is above. All orchestrators must have been stopped.
    Lower(ReasonArgs),
}

/// Who says something, and why.
#[derive(Debug, Args)]
pub(super) struct ReasonArgs {
    /// Why, for the record; at most 500 characters.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Who, for the record; at most 64 characters. Default: the user who runs this.
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
}

/// What an operator does to recovery.
#[derive(Debug, Subcommand)]
pub(super) enum RecoveryCommand {
    /// From now on nobody takes over sagas.
    Pause(WhyArgs),
    /// From now on orchestrators take over sagas again.
    Resume(WhyArgs),
}

/// Who does something, and why.
#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Who, for the record. Default: the user who runs this.
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
    /// Repeats an earlier attempt, by the id that it printed.
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<String>,
}

/// What an operator does to a saga.
#[derive(Debug, Args)]
pub(super) struct OperateArgs {
    /// The saga's id.
    pub id: String,
    #[command(flatten)]
    pub why: WhyArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// A saga's state on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum SagaStateArg {
    /// An orchestrator works on it, or will.
    Running,
    /// It cannot go on without a person.
    NeedsAttention,
    /// Every step is done.
    Succeeded,
    /// Refused or aborted, and undone.
    Failed,
    /// Settled by a person.
    Resolved,
}

/// Where the administration is.
#[derive(Debug, Args)]
pub(super) struct AdminArgs {
    /// HOST:PORT of the admin listener. Default: that of the shop that runs on the data folder, else listen.admin.
    #[arg(long, value_name = "HOST:PORT")]
    pub admin: Option<String>,
}

/// Measuring.
#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Single-row commits a second on 1, 16, 64 and 128 connections.
    #[command(
        long_about = "Commit single rows, each by a prepared statement that its connection keeps, on 1, 16, 64 and \
128 connections. Works on a database of its own, which is dropped afterwards; where no database is configured, on a \
private server in the data folder."
    )]
    Commits {
        /// Seconds at each number of connections.
        #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
        seconds: u64,
    },
}

impl ReasonArgs {
    /// Who, and why.
    ///
    /// # Errors
    /// Texts that are empty or too long for the record, or nobody's name.
    pub(super) fn named(self) -> anyhow::Result<(String, String)> {
        let user = || std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok();
        let actor = self.actor.or_else(user);
        let actor = actor.context("nobody knows who asks: name yourself with --actor")?;
        let fits = |text: &str, most| !text.trim().is_empty() && text.chars().count() <= most;
        anyhow::ensure!(fits(&actor, 64), "--actor: 1 to 64 characters");
        anyhow::ensure!(fits(&self.reason, 500), "--reason: 1 to 500 characters");
        Ok((actor, self.reason))
    }
}

impl SettingArgs {
    /// The sources of the configuration: these flags, and the process's environment.
    ///
    /// # Errors
    /// [`Problem::NoSetting`].
    pub(super) fn sources(&self) -> Result<Sources, Problem> {
        let flags = [
            ("--database-url", "database.url", &self.database_url),
            ("--redis-url", "redis.url", &self.redis_url),
            ("--data-dir", "data_dir", &self.data_dir),
            ("--listen-public", "listen.public", &self.listen_public),
            ("--listen-participant", "listen.participant", &self.listen_participant),
            ("--listen-admin", "listen.admin", &self.listen_admin),
            ("--log-format", "log.format", &self.log_format),
            ("--log-filter", "log.filter", &self.log_filter),
        ];
        let mut settings: Vec<Setting> =
            self.set.iter().map(|text| Setting::parse(text)).collect::<Result<_, _>>()?;
        settings.extend(flags.into_iter().filter_map(|(flag, key, value)| {
            let value = value.clone()?;
            Some(Setting { origin: flag.to_owned(), key: key.to_owned(), value })
        }));
        Ok(Sources { file: self.config.clone(), flags: settings, ..Sources::of_process() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_makes_sense() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_may_stand_before_or_after_the_command() {
        for line in [["commerce", "--data-dir=x", "up"], ["commerce", "up", "--data-dir=x"]] {
            let sources = Cli::try_parse_from(line).unwrap().settings.sources().unwrap();
            assert_eq!(sources.flags[0].key, "data_dir");
            assert_eq!(sources.flags[0].origin, "--data-dir");
        }
    }
}
