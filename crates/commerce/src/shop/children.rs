//! Every role a process of its own: children of this one, which end when it ends, however it ends.
//!
//! A child is told everything by its environment, so that passwords stand on no command line. It says on standard output
//! where it listens, and stops in good order when its standard input ends, which the kernel sees to if we die.

use crate::clients::Addresses;
use crate::config::keys::Key;
use crate::config::{Config, Sources};
use crate::process::Counts;
use crate::roles::Role;
use anyhow::{Context, Result, bail};
use migrations::Schema;
use serde::Deserialize;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How long a child may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The roles, each a process.
pub(super) struct Children {
    running: Vec<Running>,
    addresses: Addresses,
    admin: String,
}

struct Running {
    role: Role,
    process: Child,
    /// The child runs as long as this is open.
    life: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// What a child says at its end.
#[derive(Debug, Deserialize)]
struct Ended {
    ended: Last,
}

#[derive(Debug, Deserialize)]
struct Last {
    calls: Counts,
}

/// What a child says when it is ready.
#[derive(Debug, Deserialize)]
struct Ready {
    ready: Listening,
}

#[derive(Debug, Deserialize)]
struct Listening {
    public: String,
    participant: Option<String>,
    admin: String,
}

impl Children {
    /// Starts the roles one after the other, each after those that it calls.
    pub(super) async fn start(config: &Config, sources: &Sources) -> Result<Self> {
        let mut variables = inherited(config, sources);
        let mut running = Vec::new();
        let mut addresses = Addresses::at("", "");
        let mut admin = String::new();
        let wanted = |role: &Role| *role != Role::Activity || config.activity.enabled;
        for role in Role::ALL.into_iter().filter(wanted) {
            let (child, listening) = spawn(role, &variables, sources)
                .await
                .with_context(|| format!("starting the process of {}", role.name()))?;
            running.push(child);
            let mut set = |side: &str, address: &str| {
                if let Some(key) = Key::find(&format!("peers.{}.{side}", role.name())) {
                    variables.push((key.variable(), format!("http://{address}")));
                }
            };
            set("public", &listening.public);
            if let Some(participant) = &listening.participant {
                set("participant", participant);
            }
            if let Some(address) = addresses.service(role.name()) {
                *address = listening.public;
            }
            if let Some(address) = addresses.service(&format!("{}-admin", role.name())) {
                address.clone_from(&listening.admin);
            }
            admin = listening.admin;
        }
        Ok(Self { running, addresses, admin })
    }

    pub(super) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The admin listener of the orchestrator, which was started last.
    pub(super) fn admin(&self) -> &str {
        &self.admin
    }

    pub(super) fn pids(&self) -> impl Iterator<Item = u32> + '_ {
        self.running.iter().filter_map(|child| child.process.id())
    }

    /// Waits until a child ends, which none should.
    pub(super) async fn broken(&mut self) -> Result<()> {
        let ends = self
            .running
            .iter_mut()
            .map(|child| Box::pin(async { (child.role, child.process.wait().await) }));
        let ((role, status), ..) = futures_util::future::select_all(ends).await;
        bail!("the process of {} ended: {}", role.name(), status?)
    }

    /// Ends them in good order: those first that call others. Tells how often each step was called.
    pub(super) async fn stop(self) -> Counts {
        let mut calls = Counts::new();
        for Running { role, mut process, life, mut output } in self.running.into_iter().rev() {
            drop(life);
            let end = async {
                let told = output.next_line().await;
                let ended = process.wait().await;
                (told, ended)
            };
            match tokio::time::timeout(PATIENCE, end).await {
                Ok((Ok(Some(told)), Ok(_))) => {
                    if let Ok(Ended { ended }) = serde_json::from_str(&told) {
                        for (step, count) in ended.calls {
                            *calls.entry(step).or_default() += count;
                        }
                    }
                }
                Ok(_) => tracing::warn!(role = role.name(), "ended without a word"),
                Err(_) => {
                    tracing::warn!(role = role.name(), "killed: it did not end");
                    // Gone already is as good.
                    let _ = process.kill().await;
                }
            }
        }
        calls
    }
}

/// The settings of the parent, and where everything is, as a child's environment.
fn inherited(config: &Config, sources: &Sources) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let mut set = |key: &str, value: String| {
        if let Some(key) = Key::find(key) {
            settings.push((key.variable(), value));
        }
    };
    for flag in &sources.flags {
        set(&flag.key, flag.value.clone());
    }
    for listener in ["public", "participant", "admin"] {
        set(&format!("listen.{listener}"), "127.0.0.1:0".to_owned());
    }
    for schema in Schema::ALL {
        if let Some(url) = config.database.schema_url(schema) {
            set(&format!("database.{}.url", schema.name()), url);
        }
    }
    if let Some(url) = config.redis.url() {
        set("redis.url", url.to_owned());
    }
    settings
}

async fn spawn(
    role: Role,
    variables: &[(String, String)],
    sources: &Sources,
) -> Result<(Running, Listening)> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new(program);
    if let Some(file) = &sources.file {
        command.arg("--config").arg(file);
    }
    let mut process = command
        .args(["--json", "serve", role.name(), "--until-stdin-ends"])
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Ctrl-C is for us; we end the children in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let life = process.stdin.take().context("its standard input")?;
    let stdout = process.stdout.take().context("its standard output")?;
    let mut output = BufReader::new(stdout).lines();
    let Some(told) = output.next_line().await? else {
        bail!("it ended before it was ready: {}", process.wait().await?);
    };
    let Ready { ready } =
        serde_json::from_str(&told).with_context(|| format!("it said {told:?}"))?;
    Ok((Running { role, process, life, output }, ready))
}
