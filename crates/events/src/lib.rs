//! Events: written with the change that they tell of, relayed in order, consumed once.
//!
//! A service appends to its schema's outbox in the transaction of the change ([`outbox::append`]).
//!
//! Auto-increment order is not commit order, so nothing here remembers "the last id": the relay numbers what has been
//! committed, under the shard's lock, and that number is the event's position for ever.

pub mod outbox;
mod schema;
mod shard;

pub use outbox::Event;
pub use shard::{SHARDS, Shard};
