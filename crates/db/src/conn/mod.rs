//! The connection: Diesel's queries over the driver, with a mark, a deadline and the server's error codes.
//!
//! diesel-async's own connection keeps of a server's error only its text, waits without end, and cannot tell whether a reply
//! is due on it. This one does the same work and differs in these three.

mod connect;
mod fault;
mod mark;
mod params;
mod rest;
mod row;
mod statements;

pub(crate) use connect::CONNECT_TIMEOUT;
pub(crate) use fault::{Class, code_of};
pub use row::{MysqlField, MysqlRow};

use crate::Error;
use crate::opener::{Opener, SessionId};
use connect::open_driver;
use diesel::QueryResult;
use diesel::connection::{
    CacheSize, DynInstrumentation, Instrumentation, InstrumentationEvent, StrQueryHelper,
};
use diesel::mysql::{Mysql, MysqlQueryBuilder};
use diesel::query_builder::bind_collector::RawBytesBindCollector;
use diesel::query_builder::{AsQuery, QueryBuilder, QueryFragment, QueryId};
use diesel::result::{ConnectionResult, Error as Diesel};
use diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncConnectionCore, SimpleAsyncConnection,
};
use fault::too_large;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use mark::Mark;
use mysql_async::Params;
use mysql_async::prelude::Queryable as _;
use rest::Rest;
use statements::Statements;
use std::sync::Arc;
use std::time::Duration;

/// What a statement of a tool may take, such as a change of a table; [`crate::Options`] say what a service's may.
const TOOL_TIMEOUT: Duration = Duration::from_mins(2);
/// Rows of a reply that are read before the first is handed on; most replies end before.
const AHEAD: usize = 512;
/// A text larger than this is not sent, whatever the server takes.
const MAX_BYTES: usize = 4 << 20;
/// The connection that every query of the workspace runs on.
///
/// It may be used only when the last byte of its last reply was read: whichever future was dropped in the middle, whatever
/// comes after it is refused as lost. So is what comes after a statement that did not end within the connection's time-out.
pub struct Conn {
    driver: mysql_async::Conn,
    mark: Mark,
    statements: Statements,
    transactions: AnsiTransactionManager,
    instrumentation: DynInstrumentation,
    /// The most bytes of one text.
    max_bytes: usize,
    /// Under which name this session can be ended, and who does it when this connection is dropped while it may hold locks.
    ends: Option<(Arc<Opener>, SessionId)>,
    holds_locks: bool,
}

/// A statement that is ready to be sent.
struct Prepared {
    sql: String,
    is_kept: bool,
    params: QueryResult<Params>,
}

impl Conn {
    /// Connects, with `connect` until the connection is ready and `statement` for each statement after that.
    pub(crate) async fn open(
        url: &str,
        connect: Duration,
        statement: Duration,
    ) -> ConnectionResult<Self> {
        let mut instrumentation = DynInstrumentation::default_instrumentation();
        instrumentation.on_connection_event(InstrumentationEvent::start_establish_connection(url));
        let opened = open_driver(url, connect).await;
        instrumentation.on_connection_event(InstrumentationEvent::finish_establish_connection(
            url,
            opened.as_ref().err(),
        ));
        Ok(Self {
            driver: opened?,
            mark: Mark::new(statement),
            statements: Statements::default(),
            transactions: AnsiTransactionManager::default(),
            instrumentation,
            max_bytes: usize::MAX,
            ends: None,
            holds_locks: false,
        })
    }

    /// How long one statement may take from now on: a longer one ends the connection. Returns what held before.
    pub fn set_statement_timeout(&mut self, timeout: Duration) -> Duration {
        std::mem::replace(&mut self.mark.patience, timeout)
    }

    /// Forbids any further use of this connection, because what it answered cannot be true.
    pub fn discard(&mut self) {
        self.mark.end();
    }

    /// Whether the next statement may be sent: no reply is due, and the server has not ended the session.
    pub fn is_usable(&self) -> bool {
        self.mark.is_ready()
    }

