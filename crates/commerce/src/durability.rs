//! A database that forgets what it committed makes every promise of the shop worthless, so it is refused.

use anyhow::{Context, Result};
use db::Conn;
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, RunQueryDsl};

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

#[derive(QueryableByName)]
struct Settings {
    #[diesel(sql_type = Text)]
    flush: String,
    #[diesel(sql_type = Text)]
    doublewrite: String,
    #[diesel(sql_type = Text)]
    binlog: String,
    #[diesel(sql_type = Text)]
    sync_binlog: String,
}

const SETTINGS: &str = "SELECT \
    CAST(@@GLOBAL.innodb_flush_log_at_trx_commit AS CHAR) AS flush, \
    CAST(@@GLOBAL.innodb_doublewrite AS CHAR) AS doublewrite, \
    CAST(@@GLOBAL.log_bin AS CHAR) AS binlog, \
    CAST(@@GLOBAL.sync_binlog AS CHAR) AS sync_binlog";

/// Asks the server at `url` whether a commit that it answers is on disk.
///
/// # Errors
/// [`Weak`] naming the first setting that is not; those of the database.
pub async fn check(url: &str) -> Result<()> {
    let mut conn = Conn::establish(url).await.context("connecting to the database")?;
    let settings: Settings = sql_query(SETTINGS)
        .get_result(&mut conn)
        .await
        .context("asking the database how durable it is")?;
    weakness(settings).map_or(Ok(()), |weak| Err(weak.into()))
}

fn weakness(settings: Settings) -> Option<Weak> {
    let Settings { flush, doublewrite, binlog, sync_binlog } = settings;
    if flush != "1" {
        let setting = "innodb_flush_log_at_trx_commit";
        return Some(Weak { setting, needed: "1", found: flush });
    }
    // MySQL's DETECT_ONLY writes no pages, so a torn one is noticed and not mended.
    if matches!(doublewrite.to_ascii_uppercase().as_str(), "0" | "OFF" | "DETECT_ONLY") {
        return Some(Weak { setting: "innodb_doublewrite", needed: "ON", found: doublewrite });
    }
    let is_on = matches!(binlog.to_ascii_uppercase().as_str(), "1" | "ON");
    if is_on && sync_binlog != "1" {
        return Some(Weak { setting: "sync_binlog", needed: "1", found: sync_binlog });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(flush: &str, doublewrite: &str, binlog: &str, sync_binlog: &str) -> Settings {
        let [flush, doublewrite, binlog, sync_binlog] =
            [flush, doublewrite, binlog, sync_binlog].map(str::to_owned);
        Settings { flush, doublewrite, binlog, sync_binlog }
    }

    #[test]
    fn the_setting_that_loses_commits_is_named() {
        let weak = |it| weakness(it).map(|weak| weak.setting);
        assert_eq!(weak(settings("1", "1", "0", "0")), None);
        assert_eq!(weak(settings("1", "ON", "1", "1")), None);
        assert_eq!(weak(settings("2", "1", "0", "0")), Some("innodb_flush_log_at_trx_commit"));
        assert_eq!(weak(settings("1", "OFF", "0", "0")), Some("innodb_doublewrite"));
        assert_eq!(weak(settings("1", "DETECT_ONLY", "0", "0")), Some("innodb_doublewrite"));
        assert_eq!(weak(settings("1", "1", "1", "0")), Some("sync_binlog"));
        assert_eq!(weak(settings("1", "1", "1", "100")), Some("sync_binlog"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_as_it_is_can_be_asked() {
        let url = testkit::mysql().await.url();
        check(&url).await.unwrap();
        let mut options = embedded::MySqlOptions::temporary();
        options.durable = false;
        options.buffer_pool_mib = 32;
        let careless = embedded::MySql::start(options).await.unwrap();
        let refusal = check(&careless.url()).await.unwrap_err();
        assert!(refusal.is::<Weak>(), "{refusal:#}");
        assert!(!refusal.to_string().contains('\n'));
    }
}
