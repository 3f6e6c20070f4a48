//! Rebuilding once for each request id. Kept beside the counts, which do not depend on it.

use crate::store::{Error, Store, instant};
use chrono::{DateTime, Utc};
use redis::AsyncCommands;
use uuid::Uuid;

/// How long what was answered to a request id is remembered, in seconds: 7 days.
const REMEMBERED_SECONDS: u64 = 7 * 24 * 60 * 60;

impl Store {
    /// What a rebuild asked for under this request id came to: events counted, and when.
    ///
    /// # Errors
    /// Those of Redis.
    pub async fn remembered(&self, request: Uuid) -> Result<Option<(i64, DateTime<Utc>)>, Error> {
        let key = self.key(&format!("request:{request}"));
        let answer: Option<String> = self.connection.clone().get(key).await?;
        let Some(answer) = answer else { return Ok(None) };
        let numbers: Result<Vec<i64>, _> = answer.split(' ').map(str::parse).collect();
        match numbers.as_deref() {
            Ok([events, as_of]) => Ok(Some((*events, instant(*as_of)?))),
            _ => Err(Error::Malformed(format!("the answer to request {request}"))),
        }
    }

    /// Remembers it for 7 days.
    ///
    /// # Errors
    /// Those of Redis.
    pub async fn remember(
        &self,
        request: Uuid,
        (events, as_of): (i64, DateTime<Utc>),
    ) -> Result<(), Error> {
        let key = self.key(&format!("request:{request}"));
        let answer = format!("{events} {}", as_of.timestamp_micros());
        let () = self.connection.clone().set_ex(key, answer, REMEMBERED_SECONDS).await?;
        Ok(())
    }
}
