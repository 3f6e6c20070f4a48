//! `StreamEvents`: the events of this process's outboxes, for whoever follows them without a bus.
//!
//! Rows are read by the numbers that the relay has given them, so a client that says where it stands misses none and gets
//! none twice, whichever replica answers. One look at the shards' last numbers, ten times a second, wakes all streams of a
//! source; a stream reads only what it lacks, a page at a time, and no faster than its client.

mod cursor;
mod service;
mod stream;
mod tail;

pub use service::{Feeds, Options};
