//! Keeping the relays of a schema from their work, to measure how fast they work off what waits.
//!
//! A relay leaves a shard alone whose row another holds. So who holds all of them stops every relay of the schema, in
//! whichever process, and whoever dies holds nothing any more.

use crate::message::{self, BATCH};
use db::{Conn, Db, Error, Result, Session};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Blob, TinyInt, VarChar};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

/// Rows that are read at once.
const PAGE: i64 = 1_000;

/// The shards of a schema, held from its relays until this is released or dropped.
///
/// Changes go on, and their events wait in the outbox. Not for a shop that others use: their events wait, too.
pub struct Hold(Session);

/// What waits in an outbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Rows that the relay has given no number: a message on the bus each.
    pub rows: u64,
    /// Events that these rows tell, at least one each.
    pub events: u64,
}

#[derive(QueryableByName)]
struct Held {
    #[diesel(sql_type = TinyInt)]
    #[expect(dead_code, reason = "it is locked, not looked at")]
    shard: i8,
}

#[derive(QueryableByName)]
struct Waiting {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = VarChar)]
    event_type: String,
    #[diesel(sql_type = Blob)]
    payload: Vec<u8>,
}

#[derive(QueryableByName)]
struct Sum {
    #[diesel(sql_type = BigInt)]
    sum: i64,
}

impl Hold {
    /// Takes all shards of the schema of `db`, after what the relays are doing at the moment.
    ///
    /// # Errors
    /// Those of the database, such as another who holds a shard for more than two seconds.
    pub async fn take(db: &Db) -> Result<Self> {
        let mut session = db.session().await?;
        // It is silent as long as it holds, and ends with its connection.
        session.conn().batch_execute("SET SESSION wait_timeout = 86400").await?;
        let all = "SELECT shard FROM outbox_shard ORDER BY shard FOR UPDATE";
        let _: Vec<Held> = diesel::sql_query(all).load(session.conn()).await?;
        Ok(Self(session))
    }

    /// Lets the relays go on.
    ///
    /// # Errors
    /// A connection that was lost: then the relays may have gone on before.
    pub async fn release(mut self) -> Result<()> {
        self.0.rollback().await
    }
}

/// What waits in the outbox for its numbers. Reads all of it.
///
/// # Errors
/// Those of the database; [`Error::Corrupt`] for a row that no outbox wrote.
pub async fn backlog(conn: &mut Conn) -> Result<Backlog> {
    let sql = "SELECT id, event_type, payload FROM outbox \
        WHERE position IS NULL AND id > ? ORDER BY id LIMIT ?";
    let mut backlog = Backlog::default();
    let mut above = 0;
    loop {
        let page = diesel::sql_query(sql).bind::<BigInt, _>(above).bind::<BigInt, _>(PAGE);
        let page: Vec<Waiting> = page.load(conn).await?;
        let Some(last) = page.last() else { return Ok(backlog) };
        above = last.id;
        for row in &page {
            backlog.rows += 1;
            backlog.events += row.events()?;
        }
    }
}

/// Rows that the bus has had from this outbox ever since, as far as the schema knows: it learns of a publication in the
/// relay's next cycle.
///
/// # Errors
/// Those of the database.
pub async fn published(conn: &mut Conn) -> Result<u64> {
    let sql = "SELECT CAST(SUM(published_position) AS SIGNED) AS sum FROM outbox_shard";
    let row: Sum = diesel::sql_query(sql).get_result(conn).await?;
    u64::try_from(row.sum).map_err(|_| Error::Corrupt(format!("{} rows published", row.sum)))
}

impl Waiting {
    fn events(&self) -> Result<u64> {
        if self.event_type != BATCH {
            return Ok(1);
        }
        let corrupt = |error| Error::Corrupt(format!("row {} of the outbox: {error}", self.id));
        let events = message::inner(&self.payload).map_err(corrupt)?;
        Ok(u64::try_from(events.len()).unwrap_or(u64::MAX))
    }
}