    /// Gives back the rows of an answer if each bears a key that was asked for: the second line of defence, should a reply
    /// ever reach another question than its own.
    ///
    /// # Errors
    /// [`Error::WrongRow`] otherwise, logged as such; the connection is not used again.
    pub fn asked_for<C, R>(
        &mut self,
        table: &'static str,
        rows: C,
        is_asked: impl Fn(&R) -> bool,
    ) -> crate::Result<C>
    where
        for<'r> &'r C: IntoIterator<Item = &'r R>,
        R: 'static,
    {
        if (&rows).into_iter().all(is_asked) {
            return Ok(rows);
        }
        tracing::error!(table, "the database answered with a row that nobody asked for");
        self.discard();
        Err(Error::WrongRow(table.to_owned()))
    }

    /// The most bytes that one message of statements may have.
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Well below what the server takes, so that nothing is ever refused halfway.
    pub(crate) fn limit_bytes(&mut self, max_allowed_packet: usize) {
        self.max_bytes = MAX_BYTES.min(max_allowed_packet - max_allowed_packet / 4);
    }

    pub(crate) fn belongs_to(&mut self, opener: &Arc<Opener>, generation: u64, id: SessionId) {
        self.mark.belongs_to(Arc::clone(opener), generation);
        self.ends = Some((Arc::clone(opener), id));
    }

    pub(crate) fn id(&self) -> SessionId {
        self.ends.as_ref().map_or_else(SessionId::none, |(_, id)| *id)
    }

    /// Asks whether the session lives, and whether its server still takes writes.
    pub(crate) async fn validate(&mut self) -> crate::Result<()> {
        let Some((opener, _)) = &self.ends else { return Ok(()) };
        Arc::clone(opener).validate(self).await
    }

    /// Says whether the session may hold row locks, so that it is ended when it is lost.
    pub(crate) fn holds_locks(&mut self, holds: bool) {
        self.holds_locks = holds;
    }

    /// Runs a text whose last reply has rows, and returns those of all replies. Nobody is told of it.
    pub(crate) async fn ask(&mut self, sql: &str) -> QueryResult<Vec<mysql_async::Row>> {
        let Self { driver, mark, .. } = self;
        let rows = async {
            let mut reply = driver.query_iter(sql).await?;
            let mut rows = Vec::new();
            loop {
                rows.extend(reply.collect::<mysql_async::Row>().await?);
                if reply.is_empty() {
                    reply.drop_result().await?;
                    return Ok(rows);
                }
            }
        };
        mark.run(rows).await
    }

    /// Asks whether the server still answers.
    pub(crate) async fn ping(&mut self) -> QueryResult<()> {
        self.mark.run(self.driver.ping()).await
    }

    fn prepare<T>(&mut self, query: &T) -> QueryResult<Prepared>
    where
        T: QueryFragment<Mysql> + QueryId,
    {
        let debug = diesel::debug_query::<Mysql, _>(query);
        self.instrumentation.on_connection_event(InstrumentationEvent::start_query(&debug));
        let mut binds = RawBytesBindCollector::<Mysql>::new();
        query.collect_binds(&mut binds, &mut (), &Mysql)?;
        let mut builder = MysqlQueryBuilder::new();
        query.to_sql(&mut builder, &Mysql)?;
        Ok(Prepared {
            sql: builder.finish(),
            is_kept: query.is_safe_to_cache_prepared(&Mysql)?,
            params: params::params(binds.metadata, binds.binds),
        })
    }

    fn finish<T>(&mut self, sql: &str, result: &QueryResult<T>) {
        finish(&mut self.instrumentation, sql, result);
    }

    async fn count(&mut self, prepared: Prepared) -> QueryResult<usize> {
        let Prepared { sql, is_kept, params } = prepared;
        let params = params?;
        let Self { driver, mark, statements, .. } = self;
        let request = async {
            let statement = statements.get(driver, &sql, is_kept).await?;
            driver.exec_drop(&statement, params).await?;
            Ok(driver.affected_rows())
        };
        let counted = mark.run(request).await.and_then(|count| {
            usize::try_from(count).map_err(|error| Diesel::DeserializationError(error.into()))
        });
        self.finish(&sql, &counted);
        counted
    }

