//! Three database servers that replicate among themselves, with one writer.

use db::Conn;
use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use embedded::{Listen, MySql, MySqlOptions};
use migrations::Schema;
use rand::Rng;
use rustix::process::{Pid, Signal, kill_process};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// What begins the names of the shop's databases.
const PREFIX: &str = "commerce_";
/// The shop's user. It may do anything to its databases and nothing to the server, so that `read_only` binds it.
const USER: &str = "shop";
const PASSWORD: &str = "secret";
/// Any will do: there is no other group here.
const GROUP: &str = "6f4b6b8e-0000-4000-8000-0123456789ab";
const NODES: usize = 3;
/// How long a node may take to join.
const PATIENCE: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(200);
/// How long a node may take to say how it is.
const WORD: Duration = Duration::from_secs(1);
/// Below the system's range for outgoing connections.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// What keeps the servers alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// MySQL with Group Replication and one primary.
    GroupReplication,
    /// MariaDB with Galera and one writer.
    Galera,
}

/// The servers. They end with this handle.
pub(crate) struct Cluster {
    pub(crate) kind: Kind,
    nodes: Vec<MySql>,
}

/// How a node says it is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Health {
    /// It may be written to, and what it tells is the cluster's truth as far as it knows.
    pub(crate) is_writable: bool,
    /// It has applied all that it received.
    pub(crate) is_current: bool,
    /// Nodes that it sees, itself included.
    pub(crate) members: i64,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    is_writable: i64,
    #[diesel(sql_type = BigInt)]
    is_current: i64,
    #[diesel(sql_type = BigInt)]
    members: i64,
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

const GROUP_HEALTH: &str = "
SELECT CAST(COALESCE(SUM(member_id = @@server_uuid AND member_state = 'ONLINE' AND member_role = 'PRIMARY'), 0) > 0
            AND @@super_read_only = 0 AS SIGNED) AS is_writable,
       1 AS is_current,
       CAST(COALESCE(SUM(member_state = 'ONLINE'), 0) AS SIGNED) AS members
FROM performance_schema.replication_group_members";

const GALERA_HEALTH: &str = "
SELECT CAST(SUM(variable_name = 'WSREP_READY' AND variable_value = 'ON'
                OR variable_name = 'WSREP_CLUSTER_STATUS' AND variable_value = 'Primary'
                OR variable_name = 'WSREP_LOCAL_STATE_COMMENT' AND variable_value = 'Synced') = 3
            AND @@read_only = 0 AS SIGNED) AS is_writable,
       CAST(SUM(IF(variable_name = 'WSREP_LOCAL_RECV_QUEUE', variable_value, 0)) = 0 AS SIGNED) AS is_current,
       CAST(SUM(IF(variable_name = 'WSREP_CLUSTER_SIZE', variable_value, 0)) AS SIGNED) AS members
FROM information_schema.global_status
WHERE variable_name IN ('WSREP_READY', 'WSREP_CLUSTER_STATUS', 'WSREP_LOCAL_STATE_COMMENT',
                        'WSREP_LOCAL_RECV_QUEUE', 'WSREP_CLUSTER_SIZE')";

