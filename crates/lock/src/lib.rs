//! A lock over all replicas, in Redis, for jobs of which one at a time is enough.
//!
//! A holder has a lease that is renewed while it holds the [`Guard`]; when it dies, the lease ends and another gets the lock.
//! Between the two nobody can rule out that a holder was frozen, goes on when its lease is over, and does not know it. So
//! no lock alone makes a write safe: what must not be done twice takes the guard's [`Token`] along, and the resource refuses
//! a token that is smaller than the largest it has seen. No invariant of the shop rests on this lock.
//!
//! Waiters are woken by a message when the lock is given back, and by a timer when the holder's lease would end; they do not
//! poll. Nobody is promised their turn in order of arrival. A waiter has a connection of its own to Redis.
//!
//! In Redis, under a prefix: `{lock:<name>}`, who holds it, which expires; `{lock:<name>}:token`, the last token, which never
//! does; and the channel `{lock:<name>}:released`.

mod claim;
mod guard;
mod turn;

pub use guard::{Guard, Token};
pub use turn::Turn;

use claim::{Claim, Place, Tried};
use futures_util::StreamExt;
use redis::aio::PubSub;
use redis::{Client, RedisError};
use redis_link::Link;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long a holder that shows no life keeps a lock, unless told otherwise.
pub const LEASE: Duration = Duration::from_secs(10);

/// How long Redis may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts to reach a Redis that is gone.
const RECONNECT: Duration = Duration::from_millis(100);

/// Why a lock was not had, or was not held to the end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Somebody else had it all the while.
    #[error("the lock {0} is taken")]
    Taken(String),
    /// Redis did not answer, or refused.
    #[error("redis is unavailable: {0}")]
    Unavailable(String),
    /// The lease ended before the lock was given back: somebody else may have had it meanwhile.
    #[error("the lock {0} was lost")]
    Lost(String),
}

/// The locks of a Redis. Cheap to clone.
#[derive(Clone)]
pub struct Locks {
    client: Client,
    connection: Link,
    prefix: String,
    lease: Duration,
}

impl Locks {
    /// Locks in this Redis, their keys beginning with `prefix`. Connects when first used; needs a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the client's settings make no sense.
    pub fn new(client: Client, prefix: &str) -> Result<Self, Error> {
        let connection = Link::new(&client, PATIENCE)?;
        Ok(Self { client, connection, prefix: prefix.to_owned(), lease: LEASE })
    }

    /// The same locks with another lease than [`LEASE`], 1 ms or more. It is renewed at every third of it, so it should be
    /// many times what Redis takes to answer.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(Duration::from_millis(1));
        self
    }

    /// Takes the lock of this name, waiting for it this long at most; with no wait at all, tries once.
    ///
    /// Dropping the future gives back what it may have taken.
    ///
    /// # Errors
    /// [`Error::Taken`] when the wait is over; [`Error::Unavailable`] at once when Redis does not answer the first try. A
    /// Redis that goes away later is waited for like the lock, and named when the wait is over.
    pub async fn acquire(&self, name: &str, wait: Duration) -> Result<Guard, Error> {
        let until = Instant::now() + wait;
        let mut claim = Claim::new(self.place(name));
        if let Tried::Had(hold) = claim.take().await? {
            return Ok(Guard::new(claim, hold));
        }
        if wait.is_zero() {
            return Err(Error::Taken(name.to_owned()));
        }
        let mut trouble = None;
        let waiting = self.wait(&mut claim, &mut trouble);
        match timeout_at(until, waiting).await {
            Ok(hold) => Ok(Guard::new(claim, hold)),
            Err(_) => Err(trouble.unwrap_or_else(|| Error::Taken(name.to_owned()))),
        }
    }

    /// Waits until the claim has the lock. `trouble` is why Redis cannot be asked, as long as that is so.
    async fn wait(&self, claim: &mut Claim, trouble: &mut Option<Error>) -> claim::Hold {
        loop {
            match self.wait_connected(claim, trouble).await {
                Ok(hold) => return hold,
                Err(error) => *trouble = Some(error),
            }
            sleep(RECONNECT).await;
        }
    }

    async fn wait_connected(
        &self,
        claim: &mut Claim,
        trouble: &mut Option<Error>,
    ) -> Result<claim::Hold, Error> {
        'subscribed: loop {
            // Before the try: a release between the two is heard.
            let mut released = self.subscribe(claim.place()).await?;
            let mut released = released.on_message();
            loop {
                let left = match claim.take().await? {
                    Tried::Had(hold) => return Ok(hold),
                    Tried::Taken { left } => left,
                };
                *trouble = None;
                match timeout(left, released.next()).await {
                    Ok(Some(_)) => {}
                    Ok(None) => {
                        return Err(Error::Unavailable("the subscription broke off".to_owned()));
                    }
                    // The timer is for holders that die: nobody tells of them. Nor does anybody tell of a subscription
                    // that fell silent.
                    Err(_) => continue 'subscribed,
                }
            }
        }
    }

    async fn subscribe(&self, place: &Place) -> Result<PubSub, Error> {
        let subscribe = async {
            let mut connection = self.client.get_async_pubsub().await?;
            connection.subscribe(place.channel()).await?;
            Ok(connection)
        };
        within(subscribe).await
    }

    fn place(&self, name: &str) -> Place {
        let key = format!("{}:{{lock:{name}}}", self.prefix);
        Place::new(self.connection.clone(), name, key, self.lease)
    }
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// The driver's own limits do not cover a subscription.
async fn within<T>(asked: impl Future<Output = Result<T, RedisError>>) -> Result<T, Error> {
    match timeout(PATIENCE, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::Unavailable(format!("no answer within {PATIENCE:?}"))),
    }
}
