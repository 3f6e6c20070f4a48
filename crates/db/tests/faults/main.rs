//! What callers meet when the server is frozen, silent, read-only or another one: their own answers or an error, and soon
//! again answers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod engine;
mod failover;
mod silence;
mod support;
