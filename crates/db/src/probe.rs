//! Tries what correctness rests on, with two sessions, before a server is used: an engine that accepts a statement need not
//! do what it says.

use crate::server::Unfit;
use crate::{Conflict, Db, Error, Options, Result, Session};
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use futures_util::FutureExt as _;
use std::fmt::Display;
use std::time::Duration;
use tracing::warn;

/// A table of its own, so that no row of a service is ever locked by it.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS engine_probe (id BIGINT PRIMARY KEY, \
    n BIGINT NOT NULL) ENGINE=InnoDB";
/// How long a statement that has to wait is watched: one that does not wait is done much sooner.
const WATCHED: Duration = Duration::from_millis(40);
/// Rows that one run uses.
const ROWS: i64 = 4;

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// Two sessions, and the first of the rows that are theirs.
struct Probe {
    one: Session,
    other: Session,
    first: i64,
}

/// Tries the server behind `url`, in the schema that it names: whether a lock excludes and NOWAIT fails at once, whether a
/// conditional update counts the rows that it matched, whether a second insert of a unique key waits and then fails, and
/// whether a script stops at its first error.
///
/// Takes about 100 ms. Leaves an empty table, `engine_probe`, behind; where that is missing and this user may not make it,
/// nothing is tried, and the log says so.
///
/// # Errors
/// [`Error::Unfit`] naming what the server does otherwise, and for one that is refused without being tried; those of the
/// database.
pub async fn probe(url: &str) -> Result<()> {
    let db = Db::open(Options::new(url)).await?;
    let (mut one, other) = (db.session().await?, db.session().await?);
    if let Err(Error::Server(text)) = one.conn().batch_execute(TABLE).await.map_err(Error::from) {
        one.rollback().await?;
        let there = sql_query("SELECT CAST(COUNT(*) AS SIGNED) AS n FROM engine_probe");
        if there.get_result::<Number>(one.conn()).await.is_err() {
            warn!(reason = text, "the database server is not tried: engine_probe cannot be made");
            return Ok(());
        }
        one.rollback().await?;
    }
    let first = i64::from(rand::random::<u32>()) * ROWS;
    let mut probe = Probe { one, other, first };
    let tried = probe.all().await;
    for session in [&mut probe.one, &mut probe.other] {
        // What fails here was lost, and what it wrote with it.
        let _ = session.rollback().await;
    }
    let last = first + ROWS;
    let emptied = format!("DELETE FROM engine_probe WHERE id >= {first} AND id < {last}; COMMIT");
    tried.and(probe.one.conn().batch_execute(&emptied).await.map_err(Error::from))
}

impl Probe {
    async fn all(&mut self) -> Result<()> {
        let id = self.first;
        let row = format!("INSERT INTO engine_probe (id, n) VALUES ({id}, 0); COMMIT");
        self.one.conn().batch_execute(&row).await?;
        self.a_lock_excludes().await?;
        self.updates_count_what_they_match().await?;
        self.an_update_waits_and_looks_again().await?;
        self.a_second_insert_waits_and_fails().await?;
        self.a_script_stops_at_its_first_error().await
    }

    async fn a_lock_excludes(&mut self) -> Result<()> {
        let id = self.first;
        let lock = format!("SELECT n FROM engine_probe WHERE id = {id} FOR UPDATE");
        sql_query(&lock).get_result::<Number>(self.one.conn()).await?;
        let locked = sql_query(format!("{lock} NOWAIT")).get_result::<Number>(self.other.conn());
        // A server whose NOWAIT waits says so after the session's lock wait, and the row was locked all the same.
        match locked.await.map_err(Error::from) {
            Err(error) if error.is_lock_timeout() => {}
            Ok(Number { n }) => return Err(lacks("a row lock excludes nobody", n)),
            Err(error) => return Err(lacks("NOWAIT on a locked row fails otherwise", error)),
        }
        self.end().await
    }

    async fn updates_count_what_they_match(&mut self) -> Result<()> {
        let id = self.first;
        for (from, counted) in [(0, 1), (5, 0)] {
            let same = format!("UPDATE engine_probe SET n = 0 WHERE id = {id} AND n = {from}");
            let count = sql_query(same).execute(self.one.conn()).await?;
            if count != counted {
                let what = "an update does not count the rows that it matches";
                return Err(lacks(what, format!("{count} where {counted} match")));
            }
        }
        self.end().await
    }

