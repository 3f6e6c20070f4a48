//! What a server is, and whether it can keep what the program promises. Asked of every new connection.

use crate::{Conn, Error, Result};
use mysql_async::{Row, Value};
use std::collections::HashMap;

/// Why a server is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// A commit that it answers may be lost.
    #[error(transparent)]
    NotDurable(#[from] Weak),
    /// Several servers take writes at once, and their row locks are their own.
    #[error(
        "{setting} is {found}: several servers of the group take writes, and a row lock on one is none on the others (let one server take all writes)"
    )]
    SeveralWriters {
        /// The setting.
        setting: &'static str,
        /// What it is.
        found: String,
    },
    /// New connections lead to one server and then to another, again and again.
    #[error(
        "the address leads to {one} and to {other} in turn: row locks on one are none on the other (let the address lead to the one server that takes writes)"
    )]
    SeveralServers {
        /// One of them.
        one: String,
        /// Another.
        other: String,
    },
    /// New tables would be of an engine that has no transactions.
    #[error(
        "default_storage_engine is {0}: the program needs InnoDB (set it under [mysqld] and restart the server)"
    )]
    Engine(String),
    /// It was tried, and did otherwise than correctness needs.
    #[error("the database server was tried, and {what} ({found}): it cannot be used")]
    Lacks {
        /// What it does wrong.
        what: &'static str,
        /// What was seen.
        found: String,
    },
}

/// A setting under which a commit may be lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{setting}: must be {needed} on the database server, else commits are lost when it crashes; it is {found} (set {setting} = {needed} under [mysqld] and restart it)"
)]
pub struct Weak {
    /// The setting.
    pub setting: &'static str,
    /// What it must be.
    pub needed: &'static str,
    /// What it is.
    pub found: String,
}

/// Variables that are looked at, where the server has them: `TiDB` has no binary log, MariaDB no UUID.
const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'server_id', \
    'hostname', 'port', 'read_only', 'innodb_flush_log_at_trx_commit', 'innodb_doublewrite', \
    'log_bin', 'sync_binlog', 'default_storage_engine', 'wsrep_on', \
    'group_replication_group_name', 'group_replication_single_primary_mode')";
/// The state of a node of Galera.
const GALERA: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_ready', \
    'wsrep_cluster_status', 'wsrep_connected')";

/// What a server says of itself.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    version: String,
    pub(crate) max_allowed_packet: usize,
    variables: HashMap<String, String>,
}

impl Facts {
    /// Sends these settings and asks, all in one message.
    pub(crate) async fn read(conn: &mut Conn, settings: &str) -> Result<Self> {
        let text = format!("{settings}; SELECT VERSION(), @@max_allowed_packet; {VARIABLES}");
        let mut rows = conn.ask(&text).await?.into_iter();
        let first = rows.next().ok_or_else(|| unreadable("no version"))?;
        let [version, packet] = pair(&first).ok_or_else(|| unreadable("its version"))?;
        let max_allowed_packet =
            packet.parse().map_err(|_| unreadable("max_allowed_packet is no number"))?;
        let variables = named(rows);
        Ok(Self { version, max_allowed_packet, variables })
    }

    /// The server's name, which no other has that the address may lead to.
    pub(crate) fn place(&self) -> String {
        if let Some(uuid) = self.variable("server_uuid") {
            return uuid.to_owned();
        }
        let part = |name| self.variable(name).unwrap_or("?");
        format!("{}:{} (server_id {})", part("hostname"), part("port"), part("server_id"))
    }

    pub(crate) fn is_read_only(&self) -> Option<bool> {
        // MariaDB 12 has values beside ON and OFF, all of which refuse writes.
        self.variable("read_only").map(|value| !is_off(value))
    }

    /// Whether a session can be found by the name of a lock that it holds, and ended. `TiDB`'s locks are of the cluster, and
    /// KILL of a session that idles in a transaction ends the whole server; through Vitess no session is one's own.
    pub(crate) fn ends_sessions(&self) -> bool {
        !["TiDB", "Vitess"].iter().any(|engine| self.version.contains(engine))
    }

    /// Refuses a server that cannot keep what it promises.
    pub(crate) async fn check(&self, conn: &mut Conn) -> Result<()> {
        if let Some(unfit) = self.unfit() {
            return Err(unfit.into());
        }
        if self.variable("wsrep_on").is_none_or(is_off) {
            return Ok(());
        }
        // A node that has lost its group answers 1047 to everything, and one that never had one answers nothing.
        let state = named(conn.ask(GALERA).await?.into_iter());
        for (name, needed) in
            [("wsrep_connected", "ON"), ("wsrep_cluster_status", "Primary"), ("wsrep_ready", "ON")]
        {
            let found = state.get(name).map_or("", String::as_str);
            if !found.eq_ignore_ascii_case(needed) {
                return Err(Error::Lost(format!("{name} is {found:?}: it takes no writes")));
            }
        }
        Ok(())
    }

