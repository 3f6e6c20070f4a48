//! The edge of a whole shop: what its listeners read, health that tells the truth, and peers that fall silent.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and one tells its figures"
)]

use api::wallet::v1::GetWalletRequest;
use api::wallet::v1::wallet_service_client::WalletServiceClient;
use embedded::{MySql, MySqlOptions};
use http::{Request, Response};
use http_body_util::Full;
use platform::{Transport, transport};
use prost::Message;
use prost_types::FileDescriptorSet;
use rustix::process::{Pid, Signal, kill_process};
use std::net::SocketAddr;
use std::time::Duration;
use testkit::{Proxy, Shop, wallets_on};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::ServiceExt;

const WALLET: &str = "commerce.wallet.v1.WalletService";
const WALLET_STEPS: &str = "commerce.wallet.v1.WalletParticipantService";
const PRODUCT: &str = "commerce.product.v1.ProductService";
const CHECKOUT: &str = "commerce.checkout.v1.CheckoutService";
const EVENTS: &str = "commerce.events.v1.EventService";
const LIVENESS: &str = "liveness";

/// An empty message, compressed with gzip.
const EMPTY: [u8; 25] =
    [1, 0, 0, 0, 20, 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two tries.
const LOOK: Duration = Duration::from_millis(50);

/// What the shop says of a service, whenever that changes.
struct Watched(tonic::Streaming<HealthCheckResponse>);

impl Watched {
    async fn begin(channel: Channel, service: &str) -> Self {
        let check = HealthCheckRequest { service: service.to_owned() };
        Self(HealthClient::new(channel).watch(check).await.unwrap().into_inner())
    }

    /// Waits until the service is, or is not, ready.
    async fn until(&mut self, ready: bool) {
        let told =
            async { while self.0.message().await.unwrap().unwrap().status() != status(ready) {} };
        timeout(PATIENCE, told).await.expect("readiness follows");
    }
}

fn status(ready: bool) -> ServingStatus {
    if ready { ServingStatus::Serving } else { ServingStatus::NotServing }
}

async fn is_serving(channel: &Channel, service: &str) -> bool {
    let check = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(channel.clone()).check(check).await;
    answer.unwrap().into_inner().status() == ServingStatus::Serving
}

/// A server for the wallets alone, and a database on it.
async fn own_server() -> (MySql, String) {
    let mut options = MySqlOptions::temporary();
    options.buffer_pool_mib = 64;
    options.redo_log_mib = Some(16);
    let server = MySql::start(options).await.unwrap();
    let db = db::Db::open(db::Options::new(server.url())).await.unwrap();
    db.read(async |conn: &mut db::Conn| -> db::Result<()> {
        let create = "CREATE DATABASE wallet";
        Ok(diesel_async::SimpleAsyncConnection::batch_execute(conn, create).await?)
    })
    .await
    .unwrap();
    let url = server.url_for("root", "", "wallet");
    (server, url)
}

fn signal(server: &MySql, signal: Signal) {
    let pid = server.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    kill_process(pid.unwrap(), signal).unwrap();
}

/// Asks for a wallet, by new connections, until there is an answer. Says how long that took.
async fn answered(channel: &Channel, user_id: i64) -> Duration {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let mut request = tonic::Request::new(GetWalletRequest { user_id });
        request.set_timeout(Duration::from_secs(1));
        if let Ok(answer) = wallets_on(channel.clone()).get_wallet(request).await {
            assert_eq!(answer.into_inner().wallet.unwrap().user_id, user_id);
            return began.elapsed();
        }
        sleep(LOOK).await;
    }
    panic!("no answer within {PATIENCE:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_of_every_listener_reads_gzip() {
    let shop = Shop::start().await;
    let set = FileDescriptorSet::decode(api::FILE_DESCRIPTOR_SET).unwrap();
    let mut called = 0;
    for file in &set.file {
        for service in &file.service {
            let address = match service.name() {
                name if testkit::is_admin(name) => shop.listening().admin,
                name if name.ends_with("ParticipantService") => {
                    shop.listening().participant.unwrap()
                }
                _ => shop.listening().public,
            };
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                let answer = send(address, &path).await;
                let code = Status::from_header_map(answer.headers()).map(|status| status.code());
                assert_ne!(code, Some(Code::Unimplemented), "{path}");
                called += 1;
            }
        }
    }
    assert!(called > 30, "{called} methods");
    shop.stop().await;
}

