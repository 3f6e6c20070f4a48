//! Replicas of the whole shop, each a process, on a database that they reach through one address.

use crate::cluster::free_port;
use commerce::clients::{Addresses, Clients};
use commerce::config::keys::Key;
use embedded::{Redis, RedisOptions};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const REPLICAS: usize = 2;
/// How long a process may take to be ready: the first one migrates.
const PATIENCE: Duration = Duration::from_mins(2);
/// Connections of the clients to each replica.
const CONNECTIONS: usize = 4;
/// Lines of each replica's log that a failure shows.
const TAIL: usize = 40;

/// The shop.
pub(crate) struct Shop {
    redis: Redis,
    replicas: Vec<Replica>,
    logs: TempDir,
}

struct Replica {
    process: Child,
    clients: Clients,
}

impl Shop {
    pub(crate) async fn start(database: &str) -> Self {
        let redis = Redis::start(RedisOptions::temporary()).await.unwrap();
        let mut shop = Self { redis, replicas: Vec::new(), logs: tempfile::tempdir().unwrap() };
        for number in 0..REPLICAS {
            let replica = start(&shop.log(number), database, &shop.redis.url()).await;
            shop.replicas.push(replica);
        }
        shop
    }

    /// Clients of each replica.
    pub(crate) fn clients(&self) -> Vec<Clients> {
        self.replicas.iter().map(|replica| replica.clients.clone()).collect()
    }

    pub(crate) fn redis(&self) -> audit::Redis {
        audit::Redis { url: self.redis.url(), prefix: "commerce".to_owned() }
    }

    fn log(&self, number: usize) -> PathBuf {
        self.logs.path().join(format!("replica-{number}"))
    }

    /// What the replicas said last.
    pub(crate) fn logs(&self) -> String {
        let tail = |number: usize| {
            let text = std::fs::read_to_string(self.log(number)).unwrap();
            let lines: Vec<_> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(TAIL)..];
            format!("--- replica {number}\n{}\n", last.join("\n"))
        };
        (0..self.replicas.len()).map(tail).collect()
    }

    /// Every replica still runs: a fault of the database has ended none. Ends them.
    pub(crate) async fn stop(mut self) {
        for replica in &mut self.replicas {
            assert!(replica.process.try_wait().unwrap().is_none(), "a replica has ended");
            replica.process.kill().await.unwrap();
        }
        self.redis.stop().await.unwrap();
    }
}

async fn start(log: &Path, database: &str, redis: &str) -> Replica {
    let [public, participant, admin] = [(); 3].map(|()| format!("127.0.0.1:{}", free_port()));
    let settings = [
        ("listen.public", public.as_str()),
        ("listen.participant", participant.as_str()),
        ("listen.admin", admin.as_str()),
        ("database.url", database),
        ("redis.url", redis),
        ("log.filter", "info"),
    ];
    let variables = settings.map(|(key, value)| (Key::find(key).unwrap().variable(), value));
    let program =
        std::env::var_os("HA_COMMERCE").unwrap_or_else(|| env!("CARGO_BIN_EXE_commerce").into());
    let mut process = Command::new(program)
        .args(["--json", "serve", "all", "--until-stdin-ends"])
        .envs(variables)
        // Held open by the handle: it ends when this test does, however that is.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(log).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
    let ready = tokio::time::timeout(PATIENCE, said.next_line()).await;
    let ready = ready.expect("it is ready in time").unwrap().unwrap_or_default();
    let told = || std::fs::read_to_string(log).unwrap();
    assert!(ready.contains("ready"), "it is not ready: {ready:?}\n{}", told());
    let clients = Clients::new(&Addresses::at(public, admin), CONNECTIONS).unwrap();
    Replica { process, clients }
}
