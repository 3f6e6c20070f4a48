//! Running sagas: the one place where the pure protocol meets time and the network.
//!
//! [`Engine`] accepts sagas and answers what is known of them; an executor walks one saga, asking [`crate::decide`] what
//! comes next; recovery takes over what dead replicas left. A plan ([`Plan`], [`SagaInstance`]) says what a step sends and
//! to whom; the engine knows no domain.

mod call;
mod control;
mod engine;
mod executor;
mod gates;
mod housekeeping;
mod live;
mod look_up;
mod operator;
mod plan;
mod recovery;
mod rows;
mod run;
mod standing;

pub use control::Trouble;
pub use engine::{Accepted, Engine, NotAccepted, Options};
pub use live::Progress;
pub use plan::{Plan, SagaInstance, StepInfo, ToSend, Unreadable, rejection};
pub use rows::Rows;
pub use standing::{Answer, NoStanding, Standing};
