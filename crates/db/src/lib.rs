//! The one door to MySQL: connections that are never handed on dirty, transactions that retry what may be retried,
//! errors classified by what the caller can do about them, and the column types that Diesel lacks for MySQL.
//!
//! Nothing else in the workspace opens a connection. Two ways in:
//! [`Db`] (a pool: reads and rare writes) and [`Session`] (one connection of its own: lanes).

mod bytes;
mod error;
mod ids;
mod locking;
mod migrate;
mod pool;
mod script;
mod select;
mod session;
mod time;
mod values;

pub use bytes::{Bytes8, Bytes16};
pub use error::{Conflict, Error};
pub use ids::IdBlocks;
pub use locking::{ForUpdate, LockWait, for_update};
pub use migrate::migrate;
pub use pool::{Db, Options, SendAsyncFn};
pub use script::Script;
pub use select::{AnyOf, CHUNK, InShareMode, any_of, in_share_mode};
pub use session::Session;
pub use time::{from_db, now_micros, to_db};
pub use values::{Values, values};

/// The connection that every query of the workspace runs on.
pub type Conn = diesel_async::AsyncMysqlConnection;

/// Result of a database call.
pub type Result<T, E = Error> = std::result::Result<T, E>;
