//! The roles of one process, put together: databases, services, the ways between them, relays, listeners.
//!
//! A service of this process is reached in process, one of another by `peers.*`.

mod files;
mod health;
mod links;
mod ports;
pub mod schemas;
mod services;

use crate::config::{Config, Limits, Problem};
use crate::durability;
use crate::roles::{Role, Roles};
use anyhow::{Context, Result};
use db::Db;
use migrations::Schema;
use platform::server::{Listener, Settings};
use platform::{Origins, Probe, Server, supervised};
use serde::Serialize;
use services::Services;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long sagas in flight may take to end before the rest is left to recovery.
const SAGAS_END: Duration = Duration::from_secs(5);
/// How long lanes and relays may take to end.
const TASKS_END: Duration = Duration::from_secs(5);

/// How often each step was called, by its name in the contract.
pub type Counts = BTreeMap<String, u64>;

/// Where the listeners of a process are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Listening {
    /// Clients' services.
    pub public: SocketAddr,
    /// The saga's steps; absent where the process has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<SocketAddr>,
    /// Administration.
    pub admin: SocketAddr,
}

/// A process that serves its roles.
pub struct Process {
    listening: Listening,
    services: Services,
    serving: JoinHandle<Result<(), platform::server::Error>>,
    shutdown: CancellationToken,
    background: CancellationToken,
    tasks: TaskTracker,
}

impl Process {
    /// Refuses a configuration under which these roles cannot work. Starts nothing.
    ///
    /// # Errors
    /// [`Problem::Needed`] naming the missing key.
    pub fn check(config: &Config, roles: &Roles) -> Result<(), Problem> {
        if *roles == Roles::from(Role::Activity) && !config.activity.enabled {
            let (key, allowed) = ("activity.enabled", "true where the only role is activity");
            return Err(Problem::Clash { key: key.to_owned(), allowed: allowed.to_owned() });
        }
        for role in roles.iter() {
            if let Some(schema) = role.schema()
                && config.database.schema_url(schema).is_none()
            {
                return Err(Problem::needed("database.url", role.name()));
            }
            if role.needs_redis() && config.redis.url().is_none() {
                return Err(Problem::needed("redis.url", role.name()));
            }
        }
        links::check(config, roles)
    }

    /// Refuses ports that are taken. Starts nothing.
    ///
    /// # Errors
    /// [`Problem::Listener`] naming the key to change.
    pub fn check_ports(config: &Config, roles: &Roles) -> Result<(), Problem> {
        ports::check(config, roles)
    }

    /// Starts the roles. They take calls when this returns.
    ///
    /// # Errors
    /// A configuration, database or Redis that cannot be worked with; a port that is taken.
    pub async fn start(config: &Config, roles: &Roles) -> Result<Self> {
        Self::check(config, roles)?;
        files::raise_limit();
        Self::check_ports(config, roles)?;
        prepare_databases(config, schemas(roles), config.database.migrate).await?;
        let tasks = TaskTracker::new();
        let background = CancellationToken::new();
        let shutdown = CancellationToken::new();
        let started = async {
            let services = Services::start(config, roles, &tasks, &background, &shutdown).await?;
            let server = bind(config, roles, &services, &tasks).await?;
            Ok((services, server))
        };
        let (services, server) = match started.await {
            Ok(started) => started,
            Err(error) => {
                // What was started would go on, and complain of what is taken from it.
                shutdown.cancel();
                background.cancel();
                tasks.close();
                let _ = tokio::time::timeout(TASKS_END, tasks.wait()).await;
                return Err(error);
            }
        };
        let address = |name| server.address(name);
        let listening = Listening {
            public: address(PUBLIC).context("the public listener is open")?,
            participant: address(PARTICIPANT),
            admin: address(ADMIN).context("the admin listener is open")?,
        };
        let (health, probes): (_, Arc<[Probe]>) = (server.health(), services.probes().into());
        let serving = tokio::spawn(server.serve(shutdown.clone().cancelled_owned()));
        // What can answer is ready when this returns.
        health.look(&probes).await;
        let stop = shutdown.clone();
        tasks.spawn(supervised("health", stop.clone(), move || {
            health.clone().watch(Arc::clone(&probes), stop.clone())
        }));
        Ok(Self { listening, services, serving, shutdown, background, tasks })
    }

    /// Where it listens.
    pub fn listening(&self) -> Listening {
        self.listening
    }

    /// Waits until a listener breaks down, which none should.
    ///
    /// # Errors
    /// Why it did.
    pub async fn broken(&mut self) -> Result<()> {
        (&mut self.serving).await.context("a listener panicked")?.context("a listener broke down")
    }

