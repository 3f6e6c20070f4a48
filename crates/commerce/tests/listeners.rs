//! Which calls each listener of a shop offers and describes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use http::Request;
use http_body_util::Full;
use platform::transport::remote;
use prost::Message;
use prost_types::FileDescriptorSet;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use testkit::Shop;
use tokio_stream::StreamExt;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tower::ServiceExt;

/// An empty message.
const EMPTY: [u8; 5] = [0; 5];

/// What a shopper's front end may call; everything else belongs to another listener.
const PUBLIC: [&str; 6] = [
    "commerce.checkout.v1.CheckoutService",
    "commerce.coupon.v1.CouponService",
    "commerce.order.v1.OrderService",
    "commerce.product.v1.ProductService",
    "commerce.ranking.v1.RankingService",
    "commerce.wallet.v1.WalletService",
];

/// What operators, the back office and followers of events call.
const ADMIN: [&str; 6] = [
    "commerce.coupon.v1.CouponAdminService",
    "commerce.events.v1.EventService",
    "commerce.product.v1.ProductAdminService",
    "commerce.ranking.v1.RankingAdminService",
    "commerce.saga.v1.SagaAdminService",
    "commerce.saga.v1.SagaService",
];

/// What the orchestrator calls.
const PARTICIPANT: [&str; 5] = [
    "commerce.coupon.v1.CouponParticipantService",
    "commerce.order.v1.OrderParticipantService",
    "commerce.product.v1.ProductParticipantService",
    "commerce.saga.v1.SagaParticipantService",
    "commerce.wallet.v1.WalletParticipantService",
];

/// Each listener with its services.
fn listeners(shop: &Shop) -> [(SocketAddr, &'static [&'static str]); 3] {
    let listening = shop.listening();
    [
        (listening.public, &PUBLIC),
        (listening.admin, &ADMIN),
        (listening.participant.unwrap(), &PARTICIPANT),
    ]
}

/// The full names of all methods of the contract, by their service's.
fn methods() -> Vec<(String, String)> {
    let set = FileDescriptorSet::decode(api::FILE_DESCRIPTOR_SET).unwrap();
    let mut all = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            all.extend(service.method.iter().map(|it| (name.clone(), it.name().to_owned())));
        }
    }
    all
}

async fn code(address: SocketAddr, service: &str, method: &str) -> Option<Code> {
    let transport = remote(&[format!("http://{address}")], 1).unwrap();
    let request = Request::post(format!("/{service}/{method}"))
        .header("content-type", "application/grpc")
        .body(Body::new(Full::from(&EMPTY[..])))
        .unwrap();
    let answer = transport.oneshot(request).await.unwrap();
    Status::from_header_map(answer.headers()).map(|status| status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_offered_on_its_own_listener_and_on_no_other() {
    let shop = Shop::start().await;
    let mut seen = BTreeSet::new();
    for (service, method) in methods() {
        for (address, services) in listeners(&shop) {
            let is_offered = services.contains(&service.as_str());
            let is_refused = code(address, &service, &method).await == Some(Code::Unimplemented);
            assert_eq!(is_refused, !is_offered, "{service}/{method} on {address}");
            if is_offered {
                seen.insert(service.clone());
            }
        }
    }
    assert_eq!(seen.len(), PUBLIC.len() + ADMIN.len() + PARTICIPANT.len());
    shop.stop().await;
}

/// What a listener's reflection says.
async fn ask(address: SocketAddr, question: MessageRequest) -> Result<MessageResponse, Status> {
    let mut client =
        ServerReflectionClient::new(remote(&[format!("http://{address}")], 1).unwrap());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    Ok(answers.into_inner().next().await.unwrap()?.message_response.unwrap())
}

/// Whether a listener's reflection knows a symbol.
async fn describes(address: SocketAddr, symbol: &str) -> bool {
    let question = MessageRequest::FileContainingSymbol(symbol.to_owned());
    match ask(address, question).await {
        Ok(MessageResponse::FileDescriptorResponse(files)) => {
            !files.file_descriptor_proto.is_empty()
        }
        Err(status) if status.code() == Code::NotFound => false,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_describes_what_its_listener_offers_and_nothing_else() {
    let shop = Shop::start().await;
    for (address, services) in listeners(&shop) {
        let answer = ask(address, MessageRequest::ListServices(String::new())).await.unwrap();
        let MessageResponse::ListServicesResponse(listed) = answer else { panic!("{answer:?}") };
        let listed: BTreeSet<_> = listed.service.into_iter().map(|service| service.name).collect();
        let of_shop: Vec<_> = listed.iter().filter(|name| name.starts_with("commerce.")).collect();
        assert_eq!(of_shop, services, "{address}");
        for service in PUBLIC.into_iter().chain(ADMIN).chain(PARTICIPANT) {
            // Their messages are imported: an event holds lines of an order, an admin call answers with a product.
            let is_beside = services != PUBLIC && PUBLIC.contains(&service);
            if !is_beside {
                let expected = services.contains(&service);
                assert_eq!(describes(address, service).await, expected, "{service} on {address}");
            }
        }
        assert!(describes(address, "google.rpc.ErrorInfo").await);
    }
    let [(public, _), (admin, _), _] = listeners(&shop);
    for event in ["commerce.wallet.v1.WalletDebited", "commerce.order.v1.OrderConfirmed"] {
        assert!(describes(admin, event).await && !describes(public, event).await, "{event}");
    }
    shop.stop().await;
}
