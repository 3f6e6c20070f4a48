//! The activity log against a MariaDB and Redis of their own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod days;
mod log;
mod support;
