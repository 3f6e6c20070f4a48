//! A shop of which every role is a process of its own, on servers of its own, each of which can be killed.

use crate::edges::Edges;
use crate::journal::{self, Left};
use commerce::clients::{Addresses, Clients};
use commerce::config::keys::Key;
use commerce::roles::Role;
use embedded::{MySql, MySqlOptions, Redis, RedisOptions};
use migrations::Schema;
use rand::Rng;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// How long a process may take to be ready, and sagas to be under way.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(2);
/// Below the system's range for outgoing connections, so that nobody is given the port of a role that is dead.
const PORTS: std::ops::Range<u16> = 12_000..32_000;
/// Connections of the crowd to the orchestrator.
const CONNECTIONS: usize = 16;

/// The program of today.
const NEW: &str = env!("CARGO_BIN_EXE_commerce");
/// A role's listeners, in the order of its ports.
const LISTENERS: [&str; 3] = ["public", "participant", "admin"];

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Victim {
    Role(Role),
    Database,
    Redis,
    Everything,
}

impl Victim {
    pub(crate) const ALL: [Self; 10] = [
        Self::Role(Role::Wallet),
        Self::Role(Role::Product),
        Self::Role(Role::Order),
        Self::Role(Role::Coupon),
        Self::Role(Role::Ranking),
        Self::Role(Role::Activity),
        Self::Role(Role::Orchestrator),
        Self::Database,
        Self::Redis,
        Self::Everything,
    ];
}

/// The shop.
pub(crate) struct Apart {
    mysql: MySql,
    redis: Redis,
    variables: BTreeMap<Role, Vec<(String, String)>>,
    addresses: Addresses,
    running: BTreeMap<Role, Child>,
    /// Second replicas of roles.
    joined: Vec<Child>,
    program: PathBuf,
    /// Roles that it does not know.
    absent: Vec<Role>,
    /// Proxies and clocks, where it has them.
    edges: Option<Edges>,
    logs: TempDir,
}

impl Apart {
    pub(crate) async fn start() -> Self {
        Self::of(PathBuf::from(NEW), &[]).await
    }

    /// A shop with a proxy on every way between its parts, and a clock for each role.
    pub(crate) async fn with_edges() -> Self {
        Self::made(PathBuf::from(NEW), &[], Some(Edges::new())).await
    }

    /// A shop whose roles run this program, without those that it does not know.
    pub(crate) async fn of(program: PathBuf, absent: &[Role]) -> Self {
        Self::made(program, absent, None).await
    }

    async fn made(program: PathBuf, absent: &[Role], mut edges: Option<Edges>) -> Self {
        let mut options = MySqlOptions::temporary();
        options.buffer_pool_mib = 128;
        options.redo_log_mib = Some(64);
        let mysql = MySql::start(options).await.unwrap();
        let redis = Redis::start(RedisOptions::temporary()).await.unwrap();
        for schema in Schema::ALL {
            journal::execute(&mysql.url(), &format!("CREATE DATABASE {}", database(schema))).await;
        }
        let ports: BTreeMap<Role, [u16; 3]> =
            Role::ALL.into_iter().map(|role| (role, [(); 3].map(|()| free_port()))).collect();
        let mut addresses = Addresses::at("", "");
        for (role, [public, _, admin]) in &ports {
            for (name, port) in [(role.name(), public), (&format!("{}-admin", role.name()), admin)]
            {
                if let Some(address) = addresses.service(name) {
                    *address = format!("127.0.0.1:{port}");
                }
            }
        }
        let variables = |role| variables(ports[&role], &ports, &mysql, &redis);
        let mut variables: BTreeMap<_, _> =
            Role::ALL.into_iter().map(|role| (role, variables(role))).collect();
        if let Some(edges) = &mut edges {
            Edges::prepare(&mysql.url()).await;
            for (role, variables) in &mut variables {
                edges.route(*role, variables).await;
            }
        }
        let logs = tempfile::tempdir().unwrap();
        let (running, joined) = (BTreeMap::new(), Vec::new());
        let absent = absent.to_vec();
        let mut shop = Self {
            mysql,
            redis,
            variables,
            addresses,
            running,
            joined,
            program,
            absent,
            edges,
            logs,
        };
        shop.run_roles().await;
        shop
    }

