//! Copies in Redis, which replicas share. Slow or gone, it costs no call more than a moment, and none its answer.

use crate::domain::ProductId;
use api::product::v1::Product as Item;
use prost::Message;
use redis::{AsyncCommands, RedisError, Script};
use redis_link::Link;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Redis is asked to save time: past this the rows are quicker.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long a Redis that failed is left alone.
const PAUSE: Duration = Duration::from_secs(1);

static READ: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("read.lua")));

/// The Redis that holds the copies.
pub(super) struct Copies {
    connection: Link,
    prefix: String,
    /// Until when Redis is left alone.
    shut_until: Mutex<Option<Instant>>,
}

/// When products were looked for, by Redis's clock: whatever is read after that may be kept until a while after that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    millis: i64,
}

/// A copy, and until when it may be served.
pub(super) struct Found {
    pub(super) item: Item,
    pub(super) until: Instant,
}

impl Copies {
    pub(super) fn open(url: &str, prefix: &str) -> Result<Self, RedisError> {
        let connection = Link::new(&redis_link::client(url)?, PATIENCE)?;
        Ok(Self { connection, prefix: prefix.to_owned(), shut_until: Mutex::default() })
    }

    /// The copies of these products that there are, none of which may last longer than `lasting`; `None` when Redis does
    /// not say.
    pub(super) async fn read(
        &self,
        ids: &[ProductId],
        lasting: Duration,
    ) -> Option<(Stamp, Vec<Found>)> {
        type Answer = (i64, Vec<Option<Vec<u8>>>, Vec<i64>);
        if !self.may_ask() {
            return None;
        }
        let asked = Instant::now();
        let mut call = READ.prepare_invoke();
        for id in ids {
            call.key(self.key(*id));
        }
        let mut connection = self.connection.clone();
        let answer = self.within(call.invoke_async::<Answer>(&mut connection)).await;
        let (millis, copies, left) = answer?;
        let found = copies.into_iter().zip(left).filter_map(|(copy, left)| {
            let item = Item::decode(copy?.as_slice()).ok()?;
            // From before Redis was asked on: what is left was counted later.
            let left = Duration::from_millis(u64::try_from(left).ok()?);
            // A copy with longer to live was kept when Redis's clock was ahead.
            (left <= lasting).then_some(Found { item, until: asked + left })
        });
        Some((Stamp { millis }, found.collect()))
    }

    /// Keeps products that were read after the stamp, for so long after it.
    pub(super) async fn write(&self, stamp: Stamp, items: &[Item], lasting: Duration) {
        let lasting = i64::try_from(lasting.as_millis()).unwrap_or(i64::MAX);
        let until = stamp.millis.saturating_add(lasting);
        let mut all = redis::pipe();
        for item in items {
            let key = self.key(ProductId(item.product_id));
            // The end is an instant of Redis's own clock: a write that is late keeps nothing for longer.
            all.cmd("SET").arg(key).arg(item.encode_to_vec()).arg("PXAT").arg(until).ignore();
        }
        let mut connection = self.connection.clone();
        self.within(all.exec_async(&mut connection)).await;
    }

    /// Drops the copy of a product that was changed.
    pub(super) async fn discard(&self, id: ProductId) {
        let mut connection = self.connection.clone();
        let key = self.key(id);
        if self.may_ask() {
            self.within(async move { connection.unlink::<_, ()>(key).await }).await;
        }
    }

    fn key(&self, id: ProductId) -> String {
        format!("{}:{{product}}:copy:{}", self.prefix, id.0)
    }

    /// Of those that come when the pause is over, one tries; the others go on without Redis until it is back.
    fn may_ask(&self) -> bool {
        let mut shut_until = self.shut_until.lock().unwrap_or_else(PoisonError::into_inner);
        match *shut_until {
            None => true,
            Some(until) if Instant::now() < until => false,
            Some(_) => {
                *shut_until = Some(Instant::now() + PAUSE);
                true
            }
        }
    }

    async fn within<T>(&self, asked: impl Future<Output = Result<T, RedisError>>) -> Option<T> {
        let answer = asked.await.ok();
        let mut shut_until = self.shut_until.lock().unwrap_or_else(PoisonError::into_inner);
        let was_open = shut_until.is_none();
        *shut_until = answer.is_none().then(|| Instant::now() + PAUSE);
        if was_open && answer.is_none() {
            tracing::warn!("redis is slow or gone: products are read from the rows meanwhile");
        }
        answer
    }
}
