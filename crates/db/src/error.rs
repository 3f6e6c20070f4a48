//! What went wrong, by what can be done about it.
//!
//! Diesel's MySQL backend reports most server errors as `Unknown` with the server's text, so the text is what is
//! matched here, in this one place.

use diesel::result::{DatabaseErrorKind, Error as Diesel};

/// An error of the database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The transaction met another one: rolled back, and worth running again as a whole.
    #[error("the transaction conflicted with another: {0}")]
    Conflict(Conflict),
    /// The connection was lost before COMMIT was sent: nothing happened.
    #[error("the connection to the database was lost: {0}")]
    Lost(String),
    /// The connection was lost while COMMIT was under way: nobody knows whether it happened.
    #[error("the connection was lost during commit: {0}")]
    CommitUnknown(String),
    /// The server refused the statement for a reason that repeating does not cure.
    #[error("the database refused: {0}")]
    Server(String),
    /// No connection became free in time: nothing happened.
    #[error("no database connection became free in time")]
    Busy,
    /// A row does not decode, or rows contradict each other: a defect, named for the log.
    #[error("inconsistent data: {0}")]
    Corrupt(String),
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
    /// 1205, which rolls back only the statement: the transaction must be rolled back by its owner.
    #[error("lock wait timeout")]
    LockTimeout,
    /// 1020 (MariaDB).
    #[error("record changed since last read")]
    Changed,
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
    /// Whether the whole transaction may simply be run again.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }

    /// Whether the connection is of no more use.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::CommitUnknown(_))
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

/// Texts by which a server says that it ends the connection (1053, 1927, 1317, 4031, 1152, 1184).
const ENDED: [&str; 6] = [
    "Server shutdown in progress",
    "Connection was killed",
    "Query execution was interrupted",
    "disconnected by the server because of inactivity",
    "Aborted connection",
    "server has gone away",
];

impl From<Diesel> for Error {
    fn from(error: Diesel) -> Self {
        match error {
            Diesel::DatabaseError(DatabaseErrorKind::UniqueViolation, info) => {
                Self::Conflict(Conflict::Duplicate(info.message().to_owned()))
            }
            Diesel::DatabaseError(DatabaseErrorKind::Unknown, info) => unknown(info.message()),
            Diesel::DatabaseError(kind, info) => {
                Self::Server(format!("{kind:?}: {}", info.message()))
            }
            Diesel::BrokenTransactionManager => Self::Lost("broken transaction".to_owned()),
            Diesel::DeserializationError(source) => Self::Corrupt(source.to_string()),
            other => Self::Server(other.to_string()),
        }
    }
}

fn unknown(message: &str) -> Error {
    if message.contains("Deadlock found") {
        return Error::Conflict(Conflict::Deadlock);
    }
    // The second is what MySQL says of NOWAIT (3572); MariaDB says the first.
    if message.contains("Lock wait timeout exceeded") || message.contains("NOWAIT is set") {
        return Error::Conflict(Conflict::LockTimeout);
    }
    if message.contains("Record has changed since last read") {
        return Error::Conflict(Conflict::Changed);
    }
    let of_the_driver = ["Input/output error", "Driver error", "Other error"]
        .iter()
        .any(|prefix| message.starts_with(prefix));
    if of_the_driver || ENDED.iter().any(|text| message.contains(text)) {
        return Error::Lost(message.to_owned());
    }
    Error::Server(message.to_owned())
}

impl From<diesel::ConnectionError> for Error {
    fn from(error: diesel::ConnectionError) -> Self {
        Self::Lost(error.to_string())
    }
}
