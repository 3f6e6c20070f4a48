//! The program as people and scripts meet it: bad configuration, secrets, help.
#![expect(clippy::unwrap_used, reason = "a test that cannot run the program has failed")]

use std::path::Path;
use std::process::{Command, Output};

/// Runs the program in an empty folder with nothing of ours in its environment.
fn commerce(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commerce"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("COMMERCE_") {
            command.env_remove(name);
        }
    }
    let command = command.current_dir(folder).args(arguments);
    command.envs(variables.iter().copied()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Refused by one line that names the key, before anything was started or made.
fn assert_refused(folder: &Path, output: &Output, key: &str) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with(&format!("commerce: {key}: ")), "{said}");
    assert!(output.stdout.is_empty());
    assert!(!folder.join(".data").exists());
}

#[test]
fn bad_configuration_is_one_line_and_exit_2_and_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, variables, key) in [
        (vec!["up", "--listen-public", "nowhere"], vec![], "listen.public"),
        (vec!["up", "--set", "lanes.wallet=0"], vec![], "lanes.wallet"),
        (vec!["up", "--set", "no.such=1"], vec![], "no.such"),
        (vec!["up", "--set", "lanes.wallet"], vec![], "--set"),
        (vec!["up", "--config", "missing.toml"], vec![], "--config missing.toml"),
        (vec!["up"], vec![("COMMERCE_SAGA_DEADLINE", "soon")], "saga.deadline"),
        (vec!["up"], vec![("COMMERCE_LISTEN", "x")], "COMMERCE_LISTEN"),
        (vec!["up", "--set", "listen.admin=127.0.0.1:50051"], vec![], "listen.admin"),
        (vec!["up", "--log-filter", "a=b=c"], vec![], "log.filter"),
        (vec!["serve", "activity", "--set", "activity.enabled=false"], vec![], "activity.enabled"),
        (vec!["serve", "wallet"], vec![], "database.url"),
        (vec!["migrate"], vec![], "database.url"),
        (vec!["serve", "wallet", "--database-url", "mysql://x@h"], vec![], "redis.url"),
        (
            vec!["serve", "orchestrator", "--database-url", "mysql://x@h"],
            vec![],
            "peers.product.participant",
        ),
    ] {
        let output = commerce(folder.path(), &arguments, &variables);
        assert_refused(folder.path(), &output, key);
    }
}

#[test]
fn a_file_in_the_folder_is_read_and_its_mistakes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("commerce.toml"), "[lanes]\nwalet = 2\n").unwrap();
    assert_refused(folder.path(), &commerce(folder.path(), &["up"], &[]), "lanes.walet");
    std::fs::write(folder.path().join("commerce.toml"), "[lanes]\nwallet = 2\n").unwrap();
    let output = commerce(folder.path(), &["config"], &[("COMMERCE_LANES_ORDER", "3")]);
    let table = String::from_utf8(output.stdout).unwrap();
    let row = |key: &str| {
        let line = table.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("lanes.wallet"), ["2", "commerce.toml"]);
    assert_eq!(row("lanes.order"), ["3", "COMMERCE_LANES_ORDER"]);
    assert_eq!(row("lanes.coupon"), ["1", "default"]);
}

#[test]
fn passwords_are_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["config", "--database-url", "mysql://me:hunter2@db:3306"];
    let variables = [("COMMERCE_REDIS_URL", "redis://:hunter2@cache:6379")];
    for json in [&[][..], &["--json"]] {
        let output = commerce(folder.path(), &[&arguments[..], json].concat(), &variables);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("mysql://me:***@db:3306"), "{said}");
        assert!(said.contains("redis://:***@cache:6379"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let refused = [("COMMERCE_DATABASE_URL", "postgres://me:hunter2@db")];
    let output = commerce(folder.path(), &["up"], &refused);
    assert_refused(folder.path(), &output, "database.url");
    assert!(!stderr(&output).contains("hunter2"));
}

#[test]
fn every_command_explains_itself() {
    let folder = tempfile::tempdir().unwrap();
    for command in
        ["up", "serve", "migrate", "replay", "audit", "demo", "saga list", "clock", "watermark"]
    {
        let arguments: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let output = commerce(folder.path(), &arguments, &[]);
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        assert!(help.contains("Example"), "{command} shows no example");
        assert!(help.contains(&format!("commerce {command}")), "{help}");
    }
}

#[test]
fn a_file_that_is_no_file_of_baskets_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.csv"), "milk,bread\nmilk,,bread\n").unwrap();
    let output = commerce(folder.path(), &["replay", "bad.csv"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "commerce: bad.csv: line 2: a name is empty\n");
    assert!(!folder.path().join(".data").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_may_lose_commits_is_refused_with_the_setting_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = embedded::MySqlOptions::temporary();
    options.durable = false;
    options.buffer_pool_mib = 32;
    let careless = embedded::MySql::start(options).await.unwrap();
    let redis = testkit::redis_url().await;
    let server = careless.url();
    let ports = ["--set", "listen.public=127.0.0.1:0", "--set", "listen.participant=127.0.0.1:0"];
    let arguments = ["serve", "all", "--log-filter", "off", "--database-url", &server];
    let arguments = [&arguments[..], &ports, &["--set", "listen.admin=127.0.0.1:0"]].concat();
    let migrated = commerce(folder.path(), &["migrate", "--database-url", &server], &[]);
    assert_refused(folder.path(), &migrated, "innodb_flush_log_at_trx_commit");
    let output = commerce(folder.path(), &arguments, &[("COMMERCE_REDIS_URL", &redis)]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    let line = said.lines().last().unwrap();
    assert!(line.starts_with("commerce: innodb_flush_log_at_trx_commit: must be 1"), "{said}");
}