    /// Starts a second replica of a role. Tells clients of the shop that ask it where they would ask the first.
    pub(crate) async fn join(&mut self, role: Role) -> Clients {
        let ports = [(); 3].map(|()| free_port());
        let mut variables = self.variables[&role].clone();
        for (listener, port) in LISTENERS.into_iter().zip(ports) {
            let name = Key::find(&format!("listen.{listener}")).unwrap().variable();
            let variable = variables.iter_mut().find(|(other, _)| *other == name).unwrap();
            variable.1 = format!("127.0.0.1:{port}");
        }
        self.joined.push(start(&self.program, &variables, role, self.logs.path()).await);
        let mut addresses = self.addresses.clone();
        *addresses.service(role.name()).unwrap() = format!("127.0.0.1:{}", ports[0]);
        Clients::new(&addresses, CONNECTIONS).unwrap()
    }

    /// What starts from now on runs the program of today.
    pub(crate) fn upgrade(&mut self) {
        self.program = PathBuf::from(NEW);
    }

    /// Starts a role that the program before did not know.
    pub(crate) async fn add(&mut self, role: Role) {
        self.absent.retain(|absent| *absent != role);
        self.run_roles().await;
    }

    /// Ends a role in good order and starts it again.
    pub(crate) async fn renew(&mut self, role: Role) {
        let mut process = self.running.remove(&role).unwrap();
        drop(process.stdin.take());
        process.wait().await.unwrap();
        self.run_roles().await;
    }

    /// Brings the databases up to date, as an operator does before an upgrade.
    pub(crate) async fn migrate(&self) {
        let mut migrate = Command::new(NEW);
        let variables = &self.variables[&Role::Orchestrator];
        migrate.arg("migrate").envs(variables.iter().map(|(name, value)| (name, value)));
        let migrated = migrate.output().await.unwrap();
        assert!(migrated.status.success(), "{migrated:?}");
    }

    /// Holds a role still, as a machine does that hangs.
    pub(crate) fn freeze(&self, role: Role) {
        signal(&self.running[&role], Signal::STOP);
    }

    /// Lets a role go on that was held still.
    pub(crate) fn thaw(&self, role: Role) {
        signal(&self.running[&role], Signal::CONT);
    }

    /// Its proxies and clocks.
    pub(crate) fn edges(&self) -> &Edges {
        self.edges.as_ref().unwrap()
    }

    /// Clients of the shop, on connections of their own.
    pub(crate) fn clients(&self) -> Clients {
        Clients::new(&self.addresses, CONNECTIONS).unwrap()
    }

    /// A schema's database.
    pub(crate) fn url(&self, schema: Schema) -> String {
        self.mysql.url_for("root", "", database(schema))
    }

    pub(crate) fn server_url(&self) -> String {
        self.mysql.url()
    }

    pub(crate) fn targets(&self) -> audit::Targets {
        let redis = audit::Redis { url: self.redis.url(), prefix: "commerce".to_owned() };
        audit::Targets {
            wallet: self.url(Schema::Wallet),
            product: self.url(Schema::Product),
            coupon: self.url(Schema::Coupon),
            order: self.url(Schema::Order),
            orchestrator: self.url(Schema::Orchestrator),
            activity: Some(self.url(Schema::Activity)),
            streams: Some(redis.streams().unwrap()),
            ranking: Some(redis),
            relayed_within: None,
        }
    }

