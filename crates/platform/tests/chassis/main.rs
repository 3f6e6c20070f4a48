//! Calls through the whole chassis, in process and over real sockets, against a service whose
//! handler each test writes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod calls;
mod codecs;
mod connections;
mod errors;
mod health;
mod http1;
mod http1_connections;
mod raw;
mod server;
mod streams;
mod stub;
mod traces;
mod web;
