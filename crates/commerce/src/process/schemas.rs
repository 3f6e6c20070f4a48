//! Whether a schema's database is there, and as this program needs it: what to do where it is not.

use crate::config::with_schema;
use anyhow::Result;
use db::Conn;
use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, RunQueryDsl};
use migrations::Schema;

/// A schema that this program cannot work with yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotMigrated {
    /// There is no such database.
    #[error(
        "database.url: the server has no database {0}, or its user may not see it: run `commerce migrate`, which makes all that a shop needs"
    )]
    NoDatabase(String),
    /// It lacks tables, columns or keys.
    #[error(
        "database.migrate: the database {database} lacks {count} migrations, the first of them {first}: run `commerce migrate`, or set database.migrate = true"
    )]
    Behind {
        /// The database.
        database: String,
        /// How many migrations it lacks.
        count: usize,
        /// The oldest of them.
        first: &'static str,
    },
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// Refuses a server that lacks the database of this URL.
///
/// # Errors
/// [`NotMigrated::NoDatabase`]; why the server cannot be reached.
pub async fn check_database(url: &str) -> Result<()> {
    let Err(error) = Conn::establish(url).await else { return Ok(()) };
    let name = database_of(url);
    // By name and not by what the server says, which may be in any language.
    match exists(url, &name).await {
        Ok(false) => Err(NotMigrated::NoDatabase(name).into()),
        _ => Err(error.into()),
    }
}

/// Refuses a schema that lacks migrations of this program.
///
/// # Errors
/// [`NotMigrated::Behind`]; those of the database.
pub async fn check_tables(schema: Schema, url: &str) -> Result<()> {
    let pending = migrations::pending(schema, url).await?;
    let Some(first) = pending.as_slice().first() else { return Ok(()) };
    Err(NotMigrated::Behind { database: database_of(url), count: pending.len(), first }.into())
}

/// Whether the schema of this URL has been a shop's: its database is there, and something was migrated.
///
/// # Errors
/// Those of the database.
pub async fn is_shop(schema: Schema, url: &str) -> Result<bool> {
    match check_database(url).await {
        Ok(()) => {}
        Err(error) if error.is::<NotMigrated>() => return Ok(false),
        Err(error) => return Err(error),
    }
    Ok(migrations::pending(schema, url).await?.len() < schema.migrations().len())
}

async fn exists(url: &str, name: &str) -> Result<bool> {
    let mut conn = Conn::establish(&with_schema(url, "")).await?;
    let found: Count = sql_query(
        "SELECT COUNT(*) AS number FROM information_schema.schemata WHERE schema_name = ?",
    )
    .bind::<Text, _>(name)
    .get_result(&mut conn)
    .await?;
    Ok(found.number > 0)
}

/// The database that a URL names.
fn database_of(url: &str) -> String {
    let path = url.split('?').next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}
