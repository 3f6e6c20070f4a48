//! Outbox, relay and consumers against a MariaDB and Redis of their own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod consumer;
mod relay;
mod support;
