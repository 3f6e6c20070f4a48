//! What went wrong, by what can be done about it.
//!
//! The server's error code decides, never its text: texts depend on `lc_messages`. See [`crate::conn`] for how the code
//! travels through Diesel.

use crate::conn::{Class, code_of};
use crate::server::Unfit;
use diesel::result::{DatabaseErrorKind, Error as Diesel};

/// An error of the database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The transaction met another one: rolled back, and worth running again as a whole.
    #[error("the transaction conflicted with another: {0}")]
    Conflict(Conflict),
    /// The connection was lost before COMMIT was sent: nothing happened.
    ///
    /// So is a server that takes no writes any more, such as an old primary that became read-only: the next connection
    /// goes where the address points then.
    #[error("the connection to the database was lost: {0}")]
    Lost(String),
    /// The connection was lost while COMMIT was under way: nobody knows whether it happened.
    #[error("the connection was lost during commit: {0}")]
    CommitUnknown(String),
    /// The server refused the statement for a reason that repeating does not cure.
    #[error("the database refused: {0}")]
    Server(String),
    /// A message was larger than the server takes, or than one message may be: nothing of it was run.
    #[error("the statements are too large: {0}")]
    TooLarge(String),
    /// No connection became free in time: nothing happened.
    #[error("no database connection became free in time")]
    Busy,
    /// A row does not decode, or rows contradict each other: a defect, named for the log.
    #[error("inconsistent data: {0}")]
    Corrupt(String),
    /// The answer bears another key than was asked for: it is not answered, and its connection is not used again.
    #[error("the answer is another row's: {0}")]
    WrongRow(String),
    /// The server cannot keep what the program promises.
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

/// Why a transaction has to run again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// 1062: another transaction inserted the key first.
    #[error("duplicate key: {0}")]
    Duplicate(String),
    /// 1213.
    #[error("deadlock")]
    Deadlock,
    /// 1205, which rolls back only the statement: the transaction must be rolled back by its owner. 3572 of MySQL, where
    /// a row was locked and NOWAIT was asked for.
    #[error("lock wait timeout")]
    LockTimeout,
    /// 1020 (MariaDB).
    #[error("record changed since last read")]
    Changed,
    /// The engine rolled the transaction back at its COMMIT: another node (3101) or another transaction (`TiDB`: 8002, 8005,
    /// 8022, 8028, 9007) was first.
    #[error("the engine rolled the transaction back: {0}")]
    RolledBack(String),
    /// A conditional UPDATE or DELETE matched fewer rows than the transaction relied on.
    #[error("{found} rows matched where {expected} were expected")]
    ShortCount {
        /// Rows that had to match.
        expected: usize,
        /// Rows that did.
        found: usize,
    },
}

impl Error {
    /// Whether the same call may succeed later: the database could not be reached, was busy, or decided otherwise.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Busy
                | Self::Lost(_)
                | Self::CommitUnknown(_)
                | Self::WrongRow(_)
                | Self::Unfit(_)
                | Self::Conflict(_)
        )
    }

    /// Whether the whole transaction may simply be run again.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }

    /// Whether the connection is of no more use.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::CommitUnknown(_) | Self::WrongRow(_) | Self::Unfit(_))
    }

    /// Whether the statements have to be sent in smaller parts. Nothing of them was run.
    pub fn is_too_large(&self) -> bool {
        matches!(self, Self::TooLarge(_))
    }

    /// Whether a row was locked by another transaction for longer than this one waits.
    pub fn is_lock_timeout(&self) -> bool {
        matches!(self, Self::Conflict(Conflict::LockTimeout))
    }

    /// Refuses a write that matched another number of rows than it relied on.
    ///
    /// # Errors
    /// [`Conflict::ShortCount`] where the numbers differ.
    pub fn expect_count(expected: usize, found: usize) -> Result<(), Self> {
        if expected == found {
            return Ok(());
        }
        Err(Self::Conflict(Conflict::ShortCount { expected, found }))
    }
}

impl From<Diesel> for Error {
    fn from(error: Diesel) -> Self {
        match error {
            Diesel::DatabaseError(DatabaseErrorKind::ClosedConnection, info) => {
                Self::Lost(info.message().to_owned())
            }
            Diesel::DatabaseError(kind, info) => {
                let text = info.message().to_owned();
                match Class::of(code_of(&*info)) {
                    Class::Duplicate => Self::Conflict(Conflict::Duplicate(text)),
                    Class::Deadlock => Self::Conflict(Conflict::Deadlock),
                    Class::LockTimeout => Self::Conflict(Conflict::LockTimeout),
                    Class::Changed => Self::Conflict(Conflict::Changed),
                    Class::RolledBack => Self::Conflict(Conflict::RolledBack(text)),
                    Class::TooLarge => Self::TooLarge(text),
                    Class::Ended | Class::Moved => Self::Lost(text),
                    Class::Other if is_named(kind) => Self::Server(format!("{kind:?}: {text}")),
                    Class::Other => Self::Server(text),
                }
            }
            Diesel::BrokenTransactionManager => Self::Lost("broken transaction".to_owned()),
            Diesel::DeserializationError(source) => Self::Corrupt(source.to_string()),
            other => Self::Server(other.to_string()),
        }
    }
}

fn is_named(kind: DatabaseErrorKind) -> bool {
    !matches!(kind, DatabaseErrorKind::Unknown)
}

impl From<diesel::ConnectionError> for Error {
    fn from(error: diesel::ConnectionError) -> Self {
        Self::Lost(error.to_string())
    }
}
