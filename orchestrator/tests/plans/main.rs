//! What must hold for every step of every plan that is registered, whatever it does.
//!
//! The tests walk the plans' own list of steps. What they need to know about a plan beside that stands in the tables of
//! [`scenarios`]; a plan or a step that is missing there fails every test here, by name.
//!
//! The four participants run in process on a real database. Each orchestrator replica has a runtime of its own, so that
//! it can be killed like a process, and reaches the participants over a [`wire`] that loses, doubles and delays what a
//! test tells it to.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot be set up has failed"
)]

mod answered;
mod cancelled;
mod compensated;
mod forgotten;
mod lost;
mod node;
mod operated;
mod recovered;
mod refused;
mod remote;
mod repeated;
mod scenarios;
mod shop;
mod snapshot;
mod stages;
mod unhealing;
mod unknown;
mod unreadable;
mod wire;
