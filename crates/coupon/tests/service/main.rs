//! The coupon service on a real database: its calls, the rush, and its steps in sagas.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails here is a failed test")]

mod calls;
mod harness;
mod lists;
mod notices;
mod rush;
mod steps;
