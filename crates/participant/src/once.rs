//! Rare writes: one plain transaction, once per request id.

use crate::desk::Verdict;
use crate::outcome::Outcome;
use crate::store::{self, Remembered};
use crate::{RequestHash, RequestKey};
use db::{Conn, Db, Error, Result, Script, SendAsyncFn};
use std::collections::BTreeMap;

/// Runs a client's write at most once and remembers what it was told, in the same transaction.
///
/// The closure decides before it writes: after [`Verdict::Rejected`] nothing but the memory of it is committed. It may
/// run several times, each from the start.
///
/// # Errors
/// Those of the database; after [`Error::CommitUnknown`] the caller may repeat the request id.
pub async fn once<F>(db: &Db, key: RequestKey, hash: RequestHash, work: F) -> Result<Outcome>
where
    F: for<'c> SendAsyncFn<&'c mut Conn, Result<Verdict>, Fut: Send> + Clone + Send,
{
    db.tx(async move |conn: &mut Conn| -> Result<Outcome, Error> {
        if let Some(told) = store::requests(conn, &[key]).await?.remove(&key) {
            return Ok(match told {
                Remembered { hash: other, .. } if other != hash => {
                    Outcome::RequestIdReused(key.request_id)
                }
                Remembered { refused: true, reply, .. } => {
                    Outcome::Rejected { refusal: reply, replayed: true }
                }
                Remembered { reply, .. } => Outcome::Done { reply, replayed: true },
            });
        }
        let (refused, reply) = match work(&mut *conn).await? {
            Verdict::Done(reply) => (false, reply),
            Verdict::Rejected(refusal) => (true, refusal.encode()),
        };
        let row = BTreeMap::from([(key, Remembered { hash, refused, reply: reply.clone() })]);
        let mut writes = Script::default();
        store::insert_requests(&mut writes, &row, db::now_micros())?;
        writes.run(conn).await?;
        Ok(if refused {
            Outcome::Rejected { refusal: reply, replayed: false }
        } else {
            Outcome::Done { reply, replayed: false }
        })
    })
    .await
}
