//! A file of baskets through the whole program: in one process and with every role its own, cut off, and once more.
//!
//! The file is the one that `BASKETS` names; without it, a seeded one.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot run the program has failed"
)]

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

/// The counts published with the file that `BASKETS` names in CI.
const PUBLISHED: [(&str, u64); 5] = [
    ("whole milk", 2513),
    ("other vegetables", 1903),
    ("rolls/buns", 1809),
    ("soda", 1715),
    ("yogurt", 1372),
];
/// Baskets of the seeded file.
const SEEDED: u64 = 1_200;
/// Its products: product k is in every k-th basket, so that no two of the first are in equally many.
const PRODUCTS: u64 = 40;

/// A file of baskets and what a shop that sold them must say.
struct Sold {
    file: PathBuf,
    baskets: u64,
    best: Vec<(String, u64)>,
}

fn sold(folder: &Path) -> Sold {
    if let Some(file) = std::env::var_os("BASKETS") {
        let file = PathBuf::from(file);
        let text = std::fs::read_to_string(&file).unwrap();
        let best = best(&text);
        let published = PUBLISHED.map(|(name, count)| (name.to_owned(), count));
        assert_eq!(best, published, "BASKETS is another file");
        return Sold { file, baskets: count(&text), best };
    }
    let name = |product: u64| if product == 2 { "milk ".to_owned() } else { format!("p{product}") };
    let basket = |line: u64| {
        let divides = (1..=PRODUCTS).filter(|product| line.is_multiple_of(*product));
        divides.map(name).collect::<Vec<_>>().join(",")
    };
    let text: String = (1..=SEEDED).map(|line| basket(line) + "\n").collect();
    let file = folder.join("baskets.csv");
    std::fs::write(&file, &text).unwrap();
    Sold { file, baskets: SEEDED, best: best(&text) }
}

fn count(text: &str) -> u64 {
    u64::try_from(text.lines().count()).unwrap()
}

/// The five names in most lines.
fn best(text: &str) -> Vec<(String, u64)> {
    let mut lines_with: HashMap<&str, u64> = HashMap::new();
    for name in text.split('\n').flat_map(|line| line.split(',')).filter(|name| !name.is_empty()) {
        *lines_with.entry(name).or_default() += 1;
    }
    let mut best: Vec<_> = lines_with.into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
    best.sort_by_key(|(_, lines)| std::cmp::Reverse(*lines));
    best.truncate(5);
    best
}

fn commerce(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commerce"));
    command.arg("--json").arg("--data-dir").arg(data).args(["--log-filter", "warn"]);
    command
}

fn replay(data: &Path, sold: &Sold, more: &[&str]) -> Value {
    // An attempt that a busy machine cuts off is made again, and would be counted again.
    let patience = ["--set", "saga.attempt=60s"];
    let replay = commerce(data).args(patience).arg("replay").arg(&sold.file).args(more).output();
    let output = replay.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let best: Vec<_> = report["best_sellers"].as_array().unwrap().clone();
    let best: Vec<_> = best
        .iter()
        .map(|it| (it["name"].as_str().unwrap().to_owned(), it["orders"].as_u64().unwrap()))
        .collect();
    assert_eq!(best, sold.best);
    assert_eq!(report["failed"], 0);
    report
}

/// The participants were called once for every step of every order, and for nothing else.
fn assert_called_once_a_step(report: &Value, orders: u64) {
    let calls = report["calls"].as_object().unwrap();
    let steps: Vec<_> = calls.iter().map(|(step, calls)| (step.as_str(), calls.as_u64())).collect();
    let once = Some(orders);
    assert_eq!(steps, [("ConfirmOrder", once), ("DebitWallet", once), ("ReserveStock", once)]);
}

fn assert_clean(data: &Path) {
    let output = commerce(data).arg("audit").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_basket_is_an_order_and_a_second_run_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (data, sold) = (folder.path().join("data"), sold(folder.path()));
    let first = replay(&data, &sold, &[]);
    assert_eq!(
        (first["placed"].as_u64(), first["replayed"].as_u64()),
        (Some(sold.baskets), Some(0))
    );
    assert_called_once_a_step(&first, sold.baskets);
    assert_clean(&data);
    let second = replay(&data, &sold, &[]);
    assert_eq!(
        (second["placed"].as_u64(), second["replayed"].as_u64()),
        (Some(0), Some(sold.baskets))
    );
    assert_clean(&data);
}

#[test]
fn it_is_the_same_with_every_role_its_own_process() {
    let folder = tempfile::tempdir().unwrap();
    let (data, sold) = (folder.path().join("data"), sold(folder.path()));
    let report = replay(&data, &sold, &["--split"]);
    assert_eq!(report["placed"].as_u64(), Some(sold.baskets));
    assert_called_once_a_step(&report, sold.baskets);
    assert_clean(&data);
}

#[test]
fn relays_that_are_held_work_off_every_event_of_the_orders_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let (data, sold) = (folder.path().join("data"), sold(folder.path()));
    let report = replay(&data, &sold, &["--relay"]);
    assert_eq!(report["placed"].as_u64(), Some(sold.baskets));
    let relayed = &report["relayed"];
    let outboxes = relayed["outboxes"].as_array().unwrap();
    let told: HashMap<_, _> = outboxes
        .iter()
        .map(|it| (it["schema"].as_str().unwrap(), it["events"].as_u64().unwrap()))
        .collect();
    // Each order takes stock and money, and is there.
    let each = sold.baskets;
    let expected = [("wallet", each), ("product", each), ("coupon", 0), ("order", each)];
    assert_eq!(told, HashMap::from(expected));
    assert_eq!(relayed["events"].as_u64(), Some(3 * each));
    assert_clean(&data);
}

/// A replay that has answers to some of its orders, and what it says from then on.
fn under_way(data: &Path, sold: &Sold) -> (Child, Lines<BufReader<ChildStderr>>) {
    let mut command = commerce(data);
    command.arg("replay").arg(&sold.file).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut replay = command.spawn().unwrap();
    // Lines of progress come at every tenth: the first ones stand for orders that were answered, and most were not.
    let mut said = BufReader::new(replay.stderr.take().unwrap()).lines();
    let answered = said.find(|line| line.as_ref().unwrap().contains("orders answered"));
    assert!(answered.is_some(), "the first orders were answered");
    (replay, said)
}

#[test]
fn a_replay_that_was_killed_is_finished_by_running_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let (data, sold) = (folder.path().join("data"), sold(folder.path()));
    let (mut cut_off, _said) = under_way(&data, &sold);
    cut_off.kill().unwrap();
    cut_off.wait().unwrap();
    let report = replay(&data, &sold, &[]);
    let (placed, replayed) = (report["placed"].as_u64(), report["replayed"].as_u64());
    assert_eq!(placed.unwrap() + replayed.unwrap(), sold.baskets);
    assert!(replayed.unwrap() >= sold.baskets / 10, "{report}");
    assert_clean(&data);
}

#[test]
fn a_replay_whose_database_is_gone_says_so_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (data, sold) = (folder.path().join("data"), sold(folder.path()));
    let (mut replay, said) = under_way(&data, &sold);
    let pid = std::fs::read_to_string(data.join("mysql/server.pid")).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    let said: String = said.map(Result::unwrap).collect();
    assert!(said.contains("the private database server is gone"), "{said}");
    assert_eq!(replay.wait().unwrap().code(), Some(1));
}
