//! The contract, driven from its own descriptors: every call, every field, every documented range, every request id.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod bad_input;
mod baseline;
mod dynamic;
mod request_ids;
