//! Migrations, under a lock: several replicas may start at once.

use crate::{Conn, Error, Result};
use diesel::sql_types::{Integer, Text};
use diesel_async::{AsyncConnection, AsyncMigrationHarness, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

diesel::define_sql_function! {
    /// Takes a server-wide lock by name, waiting this many seconds.
    fn get_lock(name: Text, seconds: Integer) -> Nullable<Integer>;
}

/// How long a replica waits for another one's migrations.
const WAIT_SECONDS: i32 = 60;

/// Brings the schema of `url` up to date and returns the versions that were applied.
///
/// Needs a multi-threaded runtime. The lock is the connection's, so it ends with it.
///
/// # Errors
/// [`Error::Busy`] when another replica migrates for longer than a minute; [`Error::Server`] naming the migration that failed.
pub async fn migrate(url: &str, migrations: EmbeddedMigrations) -> Result<Vec<String>> {
    let schema = url.rsplit('/').next().unwrap_or_default().split('?').next().unwrap_or_default();
    let mut conn = Conn::establish(url).await?;
    let lock = format!("commerce.migrate.{schema}");
    let taken =
        diesel::select(get_lock(lock, WAIT_SECONDS)).get_result::<Option<i32>>(&mut conn).await?;
    if taken != Some(1) {
        return Err(Error::Busy);
    }
    let mut harness = AsyncMigrationHarness::new(conn);
    let applied = tokio::task::block_in_place(|| {
        harness
            .run_pending_migrations(migrations)
            .map(|versions| versions.iter().map(ToString::to_string).collect())
            .map_err(|error| Error::Server(format!("migrating {schema}: {error}")))
    })?;
    Ok(applied)
}
