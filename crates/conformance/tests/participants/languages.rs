//! The participants in Go and Python keep all rules.

use crate::support::{examples, payloads};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// The longest that a build may take, with what it downloads and compiles.
const BUILD_LIMIT: Duration = Duration::from_mins(12);
const START_LIMIT: Duration = Duration::from_secs(30);

/// Builds the participant in a folder, starts it on a database of its own, checks it, and stops it.
async fn keeps_all_rules(folder: &str, program: &[&str]) {
    let folder = examples().join(folder);
    let script = Command::new("./build.sh").current_dir(&folder).kill_on_drop(true).output();
    let built = timeout(BUILD_LIMIT, script).await.expect("build.sh took too long").unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

    let data = tempfile::tempdir().unwrap();
    let mut server = Command::new(program[0])
        .args(&program[1..])
        .args(["--listen", "127.0.0.1:0", "--database"])
        .arg(data.path().join("seat.db"))
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let address = timeout(START_LIMIT, lines.next_line()).await.expect("no address was printed");
    let address = address.unwrap().expect("it ended before it printed its address");

    let report = conformance::run(&address, "seat", &payloads()).await;
    server.kill().await.unwrap();
    assert!(report.passed() && report.skipped.is_empty(), "{report}");
}

#[tokio::test]
#[ignore = "needs Go/Python: deploy/test --languages"]
async fn go() {
    keeps_all_rules("go", &["./seat"]).await;
}

#[tokio::test]
#[ignore = "needs Go/Python: deploy/test --languages"]
async fn python() {
    keeps_all_rules("python", &[".venv/bin/python", "seat.py"]).await;
}
