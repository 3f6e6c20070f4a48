//! The one door to MySQL: connections that are never handed on dirty, transactions that retry what may be retried,
//! errors classified by what the caller can do about them, and the column types that Diesel lacks for MySQL.
//!
//! Nothing else in the workspace opens a connection. Two ways in:
//! [`Db`] (a pool: reads and rare writes) and [`Session`] (one connection of its own: lanes).

mod bytes;
mod clock;
mod conn;
mod error;
mod ids;
mod locking;
mod migrate;
mod opener;
mod pool;
mod probe;
mod script;
mod select;
mod server;
mod session;
mod time;
mod tx;
mod values;

pub use bytes::{Bytes8, Bytes16};
pub use clock::{Clock, ClockRecord, new_id, now_micros};
pub use conn::{Conn, MysqlField, MysqlRow};
pub use error::{Conflict, Error};
pub use ids::IdBlocks;
pub use locking::{ForUpdate, LockWait, for_update};
pub use migrate::{MIGRATIONS, Migration, migrate, migrate_watched, pending};
pub use opener::SessionId;
pub use pool::{Db, Options, SendAsyncFn};
pub use probe::probe;
pub use script::Script;
pub use select::{AnyOf, CHUNK, any_of};
pub use server::{Unfit, Weak};
pub use session::Session;
pub use time::{from_db, to_db};
pub use tx::AsConflict;
pub use values::{Values, values};

/// Result of a database call.
pub type Result<T, E = Error> = std::result::Result<T, E>;
