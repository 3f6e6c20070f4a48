//! A private MariaDB or MySQL answers, keeps what was committed, and says what is wrong.

use std::fs;
use std::path::Path;

use anyhow::Result;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncConnection as _, AsyncMysqlConnection, RunQueryDsl as _};
use embedded::{Error, Listen, MySql, MySqlOptions};

#[derive(diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(diesel::QueryableByName)]
struct Setting {
    #[diesel(sql_type = Text)]
    #[diesel(column_name = Value)]
    value: String,
}

async fn run(server: &MySql, statements: &[&str]) -> Result<()> {
    let mut connection = AsyncMysqlConnection::establish(&server.url()).await?;
    for statement in statements {
        diesel::sql_query(*statement).execute(&mut connection).await?;
    }
    Ok(())
}

async fn number(server: &MySql, query: &str) -> Result<i64> {
    let mut connection = AsyncMysqlConnection::establish(&server.url()).await?;
    Ok(diesel::sql_query(query).get_result::<Number>(&mut connection).await?.n)
}

async fn setting(server: &MySql, name: &str) -> Result<String> {
    let mut connection = AsyncMysqlConnection::establish(&server.url()).await?;
    let query = diesel::sql_query("SHOW GLOBAL VARIABLES WHERE Variable_name = ?");
    Ok(query.bind::<Text, _>(name).get_result::<Setting>(&mut connection).await?.value)
}

async fn filled(options: MySqlOptions) -> Result<MySql> {
    let server = MySql::start(options).await?;
    let table = "CREATE TABLE shop.wallet (n BIGINT NOT NULL PRIMARY KEY)";
    run(&server, &["CREATE DATABASE shop", table, "INSERT INTO shop.wallet VALUES (4711)"]).await?;
    Ok(server)
}

async fn refused(options: MySqlOptions) -> Result<Error> {
    match MySql::start(options).await {
        Ok(_) => anyhow::bail!("it started"),
        Err(error) => Ok(error),
    }
}

const STORED: &str = "SELECT n FROM shop.wallet";

#[tokio::test]
async fn what_was_committed_is_there_when_the_folder_is_opened_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let first = filled(MySqlOptions::kept(folder.path())).await?;
    assert!(first.pid().is_some());
    first.stop().await?;
    assert_eq!(first.pid(), None);
    drop(first);

    let second = MySql::start(MySqlOptions::kept(folder.path())).await?;
    assert_eq!(number(&second, STORED).await?, 4711);
    Ok(())
}

#[tokio::test]
async fn what_was_committed_survives_a_crash_and_the_address_stays() -> Result<()> {
    let options = MySqlOptions { listen: Listen::Tcp, ..MySqlOptions::temporary() };
    let server = filled(options).await?;
    let (url, pid) = (server.url(), server.pid());
    assert!(url.starts_with("mysql://root@127.0.0.1:"), "{url}");

    server.kill().await?;
    assert!(number(&server, STORED).await.is_err());
    server.restart().await?;

    assert_eq!(server.url(), url);
    assert_ne!(server.pid(), pid);
    assert_eq!(number(&server, STORED).await?, 4711);
    Ok(())
}

#[tokio::test]
async fn it_is_durable_and_set_up_as_the_shop_needs_it() -> Result<()> {
    let options = MySqlOptions { binlog: false, ..MySqlOptions::temporary() };
    let server = MySql::start(options).await?;
    assert_eq!(setting(&server, "innodb_flush_log_at_trx_commit").await?, "1");
    assert_eq!(setting(&server, "innodb_doublewrite").await?, "ON");
    assert_eq!(setting(&server, "innodb_lock_wait_timeout").await?, "2");
    assert_eq!(setting(&server, "collation_server").await?, "utf8mb4_bin");
    assert_eq!(setting(&server, "skip_networking").await?, "ON");
    assert_eq!(setting(&server, "log_bin").await?, "OFF");
    let mut connection = AsyncMysqlConnection::establish(&server.url()).await?;
    let isolation = diesel::sql_query(
        "SHOW VARIABLES WHERE Variable_name IN ('tx_isolation', 'transaction_isolation')",
    );
    let isolation = isolation.get_result::<Setting>(&mut connection).await?.value;
    assert_eq!(isolation, "READ-COMMITTED");
    Ok(())
}

#[tokio::test]
async fn a_binary_log_is_flushed_at_every_commit() -> Result<()> {
    let options = MySqlOptions { binlog: true, ..MySqlOptions::temporary() };
    let server = MySql::start(options).await?;
    assert_eq!(setting(&server, "log_bin").await?, "ON");
    assert_eq!(setting(&server, "sync_binlog").await?, "1");
    assert_eq!(setting(&server, "binlog_format").await?, "ROW");
    Ok(())
}

#[tokio::test]
async fn a_folder_whose_making_was_cut_short_is_made_afresh() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let half = folder.path().join("data.unborn");
    fs::create_dir(&half)?;
    fs::write(half.join("ibdata1"), "half")?;

    let server = MySql::start(MySqlOptions::kept(folder.path())).await?;
    assert_eq!(number(&server, "SELECT 1 AS n").await?, 1);
    assert!(!half.exists());
    Ok(())
}

#[tokio::test]
async fn a_folder_with_a_long_and_unusual_name_works() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let long = folder.path().join("상점 데이터 & co".repeat(2)).join("x".repeat(150));
    let server = filled(MySqlOptions::kept(&long)).await?;
    assert_eq!(number(&server, STORED).await?, 4711);
    assert!(server.folder().ends_with("x".repeat(150)));
    Ok(())
}

#[tokio::test]
async fn a_second_owner_of_a_folder_is_refused_with_the_first_ones_pid() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let first = MySql::start(MySqlOptions::kept(folder.path())).await?;
    let error = refused(MySqlOptions::kept(folder.path())).await?;
    let expected =
        format!("{} is in use by process {}", folder.path().display(), std::process::id());
    assert!(error.to_string().starts_with(&expected), "{error}");

    drop(first);
    MySql::start(MySqlOptions::kept(folder.path())).await?;
    Ok(())
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_with_what_to_install() -> Result<()> {
    let program = Some("/nowhere/mariadbd".into());
    let error = refused(MySqlOptions { program, ..MySqlOptions::temporary() }).await?;
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("/nowhere/mariadbd"), "{text}");
    assert!(text.contains("apt-get install mariadb-server-core"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_does_not_start_is_shown_with_its_log() -> Result<()> {
    let arguments = vec!["--no-such-setting=1".to_owned()];
    let error = refused(MySqlOptions { arguments, ..MySqlOptions::temporary() }).await?;
    assert!(matches!(error, Error::Ended { .. }), "{error}");
    assert!(error.to_string().contains("no-such-setting"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_temporary_folder_goes_with_its_handle() -> Result<()> {
    let server = MySql::start(MySqlOptions::temporary()).await?;
    let folder = server.folder().to_owned();
    let process = format!("/proc/{}", server.pid().unwrap_or_default());
    assert!(folder.join("data").is_dir());
    assert!(Path::new(&process).exists());

    drop(server);
    assert!(!folder.exists());
    assert!(!Path::new(&process).exists());
    Ok(())
}
