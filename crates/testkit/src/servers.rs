//! The servers of this test program, and databases on them.

use crate::digests;
use db::{Conn, Db, Options};
use diesel_async::{AsyncConnection, SimpleAsyncConnection};
use embedded::{Listen, MySql, MySqlOptions, Redis, RedisOptions};
use migrations::Schema;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::OnceCell;

/// Smaller caches start faster. The log is flushed at every commit all the same.
const SMALL: [&str; 2] = ["--innodb-fast-shutdown=2", "--max-connections=1000"];
const BUFFER_POOL_MIB: u32 = 64;
const REDO_LOG_MIB: u32 = 16;
/// Names a server that is there already, by its URL: `mysql://USER:PASSWORD@HOST:PORT/`, a user with all rights.
const GIVEN: &str = "TEST_MYSQL_URL";

/// The MariaDB or MySQL that a test program works on.
pub enum Server {
    /// Started by this test program, and ended with it.
    Private(MySql),
    /// The one that `TEST_MYSQL_URL` names. What tests make there stays.
    Given(Given),
}

/// A URL in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// `USER:PASSWORD`, or `USER`.
    credentials: String,
    /// `HOST:PORT`, or `HOST`.
    host: String,
    /// Empty, or from the `?` on.
    query: String,
}

impl Server {
    /// Its URL with no schema chosen, as a user with all rights.
    pub fn url(&self) -> String {
        self.url_of("")
    }

    /// The URL of a schema, as a user with all rights.
    pub fn url_of(&self, schema: &str) -> String {
        match self {
            Self::Private(server) => server.url_for("root", "", schema),
            Self::Given(given) => given.url(&given.credentials, schema),
        }
    }

    /// The URL of a schema as another user, who has a password.
    pub fn url_for(&self, user: &str, password: &str, schema: &str) -> String {
        match self {
            Self::Private(server) => server.url_for(user, password, schema),
            Self::Given(given) => given.url(&format!("{user}:{password}"), schema),
        }
    }
}

impl Given {
    fn parse(url: &str) -> Option<Self> {
        let (head, query) = url.split_at(url.find('?').unwrap_or(url.len()));
        let (credentials, place) = head.strip_prefix("mysql://")?.rsplit_once('@')?;
        let (host, schema) = place.split_once('/').unwrap_or((place, ""));
        if credentials.is_empty() || host.is_empty() || !schema.is_empty() {
            return None;
        }
        let [credentials, host, query] = [credentials, host, query].map(str::to_owned);
        Some(Self { credentials, host, query })
    }

    fn url(&self, credentials: &str, schema: &str) -> String {
        let Self { host, query, .. } = self;
        format!("mysql://{credentials}@{host}/{schema}{query}")
    }
}

/// The MariaDB or MySQL of this test program: one of its own, unless `TEST_MYSQL_URL` names another.
pub async fn mysql() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(start).await
}

async fn start() -> Server {
    if let Some(url) = std::env::var(GIVEN).ok().filter(|url| !url.is_empty()) {
        let given = Given::parse(&url);
        let needed = "TEST_MYSQL_URL is mysql://USER:PASSWORD@HOST:PORT/, without a schema";
        return Server::Given(given.expect(needed));
    }
    let mut options = MySqlOptions::temporary();
    options.buffer_pool_mib = BUFFER_POOL_MIB;
    options.redo_log_mib = Some(REDO_LOG_MIB);
    options.arguments = SMALL.map(str::to_owned).to_vec();
    digests::watch();
    Server::Private(MySql::start(options).await.expect("a private MariaDB starts"))
}

/// This test program's Redis: shared, so that keys need a prefix of their own.
pub async fn redis() -> &'static Redis {
    static SERVER: OnceCell<Redis> = OnceCell::const_new();
    SERVER.get_or_init(fresh_redis).await
}

/// The URL of [`redis`].
pub async fn redis_url() -> String {
    redis().await.url()
}

pub(crate) async fn fresh_redis() -> Redis {
    let mut options = RedisOptions::temporary();
    options.listen = Listen::Socket;
    Redis::start(options).await.expect("a private Redis starts")
}

/// A fresh, migrated database of a schema: a pool for it, and its URL.
pub async fn database(schema: Schema) -> (Db, String) {
    let url = fresh_database(schema.name()).await;
    migrations::run(schema, &url).await.expect("the schema migrates");
    let db = Db::open(Options::new(url.clone())).await.expect("the database opens");
    (db, url)
}

/// The URL of a fresh, empty database whose name begins with `prefix`.
pub async fn fresh_database(prefix: &str) -> String {
    let server = mysql().await;
    let name = match server {
        Server::Private(_) => fresh_name(prefix),
        // Other programs use it too, and earlier ones did.
        Server::Given(_) => format!("test_{prefix}_{}", uuid::Uuid::now_v7().simple()),
    };
    let mut conn = Conn::establish(&server.url()).await.expect("the database server answers");
    conn.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a new database");
    server.url_of(&name)
}

/// A name that no other test of this program has.
pub(crate) fn fresh_name(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_server_is_known_by_its_url() {
        let given = Given::parse("mysql://me:se@cret@db.example:3307/?prefer_socket=false");
        let server = Server::Given(given.expect("a URL"));
        assert_eq!(server.url(), "mysql://me:se@cret@db.example:3307/?prefer_socket=false");
        let shop = "mysql://me:se@cret@db.example:3307/shop?prefer_socket=false";
        assert_eq!(server.url_of("shop"), shop);
        let other = "mysql://you:word@db.example:3307/shop?prefer_socket=false";
        assert_eq!(server.url_for("you", "word", "shop"), other);
        let plain = Server::Given(Given::parse("mysql://me@db.example").expect("a URL"));
        assert_eq!(plain.url_of("shop"), "mysql://me@db.example/shop");
        for bad in ["", "http://me@here/", "mysql://here/", "mysql://me@here/shop", "mysql://@here"]
        {
            assert_eq!(Given::parse(bad), None, "{bad}");
        }
    }
}
