//! A shop whose events go through Kafka: a file of baskets, and a ranking that knows all of them.
#![cfg(feature = "kafka")]

use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Baskets of the file. Product k is in every k-th, so that no two of the first are in equally many.
const BASKETS: u64 = 300;
const PRODUCTS: u64 = 20;

fn commerce(data: &Path, brokers: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commerce"));
    command.arg("--json").arg("--data-dir").arg(data).args(["--log-filter", "warn"]);
    command.args(["--set", "bus=kafka", "--set", &format!("kafka.brokers={brokers}")]);
    // Others use the broker, too.
    let prefix = format!("shop{}", std::process::id());
    command.args(["--set", &format!("kafka.prefix={prefix}"), "--set", "saga.attempt=60s"]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_on_kafka_sells_and_ranks_and_is_clean() {
    let Some(kafka) = testkit::kafka().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("baskets.csv"));
    let basket = |line: u64| {
        let divides = (1..=PRODUCTS).filter(|product| line.is_multiple_of(*product));
        divides.map(|product| format!("p{product}")).collect::<Vec<_>>().join(",")
    };
    let text: String = (1..=BASKETS).map(|line| basket(line) + "\n").collect();
    std::fs::write(&file, text).unwrap();
    let replayed = commerce(&data, &kafka.addresses()).arg("replay").arg(&file).output().unwrap();
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    let report: Value = serde_json::from_slice(&replayed.stdout).unwrap();
    let best: Vec<_> = report["best_sellers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["name"].as_str().unwrap().to_owned(), it["orders"].as_u64().unwrap()))
        .collect();
    let expected: Vec<_> = (1..=5).map(|k| (format!("p{k}"), BASKETS / k)).collect();
    assert_eq!(best, expected);
    let audit = commerce(&data, &kafka.addresses()).arg("audit").output().unwrap();
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stdout));
    let report: Value = serde_json::from_slice(&audit.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let compared = |stream: &str| {
        let check = checks.iter().find(|check| check["name"] == stream).unwrap();
        check["rows_checked"].as_u64().unwrap()
    };
    assert!(compared("wallet-stream") > 0 && compared("order-stream") > 0, "{report}");
}
