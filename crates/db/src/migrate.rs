//! Migrations, under a lock, one statement at a time: a run that was cut off anywhere is finished by the next one.
//!
//! Neither server rolls DDL back, so a killed run leaves statements that ran in a migration that is not recorded. Each
//! statement is therefore looked at before it is sent (see [`Statement`]): what already has the intended shape is left,
//! what has another one is an error that names the difference.

mod shape;
mod statement;
mod token;

use crate::{Conflict, Conn, Error, Result};
use diesel::sql_types::{Integer, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use shape::{Shape, Shapes};
use statement::{Change, Statement};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

diesel::define_sql_function! {
    /// Takes a server-wide lock by name, waiting this many seconds.
    fn get_lock(name: Text, seconds: Integer) -> Nullable<Integer>;
}

/// How long a replica waits for another one's migrations.
const WAIT: Duration = Duration::from_mins(1);
/// Seconds of one attempt at the lock: short, so that no message to the server is awaited for long.
const ATTEMPT_SECONDS: i32 = 1;
/// The longest lock name of MySQL, in characters.
const LOCK_NAME: usize = 64;
/// Attempts at a statement that waits for a table which a transaction holds, each of `lock_wait_timeout`.
const ATTEMPTS: u32 = 6;
/// What records the versions. Diesel's own tools know the name.
const VERSIONS: &str = "__diesel_schema_migrations";

/// The session that migrates loses its lock after 5 s of silence, waits 10 s for a table at most (all others wait behind
/// it), and commits each statement by itself.
const SETUP: &str = "SET SESSION wait_timeout = 5; SET SESSION lock_wait_timeout = 10; SET SESSION autocommit = 1; \
    SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'";

/// One step of a schema's history: statements that can be run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Its folder, such as `2026-11-23-000001_saga`. What comes before the first underscore is its version.
    pub name: &'static str,
    /// Its statements.
    pub sql: &'static str,
}

/// A migration of the crate that this stands in, whose file is `migrations/<name>/up.sql` in its folder.
#[macro_export]
macro_rules! migration {
    ($name:literal) => {
        $crate::Migration {
            name: $name,
            sql: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/migrations/",
                $name,
                "/up.sql"
            )),
        }
    };
}

/// The tables that every schema has: how late it certainly is, and how the clocks of its replicas stand.
pub const MIGRATIONS: &[Migration] = &[
    crate::migration!("2026-11-28-000301_clock_mark"),
    crate::migration!("2026-11-28-000302_replica_clock"),
];

impl Migration {
    /// The version as it is recorded: the name's digits up to the first underscore.
    pub fn version(&self) -> String {
        self.name.split('_').next().unwrap_or_default().replace('-', "")
    }

    /// Checks that every statement can be run again after a run that was cut off.
    ///
    /// # Errors
    /// [`Error::Server`] naming the first statement that cannot.
    pub fn check(&self) -> Result<()> {
        self.statements().map(|_| ())
    }

    fn statements(&self) -> Result<Vec<Statement>> {
        Statement::all(self.sql).map_err(|problem| self.error(&problem))
    }

    fn error(&self, problem: &impl std::fmt::Display) -> Error {
        Error::Server(format!("migration {}: {problem}", self.name))
    }
}

/// Brings the schema of `url` up to date and returns the versions that were applied.
///
/// # Errors
/// [`Error::Busy`] when another replica migrates for longer than a minute; [`Error::Server`] naming the migration that
/// failed, and what stands in its way.
pub async fn migrate(url: &str, migrations: &[Migration]) -> Result<Vec<String>> {
    migrate_watched(url, migrations, &mut |_| true).await
}

