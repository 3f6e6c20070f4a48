//! Errors that no service made, and the metadata of those that one did.

use std::time::Duration;

use api::{Reason, Refusal, outcome::IDEMPOTENCY_REPLAYED};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use platform::{MAX_MESSAGE_BYTES, Transport, replayed, replayed_refusal};
use tonic::{Code, Status, body::Body};
use tower::ServiceExt;

use crate::stub::{METHOD, Stub, client, list, named, refusal};

const MANY: usize = 100;

/// Sends bytes as they are, and gives back the raw response.
async fn send(transport: &Transport, path: &str, bytes: Vec<u8>) -> Response<Body> {
    let request = Request::post(path).header("content-type", "application/grpc");
    let request = request.header("te", "trailers").body(Body::new(Full::from(bytes))).unwrap();
    transport.clone().oneshot(request).await.unwrap()
}

/// A gRPC message, uncompressed.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

fn refused(response: &Response<Body>) -> (Code, Refusal) {
    let status = Status::from_header_map(response.headers()).unwrap();
    (status.code(), refusal(&status))
}

fn stub() -> Stub {
    Stub::new(|| async { Ok(named([])) })
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_the_callers_fault() {
    for (way, transport) in stub().ways(MANY).await {
        let unreadable = [
            framed(&[0xff; 8]),
            framed(&[0x08]),
            vec![0, 0, 0, 0, 9, 1],
            vec![7, 0, 0, 0, 0],
            vec![1, 0, 0, 0, 0],
            Vec::new(),
        ];
        for bytes in unreadable {
            let response = send(&transport, METHOD, bytes.clone()).await;
            let malformed = (Code::InvalidArgument, Reason::MalformedRequest.into());
            assert_eq!(refused(&response), malformed, "{way}: {bytes:?}");
        }
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_learns_the_limit() {
    for (way, transport) in stub().ways(MANY).await {
        let response = send(&transport, METHOD, framed(&vec![0; MAX_MESSAGE_BYTES + 1])).await;
        let too_large = Refusal::new(Reason::MessageTooLarge).with("maximum", MAX_MESSAGE_BYTES);
        assert_eq!(refused(&response), (Code::InvalidArgument, too_large), "{way}");
    }
}

#[tokio::test]
async fn unknown_services_and_calls_are_unimplemented() {
    for (way, transport) in stub().ways(MANY).await {
        for path in ["/commerce.ranking.v1.RankingService/NoSuchCall", "/no.such.Service/Call", "/"]
        {
            let response = send(&transport, path, framed(&[])).await;
            let unimplemented = (Code::Unimplemented, Reason::Unimplemented.into());
            assert_eq!(refused(&response), unimplemented, "{way}: {path}");
        }
    }
}

#[tokio::test]
async fn a_drivers_text_stays_in_the_process() {
    let failing = || async { Err(Status::internal("Table 'commerce_order.orders' doesn't exist")) };
    for (way, transport) in Stub::new(failing).ways(MANY).await {
        let status = list(&transport).await.unwrap_err();
        assert_eq!(refusal(&status).reason, Reason::Internal, "{way}");
        assert!(!status.message().contains("commerce_order"));
    }
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_unavailable() {
    // Bound and dropped, so that nobody listens there.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let transport = crate::stub::to(socket.local_addr().unwrap());
    drop(socket);
    let status = list(&transport).await.unwrap_err();
    assert_eq!(refusal(&status).reason, Reason::Unavailable);
}

#[tokio::test]
async fn a_call_without_time_left_is_not_made() {
    let stub = Stub::new(|| async { panic!("called") });
    for (way, transport) in stub.ways(MANY).await {
        let call = client(&transport).list_top_products(crate::stub::request(Duration::ZERO)).await;
        assert_eq!(refusal(&call.unwrap_err()).reason, Reason::DeadlineExceeded, "{way}");
    }
}

#[tokio::test]
async fn a_replayed_answer_says_so_in_its_trailers() {
    let stub = Stub::new(|| async { Ok(replayed(named([]))) });
    for (way, transport) in stub.ways(MANY).await {
        let metadata = list(&transport).await.unwrap().metadata().clone();
        assert_eq!(metadata.get(IDEMPOTENCY_REPLAYED).unwrap(), "true", "{way}");

        let response = send(&transport, METHOD, framed(&[])).await;
        assert!(!response.headers().contains_key(IDEMPOTENCY_REPLAYED), "{way}");
        let collected = response.into_body().collect().await.unwrap();
        let trailers = collected.trailers().unwrap();
        assert_eq!(trailers[IDEMPOTENCY_REPLAYED], "true", "{way}");
        assert_eq!(trailers["grpc-status"], "0", "{way}");
    }
}

#[tokio::test]
async fn a_replayed_refusal_says_so_and_stays_as_it_was() {
    let sold_out = || Refusal::new(Reason::CouponSoldOut).with("coupon_id", 7).with("quota", 10);
    let stub = Stub::new(move || async move { Err(replayed_refusal(sold_out())) });
    for (way, transport) in stub.ways(MANY).await {
        let status = list(&transport).await.unwrap_err();
        assert_eq!(refusal(&status), sold_out(), "{way}");
        assert_eq!(status.metadata().get(IDEMPOTENCY_REPLAYED).unwrap(), "true", "{way}");
    }
}
