//! Private MariaDB (or MySQL) and Redis servers, started from the programs installed on this machine; for tests also
//! Apache Kafka, from a folder of its jars.
//!
//! A shop that was given no database runs on servers of its own: they live in a folder that the caller
//! names (or in a temporary one, for tests), listen where only this user can reach them, are durable, and
//! end when the program ends, however it ends.
//!
//! What may be relied on:
//! - **One owner.** A folder is locked while a handle to it lives; a second program is refused with the first
//!   one's process id.
//! - **No orphans.** The kernel kills a server when the program dies, even by `kill -9` (where `setpriv` of
//!   util-linux is installed). A server that was left over nevertheless is found and ended at the next start.
//! - **No half-made folder.** A data folder is laid out under another name and renamed when it is whole.
//!
//! Linux only: it reads `/proc`, and holds its servers by process file descriptors.

mod error;
mod folder;
mod kafka;
mod mysql;
mod process;
mod program;
mod redis;
mod server;

pub use crate::error::Error;
pub use crate::folder::Place;
pub use crate::kafka::{Kafka, KafkaOptions};
pub use crate::mysql::{MySql, MySqlOptions};
pub use crate::redis::{Redis, RedisOptions};
pub use crate::server::Listen;
