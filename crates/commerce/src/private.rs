//! Private servers for a shop that was given none: a MariaDB (or MySQL) and a Redis in a folder, durable, ended with us.
//!
//! Each service gets a database user with rights on its own schema only, and an `auditor` may read all of them. The users
//! have no passwords: the servers listen on sockets in a folder that only this system user can enter.

use crate::config::Config;
use anyhow::{Context, Result};
use db::Conn;
use diesel_async::{AsyncConnection, SimpleAsyncConnection};
use embedded::{MySql, MySqlOptions, Redis, RedisOptions};
use migrations::Schema;
use std::future;
use std::path::Path;

/// The user who may read everything and change nothing.
const AUDITOR: &str = "auditor";
/// Larger than what a burst of orders writes between two checkpoints.
const REDO_LOG_MIB: u32 = 256;
/// Room for many lanes.
const CONNECTIONS: &str = "--max-connections=1000";

/// The servers that were started; those that were configured are not ours.
pub struct PrivateServers {
    mysql: Option<MySql>,
    redis: Option<Redis>,
}

impl PrivateServers {
    /// Starts what is not configured, in `config.data_dir`, and writes into `config` where it is.
    ///
    /// # Errors
    /// Server programs that are not installed, a folder that another program uses, servers that do not come up.
    pub async fn start(config: &mut Config) -> Result<Self> {
        let mut servers = Self { mysql: None, redis: None };
        if !config.database.is_configured() {
            servers.mysql = Some(start_mysql(config).await?);
        }
        if config.redis.url().is_none() {
            servers.redis = Some(start_redis(config).await?);
        }
        Ok(servers)
    }

    /// Whether a data folder has a database server's data. Makes nothing.
    pub fn has_data(data_dir: &Path) -> bool {
        folder(data_dir, "mysql").join("data").exists()
    }

    /// The database server with all rights, if it is ours.
    pub fn server_url(&self) -> Option<String> {
        self.mysql.as_ref().map(MySql::url)
    }

    /// Waits until one of them ends by itself, which none should.
    ///
    /// # Errors
    /// Which, with the end of its log.
    pub async fn broken(&self) -> Result<()> {
        let mysql = async {
            match &self.mysql {
                Some(server) => server.ended().await,
                None => future::pending().await,
            }
        };
        let redis = async {
            match &self.redis {
                Some(server) => server.ended().await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            ended = mysql => ended.context("the private database server is gone"),
            ended = redis => ended.context("the private Redis is gone"),
        }
    }

    /// Ends them in good order. What is left of them, the next start finds.
    ///
    /// # Errors
    /// A server that cannot be ended.
    pub async fn stop(self) -> Result<()> {
        if let Some(redis) = self.redis {
            redis.stop().await.context("ending the private Redis")?;
        }
        if let Some(mysql) = self.mysql {
            mysql.stop().await.context("ending the private database server")?;
        }
        Ok(())
    }
}

async fn start_mysql(config: &mut Config) -> Result<MySql> {
    let mut options = MySqlOptions::kept(folder(&config.data_dir, "mysql"));
    options.redo_log_mib = Some(REDO_LOG_MIB);
    options.arguments = vec![CONNECTIONS.to_owned()];
    let server = MySql::start(options).await.context("starting a private database server")?;
    make_databases(&server.url(), config).await.context("making the databases")?;
    let names = Schema::ALL.map(|schema| (schema, config.database.name(schema)));
    let name = |schema: Schema| {
        let found = names.iter().find(|(other, _)| *other == schema);
        found.map(|(_, name)| name.as_str()).unwrap_or_default()
    };
    config.use_databases(
        |schema| server.url_for(schema.name(), "", name(schema)),
        server.url_for(AUDITOR, "", ""),
    );
    Ok(server)
}

async fn start_redis(config: &mut Config) -> Result<Redis> {
    let options = RedisOptions::kept(folder(&config.data_dir, "redis"));
    let server = Redis::start(options).await.context("starting a private Redis")?;
    config.use_redis(server.url());
    Ok(server)
}

async fn make_databases(server: &str, config: &Config) -> Result<()> {
    let mut conn = Conn::establish(server).await?;
    conn.batch_execute(&format!("CREATE USER IF NOT EXISTS '{AUDITOR}'@'localhost'")).await?;
    for schema in Schema::ALL {
        let (user, name) = (schema.name(), config.database.name(schema));
        // In a GRANT an underscore stands for any character.
        let pattern = name.replace('_', "\\_");
        conn.batch_execute(&format!(
            "CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin; \
             CREATE USER IF NOT EXISTS '{user}'@'localhost'; \
             GRANT ALL ON `{pattern}`.* TO '{user}'@'localhost'; \
             GRANT SELECT, CREATE TEMPORARY TABLES ON `{pattern}`.* TO '{AUDITOR}'@'localhost'"
        ))
        .await
        .with_context(|| format!("making the database {name}"))?;
    }
    Ok(())
}

fn folder(data_dir: &Path, name: &str) -> std::path::PathBuf {
    data_dir.join(name)
}
