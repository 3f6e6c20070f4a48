//! The saga engine. It knows steps, barrier rows and outcomes, and no shop.
//!
//! Its decisions are pure and live apart from what carries them out:
//!
//! - [`shape`]: the order of a saga's steps around its pivot;
//! - [`decide`]: what an executor knows, and what it does when something arrives;
//! - [`outcome`]: how sagas end, and why;
//! - [`recorded`]: how a saga stands by its rows, for whoever is not its executor;
//! - [`resolve`]: whether an operator may close a saga by hand;
//! - [`backoff`]: how long to wait before asking again;
//! - [`submitted`]: sagas that are data, as a plan.
//!
//! What carries them out: [`journal`] keeps START and END, [`runtime`] walks the sagas, [`transport`] reaches participants in
//! other processes.
//!
//! An explicit-state model (`model`, behind the feature of that name) explores the real decision function together with the
//! real barrier of the participants, over every order of late, repeated and lost messages, crashes and takeovers, for the
//! shape of any plan; its tests show for each rule that breaking it is noticed.

pub mod backoff;
pub mod decide;
pub mod journal;
#[cfg(any(test, feature = "model"))]
pub mod model;
pub mod outcome;
pub mod recorded;
pub mod resolve;
pub mod runtime;
pub mod shape;
pub mod submitted;
pub mod transport;