    /// How often each step was called.
    pub fn calls(&self) -> Counts {
        self.services.calls()
    }

    /// How many calls were told that a coupon campaign is sold out, by who knew it.
    pub fn turned_away(&self) -> coupon::TurnedAway {
        self.services.turned_away()
    }

    /// Ends it in good order: no more calls, those in flight answered, sagas ended, lanes drained.
    pub async fn stop(self) {
        self.shutdown.cancel();
        if !self.serving.is_finished() {
            // What it has to say was logged.
            let _ = self.serving.await;
        }
        self.services.close(SAGAS_END).await;
        self.background.cancel();
        self.tasks.close();
        if tokio::time::timeout(TASKS_END, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "ended with tasks running");
        }
    }
}

const PUBLIC: &str = "public";
const PARTICIPANT: &str = "participant";
const ADMIN: &str = "admin";

async fn bind(
    config: &Config,
    roles: &Roles,
    services: &Services,
    tasks: &TaskTracker,
) -> Result<Server> {
    let listen = config.listen;
    let web = config.web.allowed_origins.as_deref().map(str::parse).transpose()?;
    let (public, admin) = (services.public(), services.admin());
    let mut listeners = vec![
        listener(PUBLIC, listen.public, public, web.clone())?,
        listener(ADMIN, listen.admin, admin, web)?,
    ];
    if roles.iter().any(Role::is_participant) {
        let services = services.participants(config.limits.in_flight, tasks);
        listeners.push(listener(PARTICIPANT, listen.participant, services, None)?);
    }
    let Limits { connections, streams, in_flight, connection_age, drain, .. } = config.limits;
    let limits = platform::Limits {
        max_calls: in_flight,
        max_answer: connection_age.into(),
        ..platform::Limits::default()
    };
    let settings = Settings {
        limits,
        max_connections: connections,
        max_streams: streams,
        max_connection_age: connection_age.into(),
        drain: drain.into(),
        ..Settings::default()
    };
    let bound = Server::bind(settings, listeners).await;
    bound.map_err(|error| match error {
        platform::server::Error::Bind { name, address, source } => {
            ports::refuse(name, address, &source).into()
        }
        other => other.into(),
    })
}

/// A listener whose reflection describes what it offers, and nothing else.
fn listener(
    name: &'static str,
    address: SocketAddr,
    services: platform::Services,
    web: Option<Origins>,
) -> Result<Listener> {
    let descriptors = api::descriptors::of_services(services.names())?;
    Ok(Listener { name, address, services, descriptors, web })
}

/// The schemas that the roles own.
pub fn schemas(roles: &Roles) -> Vec<Schema> {
    roles.iter().filter_map(Role::schema).collect()
}

/// Checks that the databases are durable, and brings them up to date if asked to.
///
/// # Errors
/// [`durability::Unfit`]; [`schemas::NotMigrated`] where something is missing that it may not make; those of the databases.
pub async fn prepare_databases(
    config: &Config,
    schemas: Vec<Schema>,
    migrate: bool,
) -> Result<Vec<(Schema, Vec<String>)>> {
    let mut checked = BTreeSet::new();
    let mut applied = Vec::new();
    for schema in schemas {
        let Some(url) = config.database.schema_url(schema) else { continue };
        schemas::check_database(&url).await?;
        if checked.insert(server_of(&url).to_owned()) {
            durability::check(&url).await?;
        }
        if migrate {
            let versions = migrations::run(schema, &url).await;
            let versions =
                versions.with_context(|| format!("migrating the schema {}", schema.name()))?;
            applied.push((schema, versions));
        } else {
            schemas::check_tables(schema, &url).await?;
        }
    }
    Ok(applied)
}

/// A pool for a schema.
///
/// # Errors
/// [`Problem::Needed`] where none is configured.
pub async fn open(config: &Config, schema: Schema) -> Result<Db> {
    open_pool(config, schema, config.database.pool_size).await
}

/// A pool of so many connections for a schema.
async fn open_pool(config: &Config, schema: Schema, pool_size: u32) -> Result<Db> {
    let url = config.database.schema_url(schema);
    let url = url.ok_or_else(|| Problem::needed("database.url", schema.name()))?;
    let options = db::Options {
        pool_size,
        acquire_timeout: config.database.acquire_timeout.into(),
        ..db::Options::new(url)
    };
    Ok(Db::open(options).await?)
}

/// What comes before a URL's schema: the same for all schemas of one server and user.
fn server_of(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, host)| host.split('/').next().unwrap_or(host))
}