    /// The compare-and-set of claims: of two at once, one matches.
    async fn an_update_waits_and_looks_again(&mut self) -> Result<()> {
        let id = self.first;
        let claim = format!("UPDATE engine_probe SET n = 1 WHERE id = {id} AND n = 0");
        let own = sql_query(&claim).execute(self.one.conn()).await?;
        let others = wait_for(sql_query(&claim).execute(self.other.conn()), self.one.conn());
        match others.await? {
            Waited::NotAtAll(found) => Err(lacks("an update does not wait for another", found)),
            Waited::Then(Ok(0)) if own == 1 => self.end().await,
            Waited::Then(Ok(count)) => {
                let found = format!("{own} and {count} rows");
                Err(lacks("an update that waited matches what is there no more", found))
            }
            Waited::Then(Err(error)) => inconclusive(error),
        }
    }

    async fn a_second_insert_waits_and_fails(&mut self) -> Result<()> {
        let insert = format!("INSERT INTO engine_probe (id, n) VALUES ({}, 0)", self.first + 1);
        sql_query(&insert).execute(self.one.conn()).await?;
        let second = wait_for(sql_query(&insert).execute(self.other.conn()), self.one.conn());
        match second.await? {
            Waited::NotAtAll(found) => {
                Err(lacks("a second insert of a key does not wait for the first", found))
            }
            Waited::Then(Err(Error::Conflict(Conflict::Duplicate(_)))) => self.end().await,
            Waited::Then(Ok(_)) => Err(lacks("a key can be inserted twice", "both succeeded")),
            Waited::Then(Err(error)) => inconclusive(error),
        }
    }

    async fn a_script_stops_at_its_first_error(&mut self) -> Result<()> {
        let [taken, before, after] = [1, 2, 3].map(|row| self.first + row);
        let script = [before, taken, after]
            .map(|id| format!("INSERT INTO engine_probe (id, n) VALUES ({id}, 0)"))
            .join("; ");
        let result = self.one.conn().batch_execute(&script).await.map_err(Error::from);
        if !matches!(result, Err(Error::Conflict(Conflict::Duplicate(_)))) {
            return Err(lacks("a script does not tell its first error", format!("{result:?}")));
        }
        let there = |id: i64| {
            let count = "SELECT CAST(COUNT(*) AS SIGNED) AS n FROM engine_probe WHERE id = ";
            sql_query(format!("{count}{id}"))
        };
        let Number { n } = there(after).get_result(self.one.conn()).await?;
        if n != 0 {
            return Err(lacks("a script goes on after its first error", "the last row is there"));
        }
        self.one.rollback().await?;
        let Number { n } = there(before).get_result(self.one.conn()).await?;
        if n != 0 {
            return Err(lacks("a rollback undoes nothing", "the first row is there"));
        }
        self.end().await
    }

    async fn end(&mut self) -> Result<()> {
        self.one.rollback().await?;
        self.other.rollback().await
    }
}

/// How a statement fared that has to wait for another session's COMMIT.
enum Waited {
    NotAtAll(String),
    Then(Result<usize>),
}

/// Watches a statement wait, lets the transaction that it waits for commit, and sees the statement's end.
async fn wait_for(
    statement: impl Future<Output = diesel::QueryResult<usize>>,
    holder: &mut crate::Conn,
) -> Result<Waited> {
    let statement = statement.fuse();
    let mut statement = std::pin::pin!(statement);
    if let Ok(ended) = tokio::time::timeout(WATCHED, &mut statement).await {
        return Ok(Waited::NotAtAll(format!("{:?}", ended.map_err(Error::from))));
    }
    holder.batch_execute("COMMIT").await?;
    Ok(Waited::Then(statement.await.map_err(Error::from)))
}

/// A server that is too busy to be tried is no worse than others.
fn inconclusive(error: Error) -> Result<()> {
    if !error.is_lock_timeout() {
        return Err(error);
    }
    warn!("the database server was too slow to be tried to the end");
    Ok(())
}

fn lacks(what: &'static str, found: impl Display) -> Error {
    Unfit::Lacks { what, found: format!("{found}") }.into()
}