    /// Waits until so many sagas are under way and undecided.
    pub(crate) async fn until_in_flight(&self, least: usize) {
        let give_up = Instant::now() + PATIENCE;
        while journal::undecided(&self.server_url()).await < least {
            assert!(Instant::now() < give_up, "never {least} sagas in flight");
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) async fn kill(&mut self, victim: Victim) {
        match victim {
            Victim::Role(role) => self.kill_role(role).await,
            Victim::Database => self.mysql.kill().await.unwrap(),
            Victim::Redis => self.redis.kill().await.unwrap(),
            Victim::Everything => {
                self.signal(Signal::KILL);
                let (database, redis) = tokio::join!(self.mysql.kill(), self.redis.kill());
                database.and(redis).unwrap();
                for mut process in std::mem::take(&mut self.running).into_values() {
                    process.wait().await.unwrap();
                }
            }
        }
    }

    async fn kill_role(&mut self, role: Role) {
        let mut process = self.running.remove(&role).unwrap();
        process.kill().await.unwrap();
    }

    /// Looks at what the kill left while everybody else is held still, and starts the victim again, as it was.
    pub(crate) async fn look_and_revive(&mut self, victim: Victim) -> Left {
        if matches!(victim, Victim::Database | Victim::Everything) {
            // What a database holds that is dead only its successor tells. Meanwhile the roles live without one.
            self.mysql.restart().await.unwrap();
        }
        self.signal(Signal::STOP);
        let left = journal::look(&self.server_url()).await;
        self.signal(Signal::CONT);
        match victim {
            Victim::Role(_) | Victim::Database => {}
            Victim::Redis | Victim::Everything => self.redis.restart().await.unwrap(),
        }
        self.run_roles().await;
        left
    }

    /// Starts the roles that do not run.
    async fn run_roles(&mut self) {
        for role in Role::ALL.into_iter().filter(|role| !self.absent.contains(role)) {
            if !self.running.contains_key(&role) {
                let variables = &self.variables[&role];
                let process = start(&self.program, variables, role, self.logs.path()).await;
                self.running.insert(role, process);
            }
        }
    }

    fn signal(&self, signal: Signal) {
        for process in self.running.values() {
            self::signal(process, signal);
        }
    }

    /// What the roles said.
    pub(crate) fn logs(&self) -> String {
        let log = |role: Role| {
            let text = std::fs::read_to_string(self.logs.path().join(role.name()));
            let text = text.unwrap_or_default();
            let lines: Vec<_> = text.lines().rev().take(30).collect();
            let lines: Vec<_> = lines.into_iter().rev().collect();
            format!("--- {}\n{}\n", role.name(), lines.join("\n"))
        };
        Role::ALL.map(log).concat()
    }

    pub(crate) async fn stop(mut self) {
        for process in self.running.values_mut().chain(&mut self.joined) {
            process.kill().await.unwrap();
        }
        self.redis.stop().await.unwrap();
        self.mysql.stop().await.unwrap();
    }
}

fn signal(process: &Child, signal: Signal) {
    let pid = process.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    kill_process(pid.unwrap(), signal).unwrap();
}

fn database(schema: Schema) -> &'static str {
    match schema {
        Schema::Order => "orders_",
        other => other.name(),
    }
}

/// A role's settings, which name every port: it comes back where it was.
fn variables(
    own: [u16; 3],
    ports: &BTreeMap<Role, [u16; 3]>,
    mysql: &MySql,
    redis: &Redis,
) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut set = |key: &str, value: String| {
        if let Some(key) = Key::find(key) {
            variables.push((key.variable(), value));
        }
    };
    for (listener, port) in LISTENERS.into_iter().zip(own) {
        set(&format!("listen.{listener}"), format!("127.0.0.1:{port}"));
    }
    for schema in Schema::ALL {
        let url = mysql.url_for("root", "", database(schema));
        set(&format!("database.{}.url", schema.name()), url);
    }
    set("redis.url", redis.url());
    set("log.filter", "info".to_owned());
    for (peer, [public, participant, _]) in ports {
        set(&format!("peers.{}.public", peer.name()), format!("http://127.0.0.1:{public}"));
        let participant = format!("http://127.0.0.1:{participant}");
        set(&format!("peers.{}.participant", peer.name()), participant);
    }
    variables
}

async fn start(program: &Path, variables: &[(String, String)], role: Role, logs: &Path) -> Child {
    let log = File::options().create(true).append(true).open(logs.join(role.name())).unwrap();
    let mut process = Command::new(program)
        .args(["--json", "serve", role.name(), "--until-stdin-ends"])
        .envs(variables.iter().map(|(name, value)| (name, value)))
        // Held open by the handle: it ends when this test does, however that is.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
    let ready = tokio::time::timeout(PATIENCE, said.next_line()).await;
    let ready = ready.expect("it is ready in time").unwrap().unwrap_or_default();
    assert!(ready.contains("ready"), "{} is not ready: {ready:?}", role.name());
    process
}

fn free_port() -> u16 {
    loop {
        let port = rand::rng().random_range(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
