//! Checks a plan's shape by exploring everything that can happen to one saga of it.
//!
//! [`check()`] drives the real [`decide`](crate::decide::decide) against the real barrier of the participants, with rows in
//! memory. It takes every order of these events, within [`Limits`]: messages delivered late and repeatedly, replies lost,
//! executors crashing anywhere and others taking over at any time, STARTs lost, aborts by deadline and operator, watermarks
//! raised and barrier rows purged, an operator resolving the saga by hand. It shows three things:
//!
//! - no invariant is violated in any state (see [`Violation`]);
//! - from every state the end can be reached without further faults;
//! - after a crash of all executors, a single new one always reaches the end.
//!
//! It needs the feature `model`, no database and no network; put it in a test of the crate that holds the plan:
//!
//! ```toml
//! [dev-dependencies]
//! saga = { path = "…", features = ["model"] }
//! ```
//!
//! What a step does is not part of the model: a step takes effect once, refuses, or is undone. Nor are errors that no retry
//! can heal, which abort or park a saga.
//!
//! # Examples
//!
//! A trip reserves a flight and a hotel at once, books both with the payment as its pivot, and then mails the ticket:
//!
//! ```
//! use participant::barrier::StepNo;
//! use saga::model::{Limits, check};
//! use saga::shape::Shape;
//!
//! let shape = Shape {
//!     compensatable: vec![vec![StepNo(1), StepNo(2)]],
//!     pivot: StepNo(3),
//!     retriable: vec![vec![StepNo(4)]],
//! };
//! let explored = check(&shape, &Limits { executors: 1, ..Limits::default() }).unwrap();
//! assert!(explored.states > 1_000);
//! ```

// A model that finds nothing proves little. So the tests break each rule once (the `Broken` of every model), and the
// explorer must find what then goes wrong. Two smaller models of the tests go statement by statement: `watermark` through
// START, the raising of the watermark, a step and the purge beside each other, `claims` through replicas that take over the
// same saga. `race` lets two cancellations race an unfinished checkout.

mod broken;
mod check;
#[cfg(test)]
mod claims;
mod explore;
mod invariants;
mod moves;
mod participants;
#[cfg(test)]
mod race;
mod saga;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod watermark;
mod words;

pub use check::{CheckError, Explored, Fault, Limits, Purge, Rejectable, check};

/// An invariant of the protocol that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A step's effect stands twice.
    #[error("a step's effect stands twice")]
    EffectTwice,
    /// A step was undone more often than it was done, which mints money.
    #[error("a step was undone more often than it was done")]
    UndoneTwice,
    /// A step took effect after END was recorded, so nothing will undo it.
    #[error("a step took effect after END")]
    EffectAfterEnd,
    /// The pivot is in effect without all the steps before it.
    #[error("the pivot is in effect without all the steps before it")]
    PivotWithoutSteps,
    /// The pivot is done beside a step before it that is undone or rejected.
    #[error("the pivot is done beside a step that is undone or rejected")]
    PivotDoneBesideUndoneStep,
    /// Steps of two stages of one saga are recorded as rejected.
    #[error("steps of two stages are recorded as rejected")]
    TwoRejections,
    /// The client was told of a success, but not every step is in effect.
    #[error("the client was told \"succeeded\", but not every step is in effect")]
    ToldSucceededInVain,
    /// The client was told of a failure, but the pivot is in effect.
    #[error("the client was told \"failed\", but the pivot is in effect")]
    ToldFailedInVain,
    /// The client was given two different answers.
    #[error("the client was given two different answers")]
    TwoAnswers,
    /// A failure was told or recorded without its reason.
    #[error("a failure was told or recorded without its reason")]
    ReasonLost,
    /// END says that the saga succeeded, but not every step is in effect.
    #[error("END says \"succeeded\", but not every step is in effect")]
    EndedSucceededInVain,
    /// END says that the saga failed, but effects remain.
    #[error("END says \"failed\", but effects remain")]
    EndedFailedInVain,
    /// END differs from what the client was told.
    #[error("END differs from what the client was told")]
    EndedOtherwiseThanTold,
    /// The reason in END is neither the recorded rejection nor the reason in the pivot's row.
    #[error("the reason in END is neither the recorded rejection nor that of the pivot's row")]
    EndedForWrongReason,
    /// Two executors ended the saga differently.
    #[error("two executors ended the saga differently")]
    TwoEnds,
    /// A step was sent, or a success was found, without the replies that it is built from.
    #[error("a step was sent, or a success was found, without the replies that it is built from")]
    SentWithoutReplies,
    /// The end can no longer be reached without further faults.
    #[error("the end can no longer be reached")]
    Stuck,
    /// A lone executor, without faults, does not always reach the end after this state.
    #[error("after a crash here, a lone executor does not always reach the end")]
    LoneExecutorStuck,

    /// A step that has no compensation was to be undone.
    #[cfg(test)]
    #[error("a step that has no compensation was to be undone")]
    UndoesForwardStep,
    /// An order that was never confirmed was refunded.
    #[cfg(test)]
    #[error("an order that was never confirmed was refunded")]
    RefundWithoutOrder,
    /// An order is alive although its cancellation succeeded.
    #[cfg(test)]
    #[error("an order is alive although its cancellation succeeded")]
    CancelledOrderAlive,
    /// The watermark stands above a saga that is not over.
    #[cfg(test)]
    #[error("the watermark stands above an unfinished saga")]
    UnfinishedBelowWatermark,
    /// Two replicas took over one saga from the same owner.
    #[cfg(test)]
    #[error("two replicas took over one saga from the same owner")]
    ClaimedTwice,
    /// A saga was taken over from an owner that had shown that it lives.
    #[cfg(test)]
    #[error("a saga was taken over from an owner that had shown that it lives")]
    ClaimedFromTheLiving,
}
