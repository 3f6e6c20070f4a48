//! One schema at one instant.

use crate::batches;
use anyhow::{Context, Result};
use db::{Db, Options, Script, Session};
use diesel::QueryableByName;
use diesel::mysql::Mysql;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use std::time::Duration;

/// A transaction that reads: whatever is committed meanwhile, every statement sees the same rows.
pub(crate) struct Snapshot {
    session: Session,
}

/// Rows as they arrive: none is kept here.
pub(crate) type Rows<'a, R> = BoxStream<'a, Result<R>>;

/// One snapshot may wait long for another while both are read side by side.
const SETUP: &str = "SET SESSION wait_timeout = 28800, net_write_timeout = 28800, \
    net_read_timeout = 28800; SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";
/// A statement may read all of a table before its first row comes.
const STATEMENT_TIMEOUT: Duration = Duration::from_hours(1);
/// The one spelling that MySQL, MariaDB and `TiDB` share: `TiDB` refuses READ ONLY beside it. What keeps an audit from writing
/// is that it sends nothing but SELECT, and writes to its own temporary table.
const BEGIN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT";

impl Snapshot {
    /// The schema of `url` as it is now.
    pub(crate) async fn open(url: &str) -> Result<Self> {
        Self::begin(connect(url).await?).await
    }

    /// As [`Self::open`], with the table that [`batches::unpack`] fills.
    pub(crate) async fn open_with_events(url: &str) -> Result<Self> {
        let mut session = connect(url).await?;
        session.conn().batch_execute(batches::CREATE).await.context(
            "making a temporary table for events that share a row; if the user may not, \
            GRANT CREATE TEMPORARY TABLES on this schema to it, beside SELECT",
        )?;
        Self::begin(session).await
    }

    async fn begin(mut session: Session) -> Result<Self> {
        session.conn().batch_execute(BEGIN).await?;
        Ok(Self { session })
    }

    /// The schema as it is now.
    pub(crate) async fn renew(&mut self) -> Result<()> {
        self.session.conn().batch_execute("COMMIT").await?;
        Ok(self.session.conn().batch_execute(BEGIN).await?)
    }

    /// Writes to the session's own temporary table, which is all that an audit writes to.
    pub(crate) async fn write(&mut self, writes: Script) -> Result<()> {
        Ok(writes.run(self.session.conn()).await?)
    }

    /// The statement's rows, one by one.
    pub(crate) async fn rows<R>(&mut self, sql: impl Into<String>) -> Result<Rows<'_, R>>
    where
        R: QueryableByName<Mysql> + Send + 'static,
    {
        let stream = diesel::sql_query(sql).load_stream::<R>(self.session.conn()).await?;
        Ok(stream.map_err(anyhow::Error::from).boxed())
    }

    /// All rows of a statement that has few.
    pub(crate) async fn all<R>(&mut self, sql: impl Into<String>) -> Result<Vec<R>>
    where
        R: QueryableByName<Mysql> + Send + 'static,
    {
        Ok(diesel::sql_query(sql).load::<R>(self.session.conn()).await?)
    }

    /// Calls `with` for each of the statement's rows.
    pub(crate) async fn each<R>(
        &mut self,
        sql: impl Into<String>,
        mut with: impl FnMut(R) + Send,
    ) -> Result<()>
    where
        R: QueryableByName<Mysql> + Send + 'static,
    {
        let mut rows = self.rows::<R>(sql).await?;
        while let Some(row) = rows.try_next().await? {
            with(row);
        }
        Ok(())
    }
}

async fn connect(url: &str) -> Result<Session> {
    let mut options = Options::new(url);
    options.statement_timeout = STATEMENT_TIMEOUT;
    options.accepts_read_only = true;
    let db = Db::open(options).await?;
    let mut session = db.session().await.context("the database does not answer")?;
    session.conn().batch_execute(SETUP).await?;
    Ok(session)
}
