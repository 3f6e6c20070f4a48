//! The chassis of every server: what a call has around it, whichever service it is for, and whether it came over a socket
//! or from a service in the same process.
//!
//! [`Chassis`] gives each call its [`context`], its deadline, a task of its own and errors that say why; [`transport`]
//! carries calls between services; [`server`] puts services on ports, with health and reflection; [`supervised`] keeps
//! background tasks running.

mod chassis;
pub mod context;
mod errors;
pub mod health;
pub mod logging;
pub mod page;
mod replay;
pub mod server;
mod services;
pub mod supervise;
mod timeout;
pub mod trace;
pub mod transport;

pub use chassis::{Chassis, Limits, Mounted};
pub use context::CallContext;
pub use health::Health;
pub use replay::{replayed, replayed_refusal};
pub use server::{Listener, Server};
pub use services::Services;
pub use supervise::supervised;
pub use transport::Transport;

/// The largest message that is accepted or sent: 256 KiB.
pub const MAX_MESSAGE_BYTES: usize = 262_144;