impl Cluster {
    /// All nodes are members, and the shop's databases and user are there.
    pub(crate) async fn start(kind: Kind) -> Self {
        let mut cluster = Self { kind, nodes: Vec::new() };
        let ports = [(); NODES].map(|()| free_port());
        for number in 0..NODES {
            let options = match kind {
                Kind::GroupReplication => group_member(number, ports),
                Kind::Galera => galera_node(number, ports),
            };
            cluster.nodes.push(MySql::start(options).await.unwrap());
            if kind == Kind::GroupReplication {
                cluster.join_group(number).await;
            }
            cluster.until_members(number + 1).await;
        }
        for schema in Schema::ALL {
            let name = format!("{PREFIX}{}", schema.name());
            let create =
                format!("CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
            cluster.run_on(0, &create).await;
        }
        let pattern = PREFIX.replace('_', "\\_");
        cluster.run_on(0, &format!("CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'")).await;
        cluster.run_on(0, &format!("GRANT ALL ON `{pattern}%`.* TO '{USER}'@'%'")).await;
        cluster
    }

    async fn join_group(&self, number: usize) {
        let source = "CHANGE REPLICATION SOURCE TO SOURCE_USER = 'root' FOR CHANNEL 'group_replication_recovery'";
        self.run_on(number, source).await;
        if number == 0 {
            self.run_on(0, "SET GLOBAL group_replication_bootstrap_group = ON").await;
        }
        self.run_on(number, "START GROUP_REPLICATION").await;
        if number == 0 {
            self.run_on(0, "SET GLOBAL group_replication_bootstrap_group = OFF").await;
        }
    }

    /// Waits until the first so many nodes see each other, and the first may be written to.
    async fn until_members(&self, count: usize) {
        let give_up = Instant::now() + PATIENCE;
        let expected = i64::try_from(count).unwrap();
        loop {
            let mut health = Vec::new();
            for number in 0..count {
                health.push(self.health(number).await.unwrap_or_default());
            }
            let all = health.iter().all(|node| node.members == expected && node.is_current);
            let written = match self.kind {
                Kind::GroupReplication => health[0].is_writable,
                Kind::Galera => health.iter().all(|node| node.is_writable),
            };
            if all && written {
                return;
            }
            assert!(Instant::now() < give_up, "not {count} members in time: {health:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Numbers of the nodes, in the order in which they become the one that is written to.
    pub(crate) fn numbers(&self) -> std::ops::Range<usize> {
        0..self.nodes.len()
    }

    /// How a node says it is; `None` when it does not say so within a second.
    pub(crate) async fn health(&self, number: usize) -> Option<Health> {
        let sql = match self.kind {
            Kind::GroupReplication => GROUP_HEALTH,
            Kind::Galera => GALERA_HEALTH,
        };
        let url = self.nodes[number].url();
        let asking = async {
            let mut conn = Conn::establish(&url).await.ok()?;
            sql_query(sql).get_result::<Row>(&mut conn).await.ok()
        };
        let Row { is_writable, is_current, members } = timeout(WORD, asking).await.ok()??;
        Some(Health { is_writable: is_writable == 1, is_current: is_current == 1, members })
    }

    /// The URL of a node for the shop.
    pub(crate) fn shop_url(&self, number: usize) -> String {
        self.nodes[number].url_for(USER, PASSWORD, "")
    }

    /// The URL of a schema's database on a node, as a user with all rights.
    pub(crate) fn url_of(&self, number: usize, schema: Schema) -> String {
        self.nodes[number].url_for("root", "", &format!("{PREFIX}{}", schema.name()))
    }

    pub(crate) async fn kill(&self, number: usize) {
        self.nodes[number].kill().await.unwrap();
    }

    /// Holds a node still.
    pub(crate) fn freeze(&self, number: usize) {
        self.signal(number, Signal::STOP);
    }

    /// Lets a node go on that was held still.
    pub(crate) fn thaw(&self, number: usize) {
        self.signal(number, Signal::CONT);
    }

    fn signal(&self, number: usize, signal: Signal) {
        let pid = self.nodes[number].pid().and_then(|pid| i32::try_from(pid).ok());
        kill_process(pid.and_then(Pid::from_raw).unwrap(), signal).unwrap();
    }

    /// Waits until a node that was away is a member again.
    pub(crate) async fn until_back(&self, number: usize) {
        let give_up = Instant::now() + PATIENCE;
        let nodes = i64::try_from(NODES).unwrap();
        let others: Vec<_> = self.numbers().filter(|other| *other != number).collect();
        loop {
            let seen = self.health(others[0]).await.unwrap_or_default().members;
            let own = self.health(number).await.unwrap_or_default();
            if seen == nodes && own.members == nodes && own.is_current {
                return;
            }
            assert!(Instant::now() < give_up, "node {number} is not back: {seen} members, {own:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A node refuses writes from now on, as one does that an operator demotes.
    pub(crate) async fn forbid_writes(&self, number: usize) {
        let variable = match self.kind {
            Kind::GroupReplication => "super_read_only",
            Kind::Galera => "read_only",
        };
        self.run_on(number, &format!("SET GLOBAL {variable} = ON")).await;
    }

    /// Makes another node the one that may be written to, where the cluster decides that.
    pub(crate) async fn promote(&self, number: usize) {
        if self.kind == Kind::Galera {
            return;
        }
        let mut conn = Conn::establish(&self.nodes[number].url()).await.unwrap();
        let name: Name =
            sql_query("SELECT @@server_uuid AS name").get_result(&mut conn).await.unwrap();
        let promote = format!("SELECT group_replication_set_as_primary('{}')", name.name);
        timeout(PATIENCE, conn.batch_execute(&promote)).await.unwrap().unwrap();
    }

    async fn run_on(&self, number: usize, sql: &str) {
        let url = self.nodes[number].url();
        let executing = async {
            let mut conn = Conn::establish(&url).await.unwrap();
            conn.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        };
        timeout(PATIENCE, executing).await.unwrap_or_else(|_| panic!("not in time: {sql}"));
    }

    /// Ends all nodes, frozen or not.
    pub(crate) async fn stop(self) {
        for node in &self.nodes {
            node.kill().await.unwrap();
        }
    }
}

/// What both kinds have: small, on a port, and as durable as the shop demands.
fn node(program: &str) -> MySqlOptions {
    let named = std::env::var_os(program).unwrap_or_else(|| panic!("{program} names no server"));
    let mut options = MySqlOptions::temporary();
    options.program = Some(PathBuf::from(named));
    options.listen = Listen::Tcp;
    options.buffer_pool_mib = 64;
    options.redo_log_mib = Some(32);
    options
}

fn group_member(number: usize, ports: [u16; NODES]) -> MySqlOptions {
    let mut options = node("EMBEDDED_MYSQLD");
    options.binlog = true;
    let seeds = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
    let group = |name: &str, value: &str| format!("--loose-group-replication-{name}={value}");
    options.arguments = vec![
        format!("--server-id={}", number + 1),
        "--gtid-mode=ON".to_owned(),
        "--enforce-gtid-consistency=ON".to_owned(),
        "--report-host=127.0.0.1".to_owned(),
        // Who is primary stands there.
        "--performance-schema=ON".to_owned(),
        "--plugin-load-add=group_replication.so".to_owned(),
        group("group-name", GROUP),
        group("start-on-boot", "OFF"),
        group("local-address", &format!("127.0.0.1:{}", ports[number])),
        group("group-seeds", &seeds),
        group("communication-stack", "XCOM"),
        // Who is silent for 5 s is out.
        group("member-expel-timeout", "0"),
        group("recovery-get-public-key", "ON"),
    ];
    options
}

fn galera_node(number: usize, ports: [u16; NODES]) -> MySqlOptions {
    let mut options = node("EMBEDDED_GALERA");
    options.binlog = false;
    let program = options.program.as_ref().unwrap();
    let usr = program.parent().and_then(std::path::Path::parent).unwrap();
    let library = usr.join("lib/libgalera_smm.so");
    let all = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
    let port = ports[number];
    let (transfer, increments) = (free_port(), free_port());
    options.arguments = vec![
        "--binlog-format=ROW".to_owned(),
        "--innodb-autoinc-lock-mode=2".to_owned(),
        "--wsrep-on=ON".to_owned(),
        format!("--wsrep-provider={}", library.display()),
        format!("--wsrep-cluster-address=gcomm://{all}"),
        "--wsrep-node-address=127.0.0.1".to_owned(),
        format!("--wsrep-node-name=node-{number}"),
        "--wsrep-sst-method=rsync".to_owned(),
        format!("--wsrep-sst-receive-address=127.0.0.1:{transfer}"),
        format!(
            "--wsrep-provider-options=base_port={port};gmcast.listen_addr=tcp://127.0.0.1:{port};\
             ist.recv_addr=127.0.0.1:{increments};gcache.size=32M"
        ),
    ];
    if number == 0 {
        options.arguments.push("--wsrep-new-cluster".to_owned());
    }
    options
}

pub(crate) fn free_port() -> u16 {
    loop {
        let port = rand::rng().random_range(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
