//! The orchestrator: which steps an order takes, in which order, and what its client is told.
//!
//! [`checkout`] and [`cancel`] are the plans, one file a saga; [`service`] answers clients, [`admin`] operators,
//! [`submit`] those who bring sagas of their own. Nothing here
//! calls a participant: how sagas run, fail and recover is the `saga` crate's, which knows none of this.

mod admin;
mod answer;
mod cancel;
mod checkout;
mod operate;
mod order_ids;
mod record;
mod request;
mod service;
mod submit;

pub use cancel::CancelPlan;
pub use checkout::CheckoutPlan;
pub use service::Orchestrator;
pub use submit::Submit;

/// The kinds of sagas; the numbers never change.
pub mod kind {
    /// Placing an order.
    pub const CHECKOUT: i8 = 1;
    /// Cancelling one.
    pub const CANCEL: i8 = 2;
    /// A saga that was submitted as data.
    pub const SUBMITTED: i8 = 3;
}
