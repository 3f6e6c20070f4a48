//! Rebuilding once: one at a time, and once for each request id. Kept beside the counts, which do not depend on it.

use crate::store::{Error, Store, instant};
use chrono::{DateTime, Utc};
use redis::{AsyncCommands, Script};
use uuid::Uuid;

/// How long what was answered to a request id is remembered, in seconds: 7 days.
const REMEMBERED_SECONDS: u64 = 7 * 24 * 60 * 60;
/// A rebuild that shows no life for this long has lost its right to be the only one, in milliseconds.
const LOCK_MS: u64 = 10_000;

/// The right to be the only one who rebuilds; a convenience that no count depends on.
#[derive(Debug)]
pub struct Lock(String);

impl Store {
    /// Takes the right to rebuild, unless somebody has it.
    ///
    /// # Errors
    /// Those of Redis.
    pub async fn lock(&self) -> Result<Option<Lock>, Error> {
        let token = Uuid::now_v7().to_string();
        let mut set = redis::cmd("SET");
        set.arg(self.key("rebuild")).arg(&token).arg("NX").arg("PX").arg(LOCK_MS);
        let answer: Option<String> = set.query_async(&mut self.connection.clone()).await?;
        Ok(answer.map(|_| Lock(token)))
    }

    /// Keeps the right for another 10 s; false when it is lost.
    ///
    /// # Errors
    /// Those of Redis.
    pub async fn renew(&self, lock: &Lock) -> Result<bool, Error> {
        self.with_lock(lock, "return redis.call('PEXPIRE', KEYS[1], ARGV[2])").await
    }

    /// Gives the right back.
    ///
    /// # Errors
    /// Those of Redis.
    pub async fn unlock(&self, lock: &Lock) -> Result<(), Error> {
        self.with_lock(lock, "return redis.call('DEL', KEYS[1])").await?;
        Ok(())
    }

    async fn with_lock(&self, lock: &Lock, then: &str) -> Result<bool, Error> {
        let code = format!("if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end {then}");
        let script = Script::new(&code);
        let mut call = script.key(self.key("rebuild"));
        call.arg(&lock.0).arg(LOCK_MS);
        Ok(call.invoke_async(&mut self.connection.clone()).await?)
    }

    /// What a rebuild asked for under this request id came to: events counted, and when.
    ///
    /// # Errors
    /// Those of Redis.
    pub async fn remembered(&self, request: Uuid) -> Result<Option<(i64, DateTime<Utc>)>, Error> {
        let key = self.key(&format!("request:{request}"));
        let answer: Option<Vec<i64>> = {
            let text: Option<String> = self.connection.clone().get(key).await?;
            text.map(|text| text.split(' ').filter_map(|number| number.parse().ok()).collect())
        };
        match answer.as_deref() {
            Some([events, as_of]) => Ok(Some((*events, instant(*as_of)?))),
            Some(_) => Err(Error::Malformed(format!("the answer to request {request}"))),
            None => Ok(None),
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
