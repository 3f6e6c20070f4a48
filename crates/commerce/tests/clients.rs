//! Clients in other languages and from the command line, each against a real shop: the programs under proto/examples/, with
//! a restart of the shop in the middle, and every example of the contract's comments and the README by grpcurl.
//!
//! They need what `deploy/test --languages` looks for, and are ignored elsewhere.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and tells what a program said"
)]

use prost_reflect::{DescriptorPool, MethodDescriptor, ServiceDescriptor};
use rustix::process::{Pid, Signal, kill_process};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// How long a client, or a start of the shop, may take: far more than either does.
const PATIENCE: Duration = Duration::from_mins(4);
/// Lines that a client says after READY before the shop is restarted under it.
const BEFORE_RESTART: usize = 3;

/// A shop of its own: the real program, on a folder that a restart keeps.
struct Shop {
    folder: TempDir,
    public: String,
    admin: String,
    process: Child,
    /// What it writes to standard output.
    said: Lines<BufReader<ChildStdout>>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

impl Shop {
    async fn start(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (public, admin) = (free_address(), free_address());
        let (process, said) = serve(folder.path(), &public, &admin, settings).await;
        Self { folder, public, admin, process, said }
    }

    /// Ends the program and its private servers, and starts it again on the same data.
    async fn restart(&mut self) {
        self.end(Signal::TERM).await;
        let (process, said) = serve(self.folder.path(), &self.public, &self.admin, &[]).await;
        (self.process, self.said) = (process, said);
    }

    async fn end(&mut self, signal: Signal) {
        let pid = self.process.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).unwrap();
        kill_process(pid, signal).unwrap();
        // Its last words: it must find somebody who reads them.
        let words = async { while let Ok(Some(_)) = self.said.next_line().await {} };
        timeout(PATIENCE, words).await.expect("the program ends");
        timeout(PATIENCE, self.process.wait()).await.expect("the program ends").unwrap();
    }

    /// Ends it and checks every invariant of its data.
    async fn stop_and_audit(mut self) {
        self.end(Signal::TERM).await;
        let audit = Command::new(env!("CARGO_BIN_EXE_commerce"))
            .arg("audit")
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .output();
        let audit = timeout(PATIENCE, audit).await.expect("the audit ends").unwrap();
        assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stdout));
    }
}

