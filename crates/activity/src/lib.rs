//! The activity log: a row for every wallet that was opened, every change of a balance, every order placed or cancelled.
//!
//! Services write events with their changes, and nothing else for this log. A [`Log`] for each [`Source`], fed by an
//! `events::Consumer`, appends them to a table partitioned by day, and stores in the same transaction how far it has come:
//! replicas and repeats have one effect. The [`Keeper`] makes partitions ahead and drops old ones.
//!
//! The log says what the events say, no more and no less, so it can be compared with ledger and orders at any moment, up to
//! the stored positions. `audit` does.

pub mod domain;
mod keeper;
mod log;
mod store;
mod wire;

use std::time::Duration;

pub use domain::Source;
pub use keeper::Keeper;
pub use log::Log;

/// How long the log's consumer lets events gather: it shares the database with what they tell of, and a commit for many
/// of them burdens it less.
pub const REST: Duration = Duration::from_secs(1);

/// The name under which the buses of the sources know this consumer.
pub const CONSUMER: &str = "activity";