    async fn rows(
        &mut self,
        prepared: Prepared,
    ) -> QueryResult<BoxStream<'_, QueryResult<MysqlRow>>> {
        let Prepared { sql, is_kept, params } = prepared;
        let params = params?;
        let Self { driver, mark, statements, instrumentation, .. } = self;
        let request = async {
            let statement = statements.get(driver, &sql, is_kept).await?;
            let mut reply = driver.exec_iter(statement, params).await?;
            let mut rows = Vec::new();
            while rows.len() < AHEAD {
                let Some(row) = reply.next().await? else {
                    reply.drop_result().await?;
                    return Ok((rows, None));
                };
                rows.push(row);
            }
            Ok((rows, Some(reply)))
        };
        let read = mark.run(request).await;
        finish(instrumentation, &sql, &read);
        let (rows, reply) = read?;
        let ahead = rows.into_iter();
        let Some(reply) = reply else {
            return Ok(stream::iter(ahead.map(|row| Ok(MysqlRow(row)))).boxed());
        };
        mark.expect_more();
        let rest = Rest { ahead, reply: Some(reply), mark };
        Ok(stream::try_unfold(rest, Rest::next).boxed())
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if !self.mark.is_due() {
            return;
        }
        // The driver would read the rest of a reply first, however long that takes, unless one of its own requests was
        // dropped halfway.
        let _ = self.driver.ping().now_or_never();
        if self.holds_locks
            && let Some((opener, id)) = &self.ends
        {
            opener.end_behind(*id);
        }
    }
}

impl SimpleAsyncConnection for Conn {
    async fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        let helper = StrQueryHelper::new(query);
        self.instrumentation.on_connection_event(InstrumentationEvent::start_query(&helper));
        let result = if query.len() > self.max_bytes {
            Err(too_large(query.len(), self.max_bytes))
        } else {
            self.mark.run(self.driver.query_drop(query)).await
        };
        self.finish(query, &result);
        result
    }
}

impl AsyncConnectionCore for Conn {
    type ExecuteFuture<'conn, 'query> = BoxFuture<'conn, QueryResult<usize>>;
    type LoadFuture<'conn, 'query> = BoxFuture<'conn, QueryResult<Self::Stream<'conn, 'query>>>;
    type Stream<'conn, 'query> = BoxStream<'conn, QueryResult<Self::Row<'conn, 'query>>>;
    type Row<'conn, 'query> = MysqlRow;
    type Backend = Mysql;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> Self::LoadFuture<'conn, 'query>
    where
        T: AsQuery + 'query,
        T::Query: QueryFragment<Mysql> + QueryId + 'query,
    {
        let prepared = self.prepare(&source.as_query());
        async move { self.rows(prepared?).await }.boxed()
    }

    fn execute_returning_count<'conn, 'query, T>(
        &'conn mut self,
        source: T,
    ) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Mysql> + QueryId + 'query,
    {
        let prepared = self.prepare(&source);
        async move { self.count(prepared?).await }.boxed()
    }
}

impl AsyncConnection for Conn {
    type TransactionManager = AnsiTransactionManager;

    /// Connects for a tool or a migration: no setting but time zone and characters, two minutes a statement.
    async fn establish(url: &str) -> ConnectionResult<Self> {
        Self::open(url, CONNECT_TIMEOUT, TOOL_TIMEOUT).await
    }

    fn transaction_state(&mut self) -> &mut AnsiTransactionManager {
        &mut self.transactions
    }

    fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        &mut *self.instrumentation
    }

    fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        self.instrumentation = instrumentation.into();
    }

    /// Changes nothing: the cache is bounded as it is.
    fn set_prepared_statement_cache_size(&mut self, _: CacheSize) {}
}

fn finish<T>(instrumentation: &mut DynInstrumentation, sql: &str, result: &QueryResult<T>) {
    let helper = StrQueryHelper::new(sql);
    let event = InstrumentationEvent::finish_query(&helper, result.as_ref().err());
    instrumentation.on_connection_event(event);
}
