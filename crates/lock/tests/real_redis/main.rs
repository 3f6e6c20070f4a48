//! Locks in a real Redis.

#![expect(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod held;
mod lost;
mod support;
mod turns;