async fn send(address: SocketAddr, path: &str) -> Response<Body> {
    let transport: Transport = transport::remote(&[format!("http://{address}")], 1).unwrap();
    let request = Request::post(path)
        .header("content-type", "application/grpc")
        .header("grpc-encoding", "gzip")
        .body(Body::new(Full::from(&EMPTY[..])))
        .unwrap();
    transport.oneshot(request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_may_call_the_public_and_the_admin_listener_but_no_step() {
    let shop = Shop::builder().set("web.allowed_origins", "https://shop.example").start().await;
    let listening = shop.listening();
    for (address, is_for_pages) in
        [(listening.public, true), (listening.admin, true), (listening.participant.unwrap(), false)]
    {
        let mut page = TcpStream::connect(address).await.unwrap();
        let preflight = "OPTIONS / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\
             origin: https://shop.example\r\naccess-control-request-method: POST\r\n\r\n";
        page.write_all(preflight.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A listener that speaks no HTTP/1 may reset the connection.
        let _ = timeout(PATIENCE, page.read_to_end(&mut answer)).await.expect("an end");
        assert_eq!(answer.starts_with(b"HTTP/1.1 200"), is_for_pages, "{address}");
    }
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_the_database_of_each_service_and_nothing_else() {
    let (server, url) = own_server().await;
    let shop = Shop::builder().set("database.wallet.url", url).start().await;
    let user_id = shop.user(1_000).await;
    let channel = shop.channel().await;
    let mut wallet = Watched::begin(channel.clone(), WALLET).await;
    let mut all = Watched::begin(channel.clone(), "").await;
    wallet.until(true).await;
    all.until(true).await;
    for _ in 0..2 {
        signal(&server, Signal::STOP);
        let frozen = Instant::now();
        wallet.until(false).await;
        println!("not ready {:?} after the database stood still", frozen.elapsed());
        all.until(false).await;
        assert!(!is_serving(&channel, WALLET_STEPS).await);
        // What can do without the wallets, or says itself that it cannot.
        for service in [PRODUCT, CHECKOUT, EVENTS, LIVENESS] {
            assert!(is_serving(&channel, service).await, "{service}");
        }
        signal(&server, Signal::CONT);
        let thawed = Instant::now();
        println!("answered {:?} after it went on", answered(&channel, user_id).await);
        wallet.until(true).await;
        println!("ready {:?} after it went on", thawed.elapsed());
        all.until(true).await;
    }
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_the_database_that_are_swallowed_are_replaced() {
    let (_server, url) = own_server().await;
    let proxy = Proxy::before(&url).await;
    let shop = Shop::builder().set("database.wallet.url", proxy.url()).start().await;
    let user_id = shop.user(1_000).await;
    let channel = shop.channel().await;
    answered(&channel, user_id).await;
    proxy.swallow_existing();
    println!("answered {:?} after the connections died", answered(&channel, user_id).await);
    Watched::begin(channel.clone(), WALLET).await.until(true).await;
    // Writes go on as well.
    shop.user(1_000).await;
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_on_over_new_connections_when_a_peer_falls_silent() {
    let shop = Shop::start().await;
    let user_id = shop.user(1_000).await;
    let proxy = Proxy::before(&shop.listening().public.to_string()).await;
    let peer = transport::remote(&[format!("http://{}", proxy.address())], 2).unwrap();
    let get = async |within: Duration| {
        let mut request = tonic::Request::new(GetWalletRequest { user_id });
        request.set_timeout(within);
        WalletServiceClient::new(peer.clone()).get_wallet(request).await
    };
    for _ in 0..4 {
        get(PATIENCE).await.unwrap();
    }
    for swallow in [Proxy::swallow_existing, Proxy::swallow_all] {
        swallow(&proxy);
        let silent = Instant::now();
        // The connection ends long before the call's deadline would.
        let caught = timeout(PATIENCE / 2, get(PATIENCE)).await.expect("an answer");
        println!("a call under way ended {:?} after the peer fell silent", silent.elapsed());
        assert_eq!(caught.map(drop).unwrap_err().code(), Code::Unavailable);
        proxy.heal();
        let healed = Instant::now();
        while get(Duration::from_secs(1)).await.is_err() {
            assert!(healed.elapsed() < PATIENCE, "calls do not go on");
            sleep(LOOK).await;
        }
        println!("calls go on {:?} after the fault", healed.elapsed());
        // Each of the connections was replaced.
        for _ in 0..4 {
            while get(Duration::from_secs(1)).await.is_err() {
                assert!(healed.elapsed() < PATIENCE, "calls do not go on");
            }
        }
    }
    shop.stop().await;
}
