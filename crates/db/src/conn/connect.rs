//! How a connection is made.

use super::fault::at_connect;
use diesel::ConnectionError;
use diesel::result::ConnectionResult;
use mysql_async::{Conn, Opts, OptsBuilder};
use std::time::Duration;

/// How long a connection may take until it is ready for its first statement.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which nothing passes is tried by the kernel after this many milliseconds.
const KEEPALIVE_MS: u32 = 10_000;

/// Times and texts of every connection: UTC, and four-byte characters.
const SETUP: &str = "SET time_zone = '+00:00', character_set_client = 'utf8mb4', \
    character_set_connection = 'utf8mb4', character_set_results = 'utf8mb4'";

/// Connects to a server and sets time zone and characters.
///
/// The driver lets nobody set `TCP_USER_TIMEOUT`. Nothing rests on it: whoever waits for a connection has a deadline.
pub(super) async fn open_driver(url: &str, within: Duration) -> ConnectionResult<Conn> {
    let opts = Opts::from_url(url).map_err(|error| at_connect(error.into()))?;
    let opts = OptsBuilder::from_opts(opts)
        .init(vec![SETUP])
        .stmt_cache_size(0_usize)
        // Updates count the rows that matched, also those that had the new values already: conditional updates rest on it.
        .client_found_rows(true)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(KEEPALIVE_MS))
        // Or a server behind a proxy on this machine would be left for whichever listens on the same socket here.
        .prefer_socket(false)
        // Asked for below, in the same message as everything else.
        .max_allowed_packet(Some(1 << 30))
        .wait_timeout(Some(0));
    let opened = tokio::time::timeout(within, Conn::new(opts)).await.map_err(|_| {
        let waited = format!("no connection within {} ms", within.as_millis());
        ConnectionError::BadConnection(waited)
    });
    opened?.map_err(at_connect)
}
