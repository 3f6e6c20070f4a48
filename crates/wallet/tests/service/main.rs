//! The wallet service on a real database, through its clients.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod bank;
mod calls;
mod contract;
mod lists;
mod steps;
