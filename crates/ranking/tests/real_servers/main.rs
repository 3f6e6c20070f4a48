//! The ranking on a Redis of its own, fed by hand, and by a relay from a MariaDB.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells its seed"
)]

mod clocks;
mod counts;
mod histories;
mod memory;
mod reads;
mod served;
mod speed;
mod support;
