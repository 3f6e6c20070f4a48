//! Streams of events from outboxes in a MariaDB of their own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ends;
mod sources;
mod support;
mod turns;
