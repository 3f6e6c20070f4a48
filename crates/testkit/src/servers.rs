//! The servers of this test program, and databases on them.

use db::{Conn, Db, Options};
use diesel_async::{AsyncConnection, SimpleAsyncConnection};
use embedded::{Listen, MySql, MySqlOptions, Redis, RedisOptions};
use migrations::Schema;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::OnceCell;

/// Smaller files and caches start faster. The log is flushed at every commit all the same.
const SMALL: [&str; 4] = [
    "--innodb-log-file-size=16M",
    "--innodb-fast-shutdown=2",
    "--performance-schema=OFF",
    "--max-connections=1000",
];
const BUFFER_POOL_MIB: u32 = 64;

/// This test program's MariaDB.
pub async fn mysql() -> &'static MySql {
    static SERVER: OnceCell<MySql> = OnceCell::const_new();
    let start = async || {
        let mut options = MySqlOptions::temporary();
        options.buffer_pool_mib = BUFFER_POOL_MIB;
        options.arguments = SMALL.map(str::to_owned).to_vec();
        MySql::start(options).await.expect("a private MariaDB starts")
    };
    SERVER.get_or_init(start).await
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
    let name = fresh_name(prefix);
    let mut conn = Conn::establish(&server.url()).await.expect("the MariaDB answers");
    conn.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a new database");
    server.url_for("root", "", &name)
}

/// A name that no other test of this program has.
pub(crate) fn fresh_name(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
