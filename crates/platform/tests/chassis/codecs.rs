//! How requests are written: content types, methods, encodings.

use std::{io::Write, sync::atomic::Ordering};

use api::Reason;
use flate2::{Compression, write::GzEncoder};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use platform::{MAX_MESSAGE_BYTES, Transport};
use tonic::{Code, Status, body::Body, codec::CompressionEncoding};
use tower::ServiceExt;

use crate::stub::{METHOD, client, counting, names, refusal, request};

const MANY: usize = 100;

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag], &length[..], message].concat()
}

fn gzipped(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(message).unwrap();
    framed(1, &encoder.finish().unwrap())
}

async fn send(
    transport: &Transport,
    method: Method,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(METHOD);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::new(Full::from(body))).unwrap();
    transport.clone().oneshot(request).await.unwrap()
}

fn status(response: &Response<Body>) -> Status {
    Status::from_header_map(response.headers()).unwrap()
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");

#[tokio::test]
async fn what_is_no_grpc_is_refused_and_does_not_run() {
    let (stub, count) = counting();
    for (way, transport) in stub.both(MANY).await {
        for content_type in ["text/plain", "application/json", "application/grpc-web", "x"] {
            let headers = [("content-type", content_type)];
            let response = send(&transport, Method::POST, &headers, framed(0, &[])).await;
            assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{way}");
            let refused = refusal(&status(&response));
            assert_eq!(refused.reason, Reason::ContentTypeNotSupported);
            assert_eq!(refused.metadata["content_type"], content_type);
        }
        let response = send(&transport, Method::POST, &[], framed(0, &[])).await;
        assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{way}");
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let response = send(&transport, method.clone(), &[GRPC], framed(0, &[])).await;
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{way}: {method}");
            assert_eq!(response.headers()["allow"], "POST");
        }
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn grpc_with_protobuf_may_say_so() {
    let (stub, count) = counting();
    for (way, transport) in stub.both(MANY).await {
        for content_type in ["application/grpc+proto", "application/grpc;charset=utf-8"] {
            let headers = [("content-type", content_type)];
            let response = send(&transport, Method::POST, &headers, framed(0, &[])).await;
            assert_eq!(response.status(), StatusCode::OK, "{way}: {content_type}");
        }
    }
    assert_eq!(count.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn requests_may_be_compressed_with_gzip() {
    let (stub, _) = counting();
    for (_, transport) in stub.both(MANY).await {
        let mut client = client(&transport).send_compressed(CompressionEncoding::Gzip);
        let answer = client.list_top_products(request(std::time::Duration::from_mins(1))).await;
        assert_eq!(names(answer), ["here"]);
    }
}

#[tokio::test]
async fn a_compressed_request_is_as_large_as_it_is_without_its_compression() {
    let (stub, count) = counting();
    for (way, transport) in stub.both(MANY).await {
        let bomb = gzipped(&vec![0; 100 * MAX_MESSAGE_BYTES]);
        assert!(bomb.len() < MAX_MESSAGE_BYTES);
        let headers = [GRPC, ("grpc-encoding", "gzip")];
        let response = send(&transport, Method::POST, &headers, bomb).await;
        let status = status(&response);
        assert_eq!(status.code(), Code::InvalidArgument, "{way}");
        let refused = refusal(&status);
        assert_eq!(refused.reason, Reason::MessageTooLarge);
        assert_eq!(refused.metadata["maximum"], MAX_MESSAGE_BYTES.to_string());

        let nonsense = framed(1, b"no gzip at all");
        let response = send(&transport, Method::POST, &headers, nonsense).await;
        assert_eq!(refusal(&self::status(&response)).reason, Reason::MalformedRequest, "{way}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_encoding_that_nobody_reads_is_unimplemented_and_told_which_are_read() {
    let (stub, count) = counting();
    for (way, transport) in stub.both(MANY).await {
        let headers = [GRPC, ("grpc-encoding", "zstd")];
        let response = send(&transport, Method::POST, &headers, framed(1, b"anything")).await;
        assert_eq!(response.headers()["grpc-accept-encoding"], "gzip,identity", "{way}");
        let status = status(&response);
        assert_eq!(status.code(), Code::Unimplemented);
        let refused = refusal(&status);
        assert_eq!(refused.reason, Reason::EncodingNotSupported);
        assert_eq!(refused.metadata["encoding"], "zstd");
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
}
