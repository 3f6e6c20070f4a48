//! Outbox, relay and consumers against a MariaDB and Redis of their own.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells how far it came"
)]

mod consumer;
mod kills;
mod load;
mod outages;
mod relay;
mod rows;
mod support;
