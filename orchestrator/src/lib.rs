//! The orchestrator: which steps an order takes, in which order, and what its client is told.
//!
//! [`checkout`] and [`cancel`] are the plans, one file a saga; [`service`] answers clients, [`admin`] operators. How sagas
//! run, fail and recover is the `saga` crate's, which knows none of this.

mod admin;
mod answer;
mod calls;
mod cancel;
mod checkout;
mod housekeeping;
mod operate;
mod order_ids;
mod record;
mod request;
mod rows;
mod service;
mod unfinished;

pub use calls::Participants;
pub use service::Orchestrator;

/// The kinds of sagas, stable for ever.
pub mod kind {
    /// Placing an order.
    pub const CHECKOUT: i8 = 1;
    /// Cancelling one.
    pub const CANCEL: i8 = 2;
}
