//! `StreamEvents`: the events of this process's outboxes, for programs that follow them without a bus.
//!
//! Rows are read by the numbers that the relay has given them, so a client that says where it stands misses none and gets
//! none twice, whichever replica answers. One look at the shards' last numbers, ten times a second, wakes all streams of a
//! source; a stream reads only what it lacks, a page at a time, and no faster than its client.
//!
//! A stream of several sources has a task per source. They share the client's channel, where each gets its turn, and the
//! cursor, which says after each event how far every source has come. A stream whose client asked for a source that does
//! not answer ends, so that the client learns of it; other sources go on until then.

mod answers;
mod branch;
mod bytes;
mod cursor;
mod outbox;
mod place;
mod service;
mod tail;

pub use service::{Feeds, Options};
