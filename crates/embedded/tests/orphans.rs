//! No server outlives the program that started it, not even one killed by `kill -9`; and where the kernel could
//! not be told to see to that, the next start does.
//!
//! The program that is killed is this test binary, run again in the role of [`a_program_that_holds_a_server`].

use std::env;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use embedded::{MySql, MySqlOptions, Redis, RedisOptions};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

const KIND: &str = "HELD_SERVER";
const FOLDER: &str = "HELD_FOLDER";
const REPORT: &str = "held: ";

/// A program with a server, and what it says of it. Dropping it kills it, as `kill -9` does.
struct Holder {
    program: Child,
    server: OwnedFd,
    folder: PathBuf,
}

impl Holder {
    fn start(kind: &str, environment: &[(&str, &Path)]) -> Result<Self> {
        let mut program = Command::new(env::current_exe()?)
            .args(["--exact", "a_program_that_holds_a_server", "--ignored", "--nocapture"])
            .env(KIND, kind)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(program.stdout.take().context("no output")?);
        let report = output
            .lines()
            .find_map(|line| Some(line.ok()?.split_once(REPORT)?.1.to_owned()))
            .context("the program ended without a server")?;
        let (pid, folder) = report.split_once(' ').context("not a report")?;
        let pid = Pid::from_raw(pid.parse()?).context("no such process")?;
        let server = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { program, server, folder: folder.into() })
    }

    fn kill(&mut self) -> Result<()> {
        self.program.kill()?;
        self.program.wait()?;
        Ok(())
    }

    /// Whether the server has ended, or does so within this many seconds.
    fn server_ended(&self, seconds: i64) -> Result<bool> {
        let mut watched = [PollFd::new(&self.server, PollFlags::IN)];
        Ok(poll(&mut watched, Some(&Timespec { tv_sec: seconds, tv_nsec: 0 }))? > 0)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

#[tokio::test]
#[ignore = "not a test: the program that the tests of this file kill"]
async fn a_program_that_holds_a_server() -> Result<()> {
    let Ok(kind) = env::var(KIND) else { return Ok(()) };
    let folder = env::var_os(FOLDER);
    let (pid, folder, _server): (_, _, Box<dyn std::any::Any>) = if kind == "mysql" {
        let kept = folder.map_or_else(MySqlOptions::temporary, MySqlOptions::kept);
        let server = MySql::start(kept).await?;
        (server.pid(), server.folder().to_owned(), Box::new(server))
    } else {
        let kept = folder.map_or_else(RedisOptions::temporary, RedisOptions::kept);
        let server = Redis::start(kept).await?;
        (server.pid(), server.folder().to_owned(), Box::new(server))
    };
    let pid = pid.context("the server ended")?;
    writeln!(io::stdout(), "\n{REPORT}{pid} {}", folder.display())?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// A folder to be the whole PATH: the servers, without `setpriv`.
fn path_without_setpriv() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = env::split_paths(&path).chain(["/usr/sbin".into()]).collect();
    for name in ["mariadbd", "mysqld", "redis-server", "valkey-server"] {
        let found = folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file());
        if let Some(program) = found {
            symlink(fs::canonicalize(program)?, folder.path().join(name))?;
        }
    }
    Ok(folder)
}

#[test]
fn a_server_dies_with_a_program_that_is_killed() -> Result<()> {
    for kind in ["mysql", "redis"] {
        let folder = tempfile::tempdir()?;
        let mut holder = Holder::start(kind, &[(FOLDER, folder.path())])?;
        assert!(!holder.server_ended(0)?, "{kind}");
        holder.kill()?;
        assert!(holder.server_ended(60)?, "{kind} outlived its program");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_was_left_over_is_ended_at_the_next_start() -> Result<()> {
    let path = path_without_setpriv()?;
    for kind in ["mysql", "redis"] {
        let folder = tempfile::tempdir()?;
        let mut holder = Holder::start(kind, &[(FOLDER, folder.path()), ("PATH", path.path())])?;
        holder.kill()?;
        assert!(!holder.server_ended(0)?, "{kind} was not left over: this test shows nothing");

        match kind {
            "mysql" => drop(MySql::start(MySqlOptions::kept(folder.path())).await?),
            _ => drop(Redis::start(RedisOptions::kept(folder.path())).await?),
        }
        assert!(holder.server_ended(0)?, "{kind} was left running");
    }
    Ok(())
}

#[test]
fn the_temporary_folder_of_a_killed_program_is_removed_by_the_next_one() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let path = path_without_setpriv()?;
    let environment = [("TMPDIR", temporary.path()), ("PATH", path.path())];
    let mut dead = Holder::start("redis", &environment)?;
    dead.kill()?;
    assert!(dead.folder.exists());

    let next = Holder::start("mysql", &environment)?;
    assert!(dead.server_ended(0)?);
    assert!(!dead.folder.exists());
    assert!(next.folder.exists());
    drop(next);
    // What this last one left is ended too, so that the test itself leaves nothing.
    let last = Holder::start("redis", &[("TMPDIR", temporary.path())])?;
    assert!(!last.server_ended(0)?);
    Ok(())
}
