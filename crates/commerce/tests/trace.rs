//! One trace id, from the caller's metadata to the consumer of the event, with every role a process of its own.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot run the program has failed"
)]

use api::checkout::v1::{CheckoutLine, CheckoutState, PlaceOrderRequest};
use api::outcome::{TRACEPARENT, X_TRACE_ID};
use api::product::v1::CreateProductRequest;
use api::ranking::v1::ListTopProductsRequest;
use api::wallet::v1::{ChargeWalletRequest, CreateWalletRequest};
use commerce::clients::{Addresses, Clients};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use testkit::request_id;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use tonic::Request;

const TRACE_ID: &str = "the-callers_own-1";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// What its `traceparent` has in common with those of all calls that it causes.
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-";
const OTHER: &str = "00-00000000000000000000000000000001-00f067aa0ba902b7-01";
const USER: i64 = 7;
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(50);

/// A shop of which every role is a process, with a log of everything.
struct Shop {
    clients: Clients,
    log: PathBuf,
    _process: Child,
    _folder: TempDir,
}

impl Shop {
    async fn start(settings: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut process = Command::new(env!("CARGO_BIN_EXE_commerce"))
            .args(["--json", "--log-format", "json"])
            .args(["--log-filter", "info,platform=debug,participant=debug,events=debug"])
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(settings.iter().flat_map(|setting| ["--set", setting.as_str()]))
            .args(["up", "--split"])
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = said.next_line().await.unwrap().unwrap();
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let addresses: Addresses =
            serde_json::from_value(ready["ready"]["addresses"].clone()).unwrap();
        let clients = Clients::new(&addresses, 1).unwrap();
        Self { clients, log, _process: process, _folder: folder }
    }

    /// Makes what is needed to buy. Tells the product.
    async fn prepare(&self) -> i64 {
        let mut clients = self.clients.clone();
        let wallet = CreateWalletRequest { request_id: request_id(), user_id: USER };
        clients.wallets.create_wallet(wallet).await.unwrap();
        let charge =
            ChargeWalletRequest { request_id: request_id(), user_id: USER, amount_won: 100_000 };
        clients.wallets.charge_wallet(charge).await.unwrap();
        let product = CreateProductRequest {
            request_id: request_id(),
            name: "milk".to_owned(),
            price_won: 1_000,
            stock: 10,
        };
        let product = clients.product_admin.create_product(product).await.unwrap().into_inner();
        product.product.unwrap().product_id
    }

    /// Places an order. Tells what the answer says of its trace.
    async fn place_order(&self, product_id: i64, trace_id: &str, parent: &str) -> [String; 2] {
        let mut order = Request::new(PlaceOrderRequest {
            request_id: request_id(),
            user_id: USER,
            lines: vec![CheckoutLine { product_id, quantity: 1 }],
            coupon_id: None,
            expected_total_won: None,
        });
        order.metadata_mut().insert(X_TRACE_ID, trace_id.parse().unwrap());
        order.metadata_mut().insert(TRACEPARENT, parent.parse().unwrap());
        let placed = self.clients.checkout.clone().place_order(order).await.unwrap();
        let told = [X_TRACE_ID, TRACEPARENT]
            .map(|name| placed.metadata().get(name).unwrap().to_str().unwrap().to_owned());
        assert_eq!(placed.into_inner().state(), CheckoutState::Succeeded);
        told
    }

    /// Waits until the ranking counts orders as they come: those that it finds at its start have been counted before.
    async fn counting(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut ranking = self.clients.ranking.clone();
            let best = ranking.list_top_products(ListTopProductsRequest::default()).await;
            if best.is_ok_and(|best| !best.into_inner().products.is_empty()) {
                return;
            }
            assert!(Instant::now() < until, "the ranking counts nothing");
            sleep(LOOK).await;
        }
    }

    /// The spans of the trace's lines in the log, once the wanted one is there.
    async fn spans_until(&self, wanted: &str) -> BTreeSet<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = spans(&self.log);
            if found.contains(wanted) {
                return found;
            }
            assert!(Instant::now() < until, "no {wanted} among {found:?}");
            sleep(LOOK).await;
        }
    }
}

/// What the lines of the trace were written for: the method of a call, or the consumer of an event.
fn spans(log: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(log).unwrap();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_trace = lines.filter(|line| line["span"]["trace_id"] == TRACE_ID);
    let names = of_trace.filter_map(|line| {
        let span = &line["span"];
        let is_event = span["name"] == "event";
        if is_event && !span["traceparent"].as_str()?.starts_with(TRACE) {
            return None;
        }
        let name = span["method"].as_str().map(|method| method.rsplit('/').next());
        name.flatten().or_else(|| span["consumer"].as_str()).map(str::to_owned)
    });
    names.collect()
}

/// Follows an order through a shop with these settings.
async fn follow(settings: &[String]) {
    let shop = Shop::start(settings).await;
    let product = shop.prepare().await;
    shop.place_order(product, "another", OTHER).await;
    shop.counting().await;
    let [trace_id, parent] = shop.place_order(product, TRACE_ID, PARENT).await;
    assert_eq!(trace_id, TRACE_ID);
    assert!(parent.starts_with(TRACE), "{parent}");
    let spans = shop.spans_until("ranking").await;
    for call in ["PlaceOrder", "ReserveStock", "DebitWallet", "ConfirmOrder"] {
        assert!(spans.contains(call), "no {call} among {spans:?}");
    }
}

#[tokio::test]
async fn a_trace_is_in_the_log_of_every_process_that_an_order_passes_and_of_its_consumer() {
    follow(&[]).await;
}

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_in_the_log_of_the_consumer_on_kafka_too() {
    let Some(kafka) = testkit::kafka().await else { return };
    // Others use the broker, too.
    let prefix = format!("kafka.prefix=trace{}", std::process::id());
    let brokers = format!("kafka.brokers={}", kafka.addresses());
    follow(&["bus=kafka".to_owned(), brokers, prefix]).await;
}
