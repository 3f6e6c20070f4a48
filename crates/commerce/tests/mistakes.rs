//! Mistakes that operators make: each is answered by one line that says what to do, and harms nothing.
#![expect(clippy::unwrap_used, reason = "a test that cannot run the program has failed")]

use db::Conn;
use diesel_async::{AsyncConnection, SimpleAsyncConnection};
use migrations::Schema;
use serde_json::Value;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

const FREE: [&str; 6] = [
    "--set",
    "listen.public=127.0.0.1:0",
    "--set",
    "listen.participant=127.0.0.1:0",
    "--set",
    "listen.admin=127.0.0.1:0",
];

/// The program in a folder, with nothing of ours in its environment.
fn commerce(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commerce"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("COMMERCE_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).args(arguments);
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    commerce(folder, arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What the one line says that a run ended with.
fn only_line(output: &Output, code: i32) -> String {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(output.stdout.is_empty());
    said.trim_end().to_owned()
}

/// A server's URL with nothing on it, and the settings that make `prefix` databases there ours.
async fn server() -> (String, String) {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let prefix = format!("database.prefix=mistakes_{}_{number}_", std::process::id());
    (testkit::mysql().await.url(), prefix)
}

#[test]
fn an_audit_where_there_is_no_shop_says_so_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let said = only_line(&run(folder.path(), &["audit"]), 2);
    assert!(said.starts_with("commerce: data_dir .data: there is no shop"), "{said}");
    assert!(said.contains("commerce up") && said.contains("--database-url"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_of_databases_that_never_were_a_shop_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (url, prefix) = server().await;
    let arguments = ["audit", "--database-url", &url, "--set", &prefix, "--log-filter", "off"];
    let redis = ["--redis-url", &testkit::redis_url().await];
    let audit = || run(folder.path(), &[&arguments[..], &redis].concat());
    let said = only_line(&audit(), 2);
    assert!(said.contains("_wallet: there is no shop"), "{said}");
    let name = format!("{}wallet", prefix.trim_start_matches("database.prefix="));
    let mut conn = Conn::establish(&url).await.unwrap();
    let name = said.split("database ").nth(1).and_then(|it| it.split(':').next()).unwrap_or(&name);
    conn.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    // An empty one is none either.
    let said = only_line(&audit(), 2);
    assert!(said.contains("_wallet: there is no shop"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_our_databases_or_tables_names_commerce_migrate() {
    let folder = tempfile::tempdir().unwrap();
    let (url, prefix) = server().await;
    let redis = testkit::redis_url().await;
    let serve =
        ["serve", "wallet", "--log-filter", "off", "--database-url", &url, "--set", &prefix];
    let serve = [&serve[..], &FREE, &["--redis-url", &redis]].concat();
    let refused = |more: &[&str]| {
        let output = run(folder.path(), &[&serve[..], more].concat());
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
        stderr(&output).lines().last().unwrap().to_owned()
    };
    let said = refused(&[]);
    assert!(said.starts_with("commerce: database.url: the server has no database "), "{said}");
    assert!(said.contains("run `commerce migrate`"), "{said}");
    let migrate = ["migrate", "--database-url", &url, "--set", &prefix];
    let name = said.split("no database ").nth(1).and_then(|it| it.split(',').next()).unwrap();
    let mut conn = Conn::establish(&url).await.unwrap();
    conn.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let said = refused(&["--set", "database.migrate=false"]);
    assert!(said.starts_with("commerce: database.migrate: the database "), "{said}");
    assert!(said.contains("run `commerce migrate`"), "{said}");
    assert!(run(folder.path(), &migrate).status.success());
}

#[test]
fn a_taken_port_is_refused_before_anything_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let port = taken.local_addr().unwrap().port().to_string();
    for listener in ["public", "participant", "admin"] {
        let setting = format!("listen.{listener}={address}");
        let arguments = [&["up", "--log-filter", "off"], &FREE[..], &["--set", &setting]].concat();
        let output = run(folder.path(), &arguments);
        let said = stderr(&output);
        let line = said.lines().last().unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(line.starts_with(&format!("commerce: listen.{listener}: ")), "{said}");
        assert!(line.contains(&format!("port {port} is taken by another program")), "{said}");
        assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");
        assert!(!folder.path().join(".data").exists());
    }
}

#[test]
fn an_address_that_is_none_one_that_nobody_knows_and_one_where_nobody_listens_differ() {
    let folder = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let retry = ["saga", "retry", "0b6c8f52-6c1e-4a52-9a0b-52c1c7f0a9d1", "--reason", "x"];
    let pause = ["saga", "recovery", "pause", "--reason", "x"];
    for (command, flag) in [
        (&["saga", "list"][..], "--admin"),
        (&["saga", "show", "x"], "--admin"),
        (&retry, "--admin"),
        (&["saga", "recovery"], "--admin"),
        (&pause, "--admin"),
        (&["demo"], "--connect"),
    ] {
        let said = |address: &str, code: i32| {
            // What belongs to `saga recovery` stands before its own command.
            let at = if command.contains(&"pause") { 2 } else { command.len() };
            let (before, after) = command.split_at(at);
            let arguments = [before, &[flag, address], after].concat();
            only_line(&run(folder.path(), &arguments), code)
        };
        let malformed = said("nowhere", 2);
        assert!(malformed.contains(&format!("{flag} nowhere: must be ")), "{malformed}");
        let unknown = said("no-such-host.invalid:50053", 1);
        assert!(unknown.contains("no host has the name no-such-host.invalid"), "{unknown}");
        let refused = said(&free, 1);
        assert!(refused.contains("nothing listens there"), "{refused}");
        assert!(refused.contains("commerce up") && refused.contains(flag), "{refused}");
        assert!(refused.contains(&free), "{refused}");
    }
}

#[test]
fn who_asks_is_known_without_user_in_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let retry = ["saga", "retry", "0b6c8f52-6c1e-4a52-9a0b-52c1c7f0a9d1", "--reason", "x"];
    let retry = [&retry[..], &["--admin", &free]].concat();
    let said = |arguments: &[&str], code: i32| {
        let mut command = commerce(folder.path(), arguments);
        only_line(&command.env_remove("USER").env_remove("LOGNAME").output().unwrap(), code)
    };
    // The system knows its users: what fails is the call.
    assert!(said(&retry, 1).contains("nothing listens there"));
    let nobody = said(&[&retry[..], &["--actor", " "]].concat(), 2);
    assert!(nobody.starts_with("commerce: --actor: must name who asks"), "{nobody}");
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_program_quietly() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["config"][..], &["config", "--json"], &["config", "--explain"]] {
        let mut command = commerce(folder.path(), arguments);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(141));
        assert_eq!(stderr(&output), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_for_programs_has_nothing_but_json_from_first_to_last_line() {
    let folder = tempfile::tempdir().unwrap();
    let (url, prefix) = server().await;
    let redis = testkit::redis_url().await;
    let shared = ["--database-url", &url, "--set", &prefix, "--log-format", "json"];
    assert!(run(folder.path(), &[&["migrate"], &shared[..]].concat()).status.success());
    let serve = [&["serve", "wallet,activity", "--redis-url", &redis], &shared[..], &FREE].concat();
    let mut server = commerce(folder.path(), &serve);
    let mut server = server.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = server.stdout.take().unwrap();
    let mut said = Vec::new();
    let mut byte = [0];
    while stdout.read(&mut byte).unwrap() == 1 {
        said.push(byte[0]);
        if byte[0] == b'\n' {
            break;
        }
    }
    let ready: Value = serde_json::from_slice(&said).unwrap();
    assert!(ready["ready"]["public"].is_string(), "{ready}");
    let pid = rustix::process::Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    stdout.read_to_end(&mut said).unwrap();
    let ended = server.wait_with_output().unwrap();
    let refused = run(folder.path(), &[&["serve", "all"], &shared[..], &FREE].concat());
    for log in [ended.stderr, refused.stderr, said] {
        let log = String::from_utf8(log).unwrap();
        assert!(log.lines().count() > 0);
        for line in log.lines() {
            let line: Value =
                serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}\n{log}"));
            assert!(line.is_object());
        }
    }
}

/// Kills `commerce migrate` after a while, and runs it again, so often.
async fn kill_and_migrate(kills: u32) {
    let folder = tempfile::tempdir().unwrap();
    let (url, _) = server().await;
    let arguments = |prefix: &str| {
        ["migrate", "--database-url", &url, "--set", prefix].map(str::to_owned).to_vec()
    };
    let migrate = |prefix: &str| {
        let arguments = arguments(prefix);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        commerce(folder.path(), &arguments)
    };
    let started = Instant::now();
    let (_, whole) = server().await;
    assert!(migrate(&whole).output().unwrap().status.success());
    let takes = started.elapsed();
    for kill in 1..=kills {
        let (_, prefix) = server().await;
        let mut killed = migrate(&prefix).stdout(Stdio::null()).spawn().unwrap();
        // Spread over the run.
        tokio::time::sleep(takes * kill / (kills + 1)).await;
        killed.kill().unwrap();
        killed.wait().unwrap();
        let again = migrate(&prefix).output().unwrap();
        assert!(again.status.success(), "killed at {kill}/{kills}: {}", stderr(&again));
        let third =
            run(folder.path(), &["migrate", "--json", "--database-url", &url, "--set", &prefix]);
        let lines = String::from_utf8(third.stdout).unwrap();
        assert_eq!(lines.lines().count(), Schema::ALL.len());
        assert!(lines.lines().all(|line| line.contains("\"applied\":[]")), "{lines}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_was_killed_is_finished_by_the_next() {
    kill_and_migrate(3).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn a_migration_that_was_killed_at_any_of_many_moments_is_finished_by_the_next() {
    kill_and_migrate(40).await;
}
