//! Errors of the driver as Diesel's, with the server's code kept.
//!
//! Diesel has no place for a code, so it travels as the `details` of the error, which no MySQL server has.

use diesel::ConnectionError;
use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error as Diesel};
use mysql_async::{Error as Driver, ServerError};

/// What can be done about a server's error, by its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Duplicate,
    Deadlock,
    LockTimeout,
    Changed,
    RolledBack,
    TooLarge,
    /// The server ends this connection.
    Ended,
    /// The server takes no more writes, or is not (or no longer) the one that is wanted: all connections to it have to go.
    Moved,
    Other,
}

impl Class {
    pub(crate) fn of(code: Option<u16>) -> Self {
        match code.unwrap_or_default() {
            1062 | 1586 | 1859 => Self::Duplicate,
            1213 => Self::Deadlock,
            // 3572 is what MySQL says to NOWAIT; MariaDB says 1205.
            1205 | 3572 => Self::LockTimeout,
            1020 => Self::Changed,
            3101 | 8002 | 8005 | 8022 | 8028 | 9007 => Self::RolledBack,
            1153 => Self::TooLarge,
            // Aborted, killed or idle sessions, packets that did not arrive, no room for one more session.
            1040 | 1152 | 1158..=1161 | 1184 | 1203 | 1317 | 1927 | 2006 | 2013 | 4031 => {
                Self::Ended
            }
            // Not ready, unknown database, shutting down, read-only, offline, hooks of a group that failed, TiDB's store.
            1047 | 1049 | 1053 | 1290 | 1792 | 1836 | 3032 | 3100 | 9001..=9005 => Self::Moved,
            _ => Self::Other,
        }
    }
}

/// An error's words, and its code where it is a server's.
struct Told {
    code: Option<String>,
    message: String,
}

impl DatabaseErrorInformation for Told {
    fn message(&self) -> &str {
        &self.message
    }

    fn details(&self) -> Option<&str> {
        self.code.as_deref()
    }

    fn hint(&self) -> Option<&str> {
        None
    }

    fn table_name(&self) -> Option<&str> {
        None
    }

    fn column_name(&self) -> Option<&str> {
        None
    }

    fn constraint_name(&self) -> Option<&str> {
        None
    }

    fn statement_position(&self) -> Option<i32> {
        None
    }
}

/// The server's code of an error.
pub(crate) fn code_of(info: &(dyn DatabaseErrorInformation + Send + Sync)) -> Option<u16> {
    info.details()?.parse().ok()
}

/// An error after which the connection is of no more use.
pub(crate) fn lost(message: impl Into<String>) -> Diesel {
    let told = Told { code: None, message: message.into() };
    Diesel::DatabaseError(DatabaseErrorKind::ClosedConnection, Box::new(told))
}

/// What is larger than one message may be, as the server would say it.
pub(crate) fn too_large(bytes: usize, most: usize) -> Diesel {
    let message = format!("{bytes} bytes in one message, where {most} are the most");
    let told = Told { code: Some("1153".to_owned()), message };
    Diesel::DatabaseError(DatabaseErrorKind::UnableToSendCommand, Box::new(told))
}

pub(crate) fn of_driver(error: Driver) -> Diesel {
    match error {
        Driver::Server(error) => of_server(error),
        other => lost(other.to_string()),
    }
}

fn of_server(ServerError { code, message, .. }: ServerError) -> Diesel {
    let kind = match code {
        1062 | 1586 | 1859 => DatabaseErrorKind::UniqueViolation,
        1216 | 1217 | 1451 | 1452 | 1830 | 1834 => DatabaseErrorKind::ForeignKeyViolation,
        1048 | 1364 => DatabaseErrorKind::NotNullViolation,
        1792 => DatabaseErrorKind::ReadOnlyTransaction,
        3819 => DatabaseErrorKind::CheckViolation,
        _ => DatabaseErrorKind::Unknown,
    };
    let message = format!("{message} ({code})");
    Diesel::DatabaseError(kind, Box::new(Told { code: Some(code.to_string()), message }))
}

pub(crate) fn at_connect(error: Driver) -> ConnectionError {
    match error {
        Driver::Url(error) => ConnectionError::InvalidConnectionUrl(error.to_string()),
        Driver::Server(error) => ConnectionError::CouldntSetupConfiguration(of_server(error)),
        other => ConnectionError::BadConnection(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_server_s_error_comes_through_diesel() {
        let error = ServerError { code: 1205, message: "Wartezeit".into(), state: "HY000".into() };
        let Diesel::DatabaseError(_, info) = of_driver(Driver::Server(error)) else {
            unreachable!("a server's error")
        };
        assert_eq!(code_of(&*info), Some(1205));
        assert_eq!(Class::of(code_of(&*info)), Class::LockTimeout);
    }
}