async fn serve(
    folder: &Path,
    public: &str,
    admin: &str,
    settings: &[&str],
) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_commerce"))
        .args(["--json", "up", "--listen-public", public, "--listen-admin", admin])
        .args(["--listen-participant", "127.0.0.1:0"])
        .args(settings.iter().flat_map(|setting| ["--set", setting]))
        .arg("--data-dir")
        .arg(folder.join("data"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
    let ready = timeout(PATIENCE, said.next_line()).await.expect("the shop starts");
    assert!(ready.unwrap().is_some_and(|line| line.contains("ready")), "the shop is not ready");
    (process, said)
}

/// The next line of a program, told to whoever reads the test's output.
async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<String> {
    let line = timeout(PATIENCE, async { lines.next_line().await.unwrap() }).await;
    let line = line.expect("the program goes on");
    if let Some(line) = &line {
        println!("{line}");
    }
    line
}

/// Runs the program of a folder under proto/examples, and restarts the shop after it has placed some orders.
async fn survives_a_restart(language: &str) {
    let mut shop = Shop::start(&[]).await;
    let folder = root().join("proto/examples").join(language);
    let mut client = Command::new(folder.join("run.sh"))
        .args([&shop.public, &shop.admin])
        .env("ORDERS", "60")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(client.stdout.take().unwrap()).lines();
    while next(&mut said).await.expect("it says READY") != "READY" {}
    for _ in 0..BEFORE_RESTART {
        next(&mut said).await.expect("it goes on after READY");
    }
    shop.restart().await;
    // Whoever reads it knows that the shop is back.
    let _ = client.stdin.take().unwrap().write_all(b"restarted\n").await;
    let mut last = String::new();
    while let Some(line) = next(&mut said).await {
        last = line;
    }
    let ended: ExitStatus = timeout(PATIENCE, client.wait()).await.expect("it ends").unwrap();
    assert!(ended.success() && last == "OK", "{language}: {ended}, last said {last:?}");
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Go"]
async fn a_client_in_go_survives_a_restart() {
    survives_a_restart("go").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Python"]
async fn a_client_in_python_survives_a_restart() {
    survives_a_restart("python").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a JDK"]
async fn a_client_in_java_survives_a_restart() {
    survives_a_restart("java").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node"]
async fn a_client_in_typescript_survives_a_restart() {
    survives_a_restart("typescript").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node and Chromium"]
async fn a_browser_calls_from_a_page_of_an_allowed_origin_only() {
    let origin = format!("http://{}", free_address());
    let shop = Shop::start(&[&format!("web.allowed_origins={origin}")]).await;
    let script = root().join("proto/examples/browser/run.sh");
    let ran = Command::new(script).args([&format!("http://{}", shop.public), &origin]).output();
    let ran = timeout(PATIENCE, ran).await.expect("the page is done").unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    println!("{}", String::from_utf8_lossy(&said));
    assert!(ran.status.success(), "{}", ran.status);
    shop.stop_and_audit().await;
}

/// The example of a method's comment, if it has one: what stands between the backquotes after `Example:`.
fn example(service: &ServiceDescriptor, method: &MethodDescriptor) -> Option<String> {
    let file = service.parent_file();
    let file = file.file_descriptor_proto();
    let service_at = file.service.iter().position(|it| it.name() == service.name())?;
    let method_at = service.methods().position(|it| it.name() == method.name())?;
    let path = [6, i32::try_from(service_at).ok()?, 2, i32::try_from(method_at).ok()?];
    let mut locations = file.source_code_info.as_ref()?.location.iter();
    let comment = locations.find(|it| it.path == path)?.leading_comments();
    let (_, rest) = comment.split_once("Example: `")?;
    let (json, _) = rest.split_once('`')?;
    Some(json.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn grpcurl_program() -> PathBuf {
    std::env::var_os("GRPCURL").expect("GRPCURL names the program: deploy/test --languages").into()
}

async fn grpcurl(arguments: &[&str]) -> (bool, String) {
    let ran = Command::new(grpcurl_program()).arg("-plaintext").args(arguments).output();
    let ran = timeout(PATIENCE, ran).await.expect("grpcurl ends").unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    (ran.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs grpcurl"]
async fn every_example_of_the_contract_runs_by_grpcurl() {
    let shop = Shop::start(&[]).await;
    let on = async |address: &str, method: &str, json: &str| {
        let (is_ok, said) = grpcurl(&["-d", json, address, method]).await;
        assert!(is_ok, "{method} {json}\n{said}");
        said
    };
    let id = || uuid::Uuid::new_v4().to_string();
    let wallets = "commerce.wallet.v1.WalletService";
    let user = format!(r#"{{"request_id": "{}", "user_id": 1}}"#, id());
    on(&shop.public, &format!("{wallets}/CreateWallet"), &user).await;
    let money = format!(r#"{{"request_id": "{}", "user_id": 1, "amount_won": 100000}}"#, id());
    on(&shop.public, &format!("{wallets}/ChargeWallet"), &money).await;
    // The examples name product 7.
    for number in 1..=7 {
        let product = format!(
            r#"{{"request_id": "{}", "name": "product {number}", "price_won": 1000, "stock": 100}}"#,
            id()
        );
        let method = "commerce.product.v1.ProductAdminService/CreateProduct";
        let said = on(&shop.admin, method, &product).await;
        assert!(said.contains(&format!(r#""productId": "{number}""#)), "{said}");
    }
    let pool = DescriptorPool::decode(api::FILE_DESCRIPTOR_SET).unwrap();
    let mut tried = 0;
    for service in pool.services() {
        for method in service.methods() {
            let Some(json) = example(&service, &method) else { continue };
            tried += 1;
            let is_admin = testkit::is_admin(service.name());
            let address = if is_admin { &shop.admin } else { &shop.public };
            let name = format!("{}/{}", service.full_name(), method.name());
            if method.is_server_streaming() {
                let (_, said) = grpcurl(&["-max-time", "5", "-d", &json, address, &name]).await;
                // Its events are readable: by their types' names, not as bytes.
                let wallet = r#""@type": "type.googleapis.com/commerce.wallet.v1.WalletCharged""#;
                assert!(said.contains(wallet) && said.contains("amountWon"), "{name}\n{said}");
                continue;
            }
            on(address, &name, &json).await;
        }
    }
    assert!(tried >= 5, "only {tried} examples were found");
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs grpcurl"]
async fn the_lines_of_the_readme_run_by_grpcurl_as_they_stand() {
    let shop = Shop::start(&[]).await;
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut tried = 0;
    for block in blocks.filter(|block| block.contains("grpcurl")) {
        tried += 1;
        let script =
            block.replace("127.0.0.1:50051", &shop.public).replace("127.0.0.1:50053", &shop.admin);
        let tools = grpcurl_program();
        let tools = tools.parent().unwrap().display();
        let path = format!("{tools}:{}", std::env::var("PATH").unwrap());
        let ran = Command::new("bash").args(["-uc", &script]).env("PATH", path).output();
        let ran = timeout(PATIENCE, ran).await.expect("the lines end").unwrap();
        let said = [ran.stdout, ran.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        println!("{said}");
        // The order that is paid for, the one that is not, and no call that is not there.
        for expected in ["SUCCEEDED", "INSUFFICIENT_BALANCE", "WalletCharged"] {
            assert!(said.contains(expected), "{expected} is missing:\n{said}");
        }
        for fault in ["Unimplemented", "InvalidArgument", "does not", "not found", "no known field"]
        {
            assert!(!said.contains(fault), "{fault}:\n{said}");
        }
    }
    assert_eq!(tried, 1, "blocks of grpcurl lines in the README");
    shop.stop_and_audit().await;
}
