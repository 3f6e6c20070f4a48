//! The ranking on a Redis of its own, fed by hand, and by a relay from a MariaDB.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod counts;
mod served;
mod support;
