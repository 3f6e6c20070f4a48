//! The contract, driven from its own descriptors: every call, every field, every documented range, every request id.

mod bad_input;
mod baseline;
mod dynamic;
mod request_ids;
