//! The chassis of every server: what a call has around it, whichever service it is for, and whether it came over a socket
//! or from a service in the same process.
//!
//! [`Chassis`] gives each call its [`context`], its deadline, a task of its own and errors that say why; [`transport`]
//! carries calls between services; [`server`] puts services on ports, with health and reflection; [`web`] lets pages call
//! them; [`supervised`] keeps background tasks running.

mod bounded;
mod chassis;
pub mod context;
mod entry;
mod errors;
pub mod health;
mod incoming;
pub mod logging;
pub mod page;
mod replay;
pub mod server;
mod services;
mod serving;
pub mod supervise;
mod timeout;
pub mod trace;
pub mod transport;
pub mod web;

pub use chassis::{Chassis, Limits, Mounted};
pub use context::CallContext;
pub use health::{Health, Probe};
pub use replay::{replayed, replayed_refusal};
pub use server::{Listener, Server};
pub use services::Services;
pub use supervise::supervised;
pub use transport::Transport;
pub use web::Origins;

/// The largest request that is accepted, after decompression: 256 KiB.
pub const MAX_MESSAGE_BYTES: usize = 262_144;

/// The largest answer that is sent: 4 MiB, which is what generated clients accept unless told otherwise.
pub const MAX_ANSWER_BYTES: usize = 4_194_304;

/// Gives a generated server what every service has: the limits of messages, and requests compressed with gzip. Answers are
/// not compressed: nearly all are smaller than what gzip adds to them.
#[macro_export]
macro_rules! served {
    ($server:expr) => {
        $server
            .max_decoding_message_size($crate::MAX_MESSAGE_BYTES)
            .max_encoding_message_size($crate::MAX_ANSWER_BYTES)
            .accept_compressed($crate::GZIP)
    };
}

/// How requests may be compressed.
pub const GZIP: tonic::codec::CompressionEncoding = tonic::codec::CompressionEncoding::Gzip;
