//! A private Redis answers, keeps what was written, and says what is wrong.

use anyhow::{Context as _, Result};
use embedded::{Error, Listen, Redis, RedisOptions};
use redis::AsyncCommands as _;
use rustix::process::{Pid, Signal, kill_process};

async fn connect(server: &Redis) -> Result<redis::aio::MultiplexedConnection> {
    Ok(redis::Client::open(server.url())?.get_multiplexed_async_connection().await?)
}

async fn setting(server: &Redis, name: &str) -> Result<String> {
    let mut command = redis::cmd("CONFIG");
    let answer: Vec<String> =
        command.arg("GET").arg(name).query_async(&mut connect(server).await?).await?;
    Ok(answer.into_iter().nth(1).unwrap_or_default())
}

async fn refused(options: RedisOptions) -> Result<Error> {
    match Redis::start(options).await {
        Ok(_) => anyhow::bail!("it started"),
        Err(error) => Ok(error),
    }
}

#[tokio::test]
async fn what_was_written_is_there_when_the_folder_is_opened_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let first = Redis::start(RedisOptions::kept(folder.path())).await?;
    let () = connect(&first).await?.set("milk", 2513).await?;
    first.stop().await?;
    assert_eq!(first.pid(), None);
    drop(first);

    let second = Redis::start(RedisOptions::kept(folder.path())).await?;
    let stored: i64 = connect(&second).await?.get("milk").await?;
    assert_eq!(stored, 2513);
    Ok(())
}

#[tokio::test]
async fn the_address_stays_when_it_is_killed_and_restarted() -> Result<()> {
    let options = RedisOptions { listen: Listen::Tcp, ..RedisOptions::temporary() };
    let server = Redis::start(options).await?;
    let url = server.url();
    assert!(url.starts_with("redis://127.0.0.1:"), "{url}");
    let () = connect(&server).await?.set("milk", 2513).await?;

    server.kill().await?;
    assert!(connect(&server).await.is_err());
    server.restart().await?;

    assert_eq!(server.url(), url);
    let () = connect(&server).await?.set("milk", 2514).await?;
    Ok(())
}

#[tokio::test]
async fn it_evicts_nothing_and_appends_to_its_file() -> Result<()> {
    let server = Redis::start(RedisOptions::temporary()).await?;
    assert_eq!(setting(&server, "maxmemory-policy").await?, "noeviction");
    assert_eq!(setting(&server, "appendonly").await?, "yes");
    assert_eq!(setting(&server, "appendfsync").await?, "everysec");
    assert_eq!(setting(&server, "save").await?, "");
    assert_eq!(setting(&server, "port").await?, "0");
    Ok(())
}

#[tokio::test]
async fn a_folder_with_a_long_and_unusual_name_works() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let long = folder.path().join("상점 데이터 & co".repeat(2)).join("x".repeat(150));
    let server = Redis::start(RedisOptions::kept(long)).await?;
    let () = connect(&server).await?.set("milk", 2513).await?;
    Ok(())
}

#[tokio::test]
async fn a_second_owner_of_a_folder_is_refused_with_the_first_ones_pid() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let _first = Redis::start(RedisOptions::kept(folder.path())).await?;
    let error = refused(RedisOptions::kept(folder.path())).await?;
    let expected =
        format!("{} is in use by process {}", folder.path().display(), std::process::id());
    assert!(error.to_string().starts_with(&expected), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_with_what_to_install() -> Result<()> {
    let program = Some("/nowhere/redis-server".into());
    let error = refused(RedisOptions { program, ..RedisOptions::temporary() }).await?;
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    assert!(error.to_string().contains("apt-get install redis-server"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_does_not_start_is_shown_with_its_log() -> Result<()> {
    let arguments = vec!["--no-such-setting".to_owned(), "1".to_owned()];
    let error = refused(RedisOptions { arguments, ..RedisOptions::temporary() }).await?;
    assert!(matches!(error, Error::Ended { .. }), "{error}");
    assert!(error.to_string().contains("no-such-setting"), "{error}");
    Ok(())
}

#[tokio::test]
async fn who_waits_for_its_end_is_told_whose_it_was() -> Result<()> {
    let server = Redis::start(RedisOptions::temporary()).await?;
    let (ended, stopped) = tokio::join!(server.ended(), server.stop());
    stopped?;
    ended?;

    server.restart().await?;
    let pid = server.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let waiting = tokio::spawn({
        let server = server.clone();
        async move { server.ended().await }
    });
    kill_process(pid.context("it runs")?, Signal::KILL)?;
    let error = waiting.await?.expect_err("a stranger ended it");
    assert!(matches!(error, Error::Ended { .. }), "{error}");
    assert_eq!(server.pid(), None);
    Ok(())
}
