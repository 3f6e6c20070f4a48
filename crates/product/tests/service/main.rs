//! The product service on a real database: its calls, and its steps in sagas.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails here is a failed test")]

mod admin;
mod cache;
mod calls;
mod harness;
mod search;
mod steps;
