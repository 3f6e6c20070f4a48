//! The generated checks of requests.
#![allow(
    unused_variables,
    clippy::all,
    clippy::pedantic,
    unused_qualifications,
    reason = "generated"
)]

use crate::{
    Reason,
    check::{Check, Limits, Path, Violations, names},
};

include!(concat!(env!("OUT_DIR"), "/checks.rs"));
