//! Rare writes: one plain transaction, once per request id.

use crate::desk::Verdict;
use crate::outcome::Told;
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
pub async fn once<F>(db: &Db, key: RequestKey, hash: RequestHash, work: F) -> Result<Told>
where
    F: for<'c> SendAsyncFn<&'c mut Conn, Result<Verdict>, Fut: Send> + Clone + Send,
{
    db.tx(async move |conn: &mut Conn| -> Result<Told, Error> {
        if let Some(told) = store::requests(conn, std::slice::from_ref(&key)).await?.remove(&key) {
            return Ok(match told {
                Remembered { hash: other, .. } if other != hash => {
                    Told::RequestIdReused(key.request_id)
                }
                remembered => remembered.into_told(true),
            });
        }
        let remembered = Remembered::new(hash, work(&mut *conn).await?);
        let row = BTreeMap::from([(key.clone(), remembered.clone())]);
        let mut writes = Script::default();
        store::insert_requests(&mut writes, &row, db::now_micros())?;
        writes.run(conn).await?;
        Ok(remembered.into_told(false))
    })
    .await
}