/// Like [`migrate`], but shows each statement before it is sent, and ends the session without a word, as a killed process
/// does, when it is told `false`.
///
/// # Errors
/// Those of [`migrate`]; [`Error::Lost`] when it was told to end.
#[doc(hidden)]
pub async fn migrate_watched(
    url: &str,
    migrations: &[Migration],
    watch: &mut (dyn FnMut(&str) -> bool + Send),
) -> Result<Vec<String>> {
    let mut migrator = Migrator { conn: Conn::establish(url).await?, watch };
    migrator.conn.batch_execute(SETUP).await?;
    if migrator.pending(migrations).await?.is_empty() {
        return Ok(Vec::new());
    }
    let lock = lock_name(url);
    migrator.lock(&lock).await?;
    migrator.make_versions().await?;
    // Another replica may have applied some while this one waited.
    let pending = migrator.pending(migrations).await?;
    let mut applied = Vec::new();
    for migration in &pending {
        migrator.apply(migration).await?;
        applied.push(migration.version());
    }
    migrator.conn.batch_execute(&format!("DO RELEASE_LOCK('{lock}')")).await?;
    Ok(applied)
}

/// The names of the migrations that the schema of `url` lacks. Changes nothing.
///
/// # Errors
/// Those of the database.
pub async fn pending(url: &str, migrations: &[Migration]) -> Result<Vec<&'static str>> {
    let mut migrator = Migrator { conn: Conn::establish(url).await?, watch: &mut |_| false };
    let pending = migrator.pending(migrations).await?;
    Ok(pending.into_iter().map(|migration| migration.name).collect())
}

/// The session that holds the lock: it runs every statement, so that none runs without the lock.
struct Migrator<'a> {
    conn: Conn,
    watch: &'a mut (dyn FnMut(&str) -> bool + Send),
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = Text)]
    version: String,
}

