//! Calls through the whole chassis, in process and over real sockets, against a service whose
//! handler each test writes.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod calls;
mod errors;
mod server;
mod stub;
mod traces;
