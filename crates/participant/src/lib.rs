//! What makes a service a participant of sagas, and its writes idempotent.
//!
//! A service describes its hot writes as a [`Desk`]: load and lock the rows of a batch, decide each operation in memory,
//! store what changed. [`Lanes`] runs desks in batches and keeps, in the same transaction as the effects, the barrier
//! rows of the saga's steps ([`barrier`]) and the idempotency rows of clients' requests. A desk therefore never sees a
//! repeated, late or already undone operation. Rare writes use [`once()`].

pub mod barrier;
mod desk;
mod guarded;
mod lanes;
mod name;
mod once;
mod outcome;
mod purge;
mod request;
mod schema;
pub mod server;
mod service;
pub mod steps;
mod store;
pub mod wire;

pub use barrier::{Found, RequestHash, RowState, SagaId, StepNo};
pub use desk::{Call, Desk, Moment, Task, Trace, Verdict};
pub use guarded::{CallKey, Guarded};
pub use lane::Health;
pub use lanes::{Lanes, Options};
pub use name::{InvalidName, Name};
pub use once::once;
pub use outcome::{Outcome, Told, never_heals};
pub use purge::{
    Forgotten, Housekeeper, Housekeeping, lower_watermark, newest_purgeable, watermark_of,
};
pub use request::{RequestKey, content_digest, content_hash};
pub use server::{ActionServer, ActionService, SagaParticipants};
pub use service::{Actions, Calls, Prepared, Routed, ServiceSteps};
pub use steps::{ActReply, ActionInfo, CallKind, StepAnswer, StepCall, Steps};
pub use store::{StepRow, steps_of};

/// The tables of a participant: the barrier, the watermark, clients' requests.
pub const MIGRATIONS: &[db::Migration] = &[
    db::migration!("2026-11-23-000001_saga_op"),
    db::migration!("2026-11-23-000002_saga_watermark"),
    db::migration!("2026-11-23-000003_saga_watermark_row"),
    db::migration!("2026-11-23-000004_idempotency"),
];