    fn unfit(&self) -> Option<Unfit> {
        if let Some(weak) = self.weakness() {
            return Some(weak.into());
        }
        if let Some(engine) = self.variable("default_storage_engine")
            && !engine.eq_ignore_ascii_case("InnoDB")
        {
            return Some(Unfit::Engine(engine.to_owned()));
        }
        let setting = "group_replication_single_primary_mode";
        let found = self.variable(setting)?;
        let has_group = !self.variable("group_replication_group_name").unwrap_or("").is_empty();
        (has_group && is_off(found)).then(|| Unfit::SeveralWriters { setting, found: found.into() })
    }

    fn weakness(&self) -> Option<Weak> {
        let weak = |setting, needed| {
            let found = self.variable(setting).unwrap_or("").to_owned();
            Some(Weak { setting, needed, found })
        };
        let setting = "innodb_flush_log_at_trx_commit";
        if self.variable(setting).is_some_and(|flush| flush != "1") {
            return weak(setting, "1");
        }
        // MySQL's DETECT_ONLY writes no pages, so a torn one is noticed and not mended.
        let setting = "innodb_doublewrite";
        let writes_none = |value: &str| is_off(value) || value.eq_ignore_ascii_case("DETECT_ONLY");
        if self.variable(setting).is_some_and(writes_none) {
            return weak(setting, "ON");
        }
        let has_log = self.variable("log_bin").is_some_and(|value| !is_off(value));
        let setting = "sync_binlog";
        if has_log && self.variable(setting).is_some_and(|sync| sync != "1") {
            return weak(setting, "1");
        }
        None
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }
}

/// The first number that the server answered; none where it was NULL.
pub(crate) fn number(rows: &[Row]) -> Option<u64> {
    rows.first()?.as_ref(0).and_then(text)?.parse().ok()
}

/// Whether the server's one answer says yes.
pub(crate) fn is_on(rows: &[Row]) -> bool {
    let value = rows.first().and_then(|row| row.as_ref(0)).and_then(text);
    value.is_some_and(|value| !is_off(&value))
}

fn is_off(value: &str) -> bool {
    value == "0" || value.eq_ignore_ascii_case("OFF")
}

fn named(rows: impl Iterator<Item = Row>) -> HashMap<String, String> {
    rows.filter_map(|row| pair(&row))
        .map(|[name, value]| (name.to_ascii_lowercase(), value))
        .collect()
}

fn pair(row: &Row) -> Option<[String; 2]> {
    Some([text(row.as_ref(0)?)?, text(row.as_ref(1)?)?])
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        _ => None,
    }
}

fn unreadable(what: &str) -> Error {
    Error::Lost(format!("the server does not say what it is: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(variables: &[(&str, &str)]) -> Facts {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Facts { variables: variables.collect(), ..Facts::default() }
    }

    #[test]
    fn the_setting_that_loses_commits_is_named() {
        let weak = |flush, doublewrite, binlog, sync| {
            let it = facts(&[
                ("innodb_flush_log_at_trx_commit", flush),
                ("innodb_doublewrite", doublewrite),
                ("log_bin", binlog),
                ("sync_binlog", sync),
            ]);
            it.weakness().map(|weak| weak.setting)
        };
        assert_eq!(weak("1", "1", "0", "0"), None);
        assert_eq!(weak("1", "ON", "ON", "1"), None);
        assert_eq!(weak("2", "1", "0", "0"), Some("innodb_flush_log_at_trx_commit"));
        assert_eq!(weak("1", "OFF", "0", "0"), Some("innodb_doublewrite"));
        assert_eq!(weak("1", "DETECT_ONLY", "0", "0"), Some("innodb_doublewrite"));
        assert_eq!(weak("1", "1", "ON", "0"), Some("sync_binlog"));
        assert_eq!(weak("1", "1", "1", "100"), Some("sync_binlog"));
        assert_eq!(facts(&[]).weakness(), None);
    }

    #[test]
    fn a_group_with_several_writers_and_another_engine_are_refused() {
        let group = |name, mode| {
            facts(&[
                ("group_replication_group_name", name),
                ("group_replication_single_primary_mode", mode),
            ])
        };
        assert_eq!(group("a", "ON").unfit(), None);
        assert_eq!(group("", "OFF").unfit(), None);
        assert!(matches!(group("a", "OFF").unfit(), Some(Unfit::SeveralWriters { .. })));
        let other = facts(&[("default_storage_engine", "Aria")]);
        assert_eq!(other.unfit(), Some(Unfit::Engine("Aria".into())));
    }

    #[test]
    fn a_server_has_a_name_of_its_own() {
        assert_eq!(facts(&[("server_uuid", "u"), ("hostname", "h")]).place(), "u");
        let mariadb = facts(&[("hostname", "h"), ("port", "3306"), ("server_id", "1")]);
        assert_eq!(mariadb.place(), "h:3306 (server_id 1)");
    }
}