impl Migrator<'_> {
    /// Those that are not recorded, oldest first, all of them checked.
    async fn pending(&mut self, migrations: &[Migration]) -> Result<Vec<Migration>> {
        let recorded = self.recorded().await?;
        let is_pending = |it: &&Migration| !recorded.contains(&it.version());
        let mut pending: Vec<Migration> = migrations.iter().filter(is_pending).copied().collect();
        pending.sort_by_key(Migration::version);
        pending.iter().try_for_each(Migration::check)?;
        Ok(pending)
    }

    async fn recorded(&mut self) -> Result<BTreeSet<String>> {
        if Shape::of(&mut self.conn, VERSIONS).await?.is_nothing() {
            return Ok(BTreeSet::new());
        }
        let versions = sql_query(format!("SELECT version FROM {VERSIONS}"));
        let versions: Vec<Version> = versions.load(&mut self.conn).await?;
        Ok(versions.into_iter().map(|it| it.version).collect())
    }

    async fn lock(&mut self, name: &str) -> Result<()> {
        let until = Instant::now() + WAIT;
        loop {
            let lock = diesel::select(get_lock(name, ATTEMPT_SECONDS));
            if lock.get_result::<Option<i32>>(&mut self.conn).await? == Some(1) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(Error::Busy);
            }
        }
    }

    async fn make_versions(&mut self) -> Result<()> {
        if !Shape::of(&mut self.conn, VERSIONS).await?.is_nothing() {
            return Ok(());
        }
        self.send(&format!(
            "CREATE TABLE IF NOT EXISTS {VERSIONS} (version VARCHAR(50) PRIMARY KEY NOT NULL, \
             run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)"
        ))
        .await
    }

    async fn apply(&mut self, migration: &Migration) -> Result<()> {
        let started = Instant::now();
        for statement in migration.statements()? {
            let due = self.due(&statement).await.map_err(|error| in_migration(migration, error))?;
            if let Some(sql) = due {
                self.send(&sql).await.map_err(|error| in_migration(migration, error))?;
            }
        }
        let version = migration.version();
        self.send(&format!(
            "INSERT INTO {VERSIONS} (version) VALUES ('{version}') \
             ON DUPLICATE KEY UPDATE version = version"
        ))
        .await?;
        tracing::debug!(name = migration.name, elapsed = ?started.elapsed(), "migrated");
        Ok(())
    }

    /// What is left to do of a statement.
    async fn due(&mut self, statement: &Statement) -> Result<Option<String>> {
        match statement {
            Statement::Run(sql) => Ok(Some(sql.clone())),
            Statement::CreateTable { table, definition, sql } => {
                let shape = Shape::of(&mut self.conn, table).await?;
                if shape.is_nothing() {
                    return Ok(Some(sql.clone()));
                }
                let scratch = [format!("CREATE TABLE {} {definition}", shape::SCRATCH)];
                let intended = self.built(&scratch).await?;
                shape.check(table, &intended)?;
                Ok(None)
            }
            Statement::DropTable { table, sql } => {
                let shape = Shape::of(&mut self.conn, table).await?;
                Ok((!shape.is_nothing()).then(|| sql.clone()))
            }
            Statement::Alter { table, changes } => {
                let mut due = Vec::new();
                for change in changes {
                    if self.is_due(table, change).await? {
                        due.push(change.sql());
                    }
                }
                let due = due.join(", ");
                Ok((!due.is_empty()).then(|| format!("ALTER TABLE `{table}` {due}")))
            }
        }
    }

    async fn is_due(&mut self, table: &str, change: &Change) -> Result<bool> {
        let shape = Shape::of(&mut self.conn, table).await?;
        match change {
            Change::Set { .. } => Ok(true),
            Change::Drop { part, .. } => Ok(shape.has(part)),
            Change::Add { part, .. } if !shape.has(part) => Ok(true),
            Change::Add { part, sql } => {
                let scratch = shape::SCRATCH;
                let intended = self
                    .built(&[
                        format!("CREATE TABLE {scratch} LIKE `{table}`"),
                        format!("ALTER TABLE {scratch} DROP {}", part.sql()),
                        format!("ALTER TABLE {scratch} {sql}"),
                    ])
                    .await?;
                shape.check(table, &intended.only(part))?;
                Ok(false)
            }
        }
    }

    /// The shape that a scratch table gets by these statements: the server itself says what a definition means.
    async fn built(&mut self, statements: &[String]) -> Result<Shapes> {
        let clear = format!("DROP TABLE IF EXISTS {}", shape::SCRATCH);
        self.send(&clear).await?;
        for statement in statements {
            self.send(statement).await?;
        }
        let shape = Shape::of(&mut self.conn, shape::SCRATCH).await?;
        self.send(&clear).await?;
        Ok(shape.into_parts())
    }

    async fn send(&mut self, sql: &str) -> Result<()> {
        if !(self.watch)(sql) {
            return Err(Error::Lost("told to end".to_owned()));
        }
        for _ in 1..ATTEMPTS {
            match self.conn.batch_execute(sql).await.map_err(Error::from) {
                Err(Error::Conflict(Conflict::LockTimeout)) => {
                    tracing::warn!(sql, "a transaction holds the table; trying again");
                }
                other => return other,
            }
        }
        Ok(self.conn.batch_execute(sql).await?)
    }
}

/// The lock's name: of the schema, for locks are the server's.
fn lock_name(url: &str) -> String {
    // A socket's path stands behind the question mark.
    let path = url.split('?').next().unwrap_or_default();
    let schema = path.rsplit('/').next().unwrap_or_default();
    let schema = schema.replace(['\'', '\\'], "");
    let name = format!("commerce.migrate.{schema}");
    let skipped = name.chars().count().saturating_sub(LOCK_NAME);
    name.chars().skip(skipped).collect()
}

fn in_migration(migration: &Migration, error: Error) -> Error {
    match error {
        Error::Server(text) => migration.error(&text),
        Error::Conflict(conflict) => migration.error(&format!(
            "{conflict}: end the transaction that holds the table, and run `commerce migrate` again"
        )),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_named_by_the_schema_and_no_longer_than_a_server_takes() {
        let socket = "mysql://me@localhost/shop_wallet?socket=/tmp/db/server.sock";
        assert_eq!(lock_name(socket), "commerce.migrate.shop_wallet");
        let long = format!("mysql://me@db:3306/{}", "s".repeat(64));
        assert_eq!(lock_name(&long), "s".repeat(64));
    }
}
