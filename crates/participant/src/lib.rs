//! What makes a service a participant of sagas, and its writes idempotent.
//!
//! A service describes its hot writes as a [`Desk`]: load and lock the rows of a batch, decide each operation in memory,
//! store what changed. [`Lanes`] runs desks in batches and keeps, in the same transaction as the effects, the barrier
//! rows of the saga's steps ([`barrier`]) and the idempotency rows of clients' requests. A desk therefore never sees a
//! repeated, late or already undone operation. Rare writes use [`once()`].

pub mod barrier;
mod desk;
pub mod grpc;
mod guarded;
mod lanes;
mod once;
mod outcome;
mod purge;
mod request;
mod schema;
mod store;

pub use barrier::{Found, RequestHash, RowState, SagaId, StepNo};
pub use desk::{Call, Desk, Moment, Step, Task, Trace, Verdict};
pub use guarded::{CallKey, Guarded};
pub use lane::Health;
pub use lanes::{Calls, Lanes, Options};
pub use once::once;
pub use outcome::{Outcome, found_of, marks, refuse_lane};
pub use purge::{Forgotten, Housekeeper, Housekeeping};
pub use request::{RequestKey, content_hash};
pub use store::{StepRow, steps_of};
