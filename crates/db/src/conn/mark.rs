//! Whether a connection may be used: only when its last reply was read to the end.
//!
//! A future that is dropped in the middle of a query leaves its reply in the socket, and the next query would be handed it:
//! another user's wallet. So the connection is marked before the first byte of a request leaves, and the mark is taken away
//! after the last byte of the reply came. Nothing else in the workspace reads from a connection.

use super::fault::{Class, lost, of_driver};
use crate::opener::Opener;
use diesel::QueryResult;
use mysql_async::Error as Driver;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Ready,
    /// A request may have left, and its reply was not read to the end.
    Due,
    /// The server said that it is of no more use, or whoever used it did.
    Ended,
}

/// The state of one connection, and how long it waits.
pub(crate) struct Mark {
    phase: Phase,
    /// How long one request may take.
    pub(crate) patience: Duration,
    /// Is told of what this connection meets, and says whether it is still of the latest generation.
    origin: Option<(Arc<Opener>, u64)>,
}

impl Mark {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { phase: Phase::Ready, patience, origin: None }
    }

    pub(crate) fn belongs_to(&mut self, opener: Arc<Opener>, generation: u64) {
        self.origin = Some((opener, generation));
    }

    /// Whether the next request may be sent.
    pub(crate) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready && !self.is_outdated()
    }

    /// Whether a request may be under way, or its reply.
    pub(crate) fn is_due(&self) -> bool {
        self.phase == Phase::Due
    }

    fn is_outdated(&self) -> bool {
        self.origin.as_ref().is_some_and(|(opener, generation)| opener.generation() != *generation)
    }

    /// Forbids any further use.
    pub(crate) fn end(&mut self) {
        self.phase = Phase::Ended;
    }

    /// Sends a request and reads its whole reply.
    ///
    /// # Errors
    /// The server's. A lost connection: also one whose last reply was not read, or that does not answer in time.
    pub(crate) async fn run<T>(
        &mut self,
        request: impl Future<Output = Result<T, Driver>>,
    ) -> QueryResult<T> {
        match self.phase {
            Phase::Ready if self.is_outdated() => {
                return Err(lost("the database is elsewhere now"));
            }
            Phase::Ready => {}
            Phase::Due => return Err(lost("a reply is due on this connection")),
            Phase::Ended => return Err(lost("this connection was ended")),
        }
        self.phase = Phase::Due;
        let value = self.wait(request).await?;
        self.phase = Phase::Ready;
        Ok(value)
    }

    /// Says that more of the reply is to come than [`Mark::run`] read.
    pub(crate) fn expect_more(&mut self) {
        self.phase = Phase::Due;
    }

    /// Reads more of a reply that is due.
    pub(crate) async fn more<T>(
        &mut self,
        reply: impl Future<Output = Result<T, Driver>>,
    ) -> QueryResult<T> {
        if self.phase != Phase::Due {
            return Err(lost("no reply is due on this connection"));
        }
        self.wait(reply).await
    }

    /// Says that the reply was read to its end.
    pub(crate) fn complete(&mut self) {
        if self.phase == Phase::Due {
            self.phase = Phase::Ready;
        }
    }

    async fn wait<T>(&mut self, reply: impl Future<Output = Result<T, Driver>>) -> QueryResult<T> {
        match tokio::time::timeout(self.patience, reply).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Driver::Server(error))) => {
                // An error ends a reply.
                self.phase = Phase::Ready;
                self.judge(error.code);
                Err(of_driver(Driver::Server(error)))
            }
            Ok(Err(error)) => {
                self.suspect();
                Err(of_driver(error))
            }
            Err(_) => {
                self.suspect();
                let waited = self.patience;
                Err(lost(format!("no answer within {} ms", waited.as_millis())))
            }
        }
    }

    fn judge(&mut self, code: u16) {
        match Class::of(Some(code)) {
            // After a packet that is too large the server closes the connection.
            Class::Ended | Class::TooLarge => self.phase = Phase::Ended,
            Class::Moved => {
                self.phase = Phase::Ended;
                if let Some((opener, _)) = &self.origin {
                    opener.moved();
                }
            }
            _ => {}
        }
    }

    /// What befell this connection may have befallen all.
    fn suspect(&self) {
        if let Some((opener, _)) = &self.origin {
            opener.suspect();
        }
    }
}
