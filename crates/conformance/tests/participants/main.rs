//! The rules against a correct participant, against faulty ones, and against those in other languages.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod faults;
mod languages;
mod seats;
mod support;
