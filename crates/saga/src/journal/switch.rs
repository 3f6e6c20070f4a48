//! Whether replicas take over the sagas of others: a switch for operators, one for all replicas.

use super::Journal;
use super::operation::OperationRow;
use super::schema::{recovery, saga_operation};
use chrono::{DateTime, NaiveDateTime, Utc};
use db::{Bytes8, Bytes16, Conn, Result};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use participant::RequestHash;

/// The one row of the table.
const ROW: i8 = 1;
/// The numbers of the two operations in the journal; those before are about one saga.
const PAUSE: i8 = 4;
const RESUME: i8 = 5;

/// The state of recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Whether nobody takes over sagas.
    pub paused: bool,
    /// Who said so last; empty when nobody ever did.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub changed_at: Option<DateTime<Utc>>,
}

/// An operator's request to pause or resume recovery.
#[derive(Debug, Clone)]
pub struct Switch {
    /// The request's id.
    pub request_id: [u8; 16],
    /// The digest of what it asks.
    pub hash: RequestHash,
    /// Whether recovery is to be paused.
    pub pause: bool,
    /// Who asks; at most 64 characters.
    pub actor: String,
    /// Why; at most 500 characters.
    pub reason: String,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switched {
    /// Done now.
    Now,
    /// Done by an earlier call of the same request; others may have switched since.
    Earlier,
    /// The request id was used for other content.
    Reused,
}

impl Journal {
    /// The state of recovery.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn recovery(&self) -> Result<Recovery> {
        self.db.read(async |conn: &mut Conn| read(conn).await).await
    }

    /// Pauses or resumes recovery; replicas follow with their next heartbeat.
    ///
    /// # Errors
    /// Those of the database: ask again with the same request id.
    pub async fn switch(&self, asked: Switch) -> Result<Switched> {
        self.db.tx(async move |conn: &mut Conn| switch(conn, &asked).await).await
    }
}

/// Whether nobody takes over sagas.
pub(super) async fn is_paused(conn: &mut Conn) -> Result<bool> {
    Ok(recovery::table.find(ROW).select(recovery::paused).first(conn).await?)
}

async fn read(conn: &mut Conn) -> Result<Recovery> {
    let (_, paused, actor, reason, at): (i8, bool, String, String, Option<NaiveDateTime>) =
        recovery::table.find(ROW).first(conn).await?;
    Ok(Recovery { paused, actor, reason, changed_at: at.map(db::from_db) })
}

async fn switch(conn: &mut Conn, asked: &Switch) -> Result<Switched> {
    let request_id = Bytes16(asked.request_id);
    let action = if asked.pause { PAUSE } else { RESUME };
    let earlier: Option<OperationRow> =
        saga_operation::table.find(request_id).first(conn).await.optional()?;
    if let Some(earlier) = earlier {
        let same = earlier.action == action && earlier.request_hash == Bytes8(asked.hash.0);
        return Ok(if same { Switched::Earlier } else { Switched::Reused });
    }
    let now = db::to_db(db::now_micros());
    let row = OperationRow {
        request_id,
        saga_id: Bytes16([0; 16]),
        action,
        request_hash: Bytes8(asked.hash.0),
        actor: asked.actor.clone(),
        reason: asked.reason.clone(),
        record: Vec::new(),
        created_at: now,
    };
    diesel::insert_into(saga_operation::table).values(row).execute(conn).await?;
    diesel::update(recovery::table.find(ROW))
        .set((
            recovery::paused.eq(asked.pause),
            recovery::actor.eq(&asked.actor),
            recovery::reason.eq(&asked.reason),
            recovery::changed_at.eq(now),
        ))
        .execute(conn)
        .await?;
    Ok(Switched::Now)
}
