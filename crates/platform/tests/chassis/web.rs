//! gRPC-Web: which pages may call, and what they can read.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use api::{Reason, Refusal, outcome::IDEMPOTENCY_REPLAYED};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use platform::{
    Health, Limits, MAX_ANSWER_BYTES, Server, Transport, health::LIVENESS, replayed,
    server::Settings,
};
use prost::Message;
use tonic::{Code, Status, body::Body};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};
use tower::ServiceExt;

use crate::{
    http1::{Answer, EMPTY, Http1, WEB, allowed, connect, frames, only_name, origin, post},
    stub::{
        METHOD, ORIGIN, Stub, answering, bind, bind_web, counting, limits, list, listener, named,
        names, page, refusal, serve_web, soon, to,
    },
};

const FOREIGN: &str = "https://evil.example";
const SERVICE: &str = "commerce.ranking.v1.RankingService";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

async fn preflight(address: SocketAddr, origin: &str) -> Answer {
    let mut http = Http1::connect(address).await;
    let asked = "access-control-request-method: POST\r\n\
         access-control-request-headers: content-type,grpc-timeout,x-grpc-web,x-user-agent\r\n";
    let head = format!("OPTIONS {METHOD} HTTP/1.1\r\nhost: shop\r\norigin: {origin}\r\n{asked}");
    http.send(format!("{head}\r\n")).await;
    http.answer().await.expect("an answer")
}

/// A call over HTTP/2.
async fn send(transport: Transport, headers: &[(&str, &str)]) -> Response<Body> {
    let mut request = Request::post(METHOD);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::new(Full::from(&EMPTY[..]))).unwrap();
    soon(transport.oneshot(request)).await.unwrap()
}

#[tokio::test]
async fn without_allowed_origins_http_1_and_grpc_web_are_not_spoken() {
    let (stub, count) = counting();
    let server = bind(Settings::default(), stub.services()).await;
    let address = server.address("public").unwrap();
    tokio::spawn(server.serve(std::future::pending()));
    let mut http = Http1::connect(address).await;
    http.send(post(&allowed(), &EMPTY)).await;
    assert!(!http.end().await.starts_with(b"HTTP/1"));

    let response = send(to(address), &[("content-type", "application/grpc-web")]).await;
    assert_eq!(response.status(), 415);
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(refusal(&status).reason, Reason::ContentTypeNotSupported);
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn one_listener_may_be_for_pages_and_another_not() {
    let origins = Some(ORIGIN.parse().unwrap());
    let listeners = [
        listener("public", answering().services(), origins),
        listener("participant", answering().services(), None),
    ];
    let settings = Settings::default();
    let server = Server::bind(settings, listeners).await.unwrap();
    let [public, participant] = ["public", "participant"].map(|name| server.address(name).unwrap());
    tokio::spawn(server.serve(std::future::pending()));
    assert_eq!(names(list(&page(public, ORIGIN)).await), ["here"]);
    let mut http = Http1::connect(participant).await;
    http.send(post(&allowed(), &EMPTY)).await;
    assert!(!http.end().await.starts_with(b"HTTP/1"));
    assert_eq!(names(list(&to(participant)).await), ["here"]);
}

#[tokio::test]
async fn a_preflight_from_an_allowed_origin_is_told_what_pages_may_do() {
    let (stub, count) = counting();
    let answer = preflight(serve_web(Settings::default(), &stub).await, ORIGIN).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), ORIGIN);
    assert_eq!(answer.header("access-control-allow-methods"), "POST");
    assert_eq!(answer.header("access-control-max-age"), "7200");
    assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    let headers: Vec<_> = answer.header("access-control-allow-headers").split(',').collect();
    for name in [
        "content-type",
        "x-grpc-web",
        "x-user-agent",
        "grpc-timeout",
        "x-trace-id",
        "traceparent",
        "authorization",
    ] {
        assert!(headers.contains(&name), "{name}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_preflight_from_a_foreign_origin_is_refused_without_cors() {
    let (stub, count) = counting();
    let address = serve_web(Settings::default(), &stub).await;
    for foreign in [FOREIGN, "null", "http://shop.example", "https://shop.example:8443", "*"] {
        let answer = preflight(address, foreign).await;
        assert_eq!((answer.status, answer.cors()), (403, Vec::new()), "{foreign}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_call_from_a_foreign_origin_does_not_run() {
    let (stub, count) = counting();
    let address = serve_web(Settings::default(), &stub).await;
    let both = [ORIGIN, FOREIGN].map(origin).concat();
    for foreign in [origin(FOREIGN), origin("null"), both] {
        // The last is what a form or a page without CORS may send.
        for content_type in ["application/grpc-web+proto", "application/grpc", "text/plain"] {
            let mut http = Http1::connect(address).await;
            let headers = format!("content-type: {content_type}\r\nx-trace-id: mine\r\n{foreign}");
            let answer = http.call(&headers, &EMPTY).await;
            assert_eq!((answer.status, answer.cors()), (403, Vec::new()), "{headers}");
            let status = answer.grpc_status();
            assert_eq!(status.code(), Code::PermissionDenied);
            assert_eq!(refusal(&status).reason, Reason::OriginNotAllowed);
            assert_eq!(answer.header("x-trace-id"), "mine");
        }
    }
    for content_type in ["application/grpc-web", "application/grpc"] {
        let headers = [("content-type", content_type), ("origin", FOREIGN)];
        assert_eq!(send(to(address), &headers).await.status(), 403, "{content_type}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
    assert_eq!(names(list(&to(address)).await), ["here"], "who is no page names no origin");
}

#[tokio::test]
async fn an_answer_has_its_messages_then_its_trailers_in_the_body() {
    let stub = Stub::new(|| async { Ok(replayed(named(["here"]))) });
    let mut http = connect(Settings::default(), &stub).await;
    for content_type in ["application/grpc-web", "Application/gRPC-Web+proto; charset=utf-8"] {
        let headers = format!("content-type: {content_type}\r\n{}", origin(ORIGIN));
        let answer = http.call(&headers, &EMPTY).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "application/grpc-web+proto");
        assert_eq!(answer.header("access-control-allow-origin"), ORIGIN);
        assert_eq!(answer.header("vary"), "origin");
        assert!(answer.headers.contains_key("x-trace-id"));
        let exposed: Vec<_> = answer.header("access-control-expose-headers").split(',').collect();
        for name in ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-trace-id"] {
            assert!(exposed.contains(&name), "{name}");
        }
        let [message] = &answer.messages()[..] else { panic!("{answer:?}") };
        assert_eq!(only_name(message), "here");
        let trailers = answer.trailers();
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(trailers[IDEMPOTENCY_REPLAYED], "true");
    }
}

#[tokio::test]
async fn the_variant_for_text_is_base64_both_ways() {
    let mut http = connect(Settings::default(), &answering()).await;
    let text = BASE64_STANDARD.encode(EMPTY);
    let headers = "content-type: application/grpc-web-text\r\naccept: */*\r\n";
    let mut answer = http.call(headers, text.as_bytes()).await;
    assert_eq!(answer.header("content-type"), "application/grpc-web-text+proto");
    // Each frame is encoded by itself.
    let body = String::from_utf8(answer.body).unwrap();
    let (message, trailers) = body.split_at(body.find("gAAAA").unwrap());
    answer.body = [message, trailers].map(|it| BASE64_STANDARD.decode(it).unwrap()).concat();
    assert_eq!(only_name(&answer.messages()[0]), "here");
    assert_eq!(answer.grpc_status().code(), Code::Ok);

    let answer = http.call(headers, b"no base64 at all").await;
    assert_eq!(refusal(&answer.grpc_status()).reason, Reason::MalformedRequest);
}

#[tokio::test]
async fn grpc_web_is_spoken_over_http_2_too() {
    let address = serve_web(Settings::default(), &answering()).await;
    let headers = [("content-type", "application/grpc-web+proto"), ("origin", ORIGIN)];
    let response = send(to(address), &headers).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/grpc-web+proto");
    assert_eq!(response.headers()["access-control-allow-origin"], ORIGIN);
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let [(0, message), (0x80, trailers)] = &frames(&body)[..] else { panic!("{body:?}") };
    assert_eq!(only_name(message), "here");
    assert!(trailers.starts_with(b"grpc-status:0\r\n"));
}

#[tokio::test]
async fn an_error_can_be_read_by_the_page_whoever_made_it() {
    let sold_out = || Refusal::new(Reason::CouponSoldOut).with("coupon_id", 7).with("quota", 10);
    let stub = Stub::new(move || async move { Err(sold_out().into()) });
    let mut http = connect(Settings::default(), &stub).await;
    let by_service = http.call(&allowed(), &EMPTY).await;
    let much = format!("{}x-much: {}\r\n", allowed(), "x".repeat(66_000));
    let by_layer = http.call(&much, &EMPTY).await;
    for (answer, expected) in [
        (by_service, sold_out()),
        (by_layer, Refusal::new(Reason::HeadersTooLarge).with("maximum", 65_536)),
    ] {
        assert_eq!((answer.status, answer.header("content-length")), (200, "0"));
        assert_eq!(answer.header("content-type"), "application/grpc-web+proto");
        assert_eq!(refusal(&answer.grpc_status()), expected);
        assert_eq!(answer.header("access-control-allow-origin"), ORIGIN);
    }
    let overloaded = Settings { limits: limits(0), ..Settings::default() };
    let answer = connect(overloaded, &stub).await.call(&allowed(), &EMPTY).await;
    assert_eq!((answer.status, answer.cors().len()), (200, 2));
    assert_eq!(refusal(&answer.grpc_status()).reason, Reason::Overloaded);
}

/// A stream that goes on, read by a page up to its first message, and the health that it tells.
async fn watching(settings: Settings) -> (Http1, Health) {
    let server = bind_web(settings, answering().services()).await;
    let health = server.health();
    let mut http = Http1::connect(server.address("public").unwrap()).await;
    tokio::spawn(server.serve(std::future::pending()));
    let asked = HealthCheckRequest { service: String::new() }.encode_to_vec();
    let body = [&[0, 0, 0, 0, u8::try_from(asked.len()).unwrap()], &asked[..]].concat();
    let head = format!("POST {WATCH} HTTP/1.1\r\nhost: shop\r\n{}", allowed());
    http.send(format!("{head}content-length: {}\r\n\r\n", body.len())).await;
    http.send(body).await;
    assert!(http.head().await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(told(&mut http).await, ServingStatus::NotServing);
    (http, health)
}

/// The next message of that stream.
async fn told(http: &mut Http1) -> ServingStatus {
    let chunk = http.chunk().await.unwrap().unwrap();
    let [(0, message)] = &frames(&chunk)[..] else { panic!("{chunk:?}") };
    HealthCheckResponse::decode(&message[..]).unwrap().status()
}

#[tokio::test]
async fn a_stream_comes_message_by_message() {
    let (mut http, health) = watching(Settings::default()).await;
    for (ready, status) in [(true, ServingStatus::Serving), (false, ServingStatus::NotServing)] {
        health.set_ready(SERVICE, ready).await;
        assert_eq!(told(&mut http).await, status);
    }
}

#[tokio::test]
async fn a_stream_ends_after_its_longest_time_with_a_reason_in_its_trailers() {
    let max_answer = Duration::from_millis(100);
    let limits = Limits { max_answer, ..Limits::default() };
    let (mut http, _) = watching(Settings { limits, ..Settings::default() }).await;
    let chunk = http.chunk().await.unwrap().unwrap();
    let answer = Answer { status: 200, headers: HeaderMap::new(), body: chunk };
    assert_eq!(refusal(&answer.grpc_status()).reason, Reason::Unavailable);
    assert_eq!(http.chunk().await, Some(None));
}

#[tokio::test]
async fn a_stream_ends_with_its_page() {
    let limits = Limits { max_streams: 1, ..Limits::default() };
    let settings = Settings { limits, ..Settings::default() };
    let server = bind_web(settings, answering().services()).await;
    let address = server.address("public").unwrap();
    tokio::spawn(server.serve(std::future::pending()));
    let watch = async || {
        let check = HealthCheckRequest { service: String::new() };
        soon(HealthClient::new(page(address, ORIGIN)).watch(check)).await
    };
    let first = watch().await.unwrap();
    assert_eq!(refusal(&watch().await.unwrap_err()).reason, Reason::Overloaded);
    drop(first);
    soon(async { while watch().await.is_err() {} }).await;
}

#[tokio::test]
async fn a_large_answer_comes_whole() {
    let name = "x".repeat(MAX_ANSWER_BYTES - 64);
    let large = name.clone();
    let stub = Stub::new(move || {
        let answer = named([&large]);
        async move { Ok(answer) }
    });
    let transport = page(serve_web(Settings::default(), &stub).await, ORIGIN);
    assert!(names(list(&transport).await) == [name]);
}

#[tokio::test]
async fn health_is_asked_by_pages_as_by_others() {
    let address = serve_web(Settings::default(), &answering()).await;
    let check = HealthCheckRequest { service: LIVENESS.to_owned() };
    let answer = HealthClient::new(page(address, ORIGIN)).check(check).await.unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
}

#[tokio::test]
async fn http_1_takes_nothing_but_grpc_web() {
    let (stub, count) = counting();
    let address = serve_web(Settings::default(), &stub).await;
    for content_type in ["application/grpc", "application/json", "application/grpc-web+json", "x"] {
        let headers = format!("content-type: {content_type}\r\n{}", origin(ORIGIN));
        let answer = Http1::connect(address).await.call(&headers, &EMPTY).await;
        assert_eq!(answer.status, 415, "{content_type}");
        let refused = refusal(&answer.grpc_status());
        assert_eq!(refused.reason, Reason::ContentTypeNotSupported);
        assert_eq!(refused.metadata["content_type"], content_type);
        assert_eq!(answer.header("access-control-allow-origin"), ORIGIN, "a page can read it");
    }
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        for content_type in ["", WEB] {
            let mut http = Http1::connect(address).await;
            http.send(format!("{method} {METHOD} HTTP/1.1\r\nhost: shop\r\n{content_type}\r\n"))
                .await;
            let answer = http.answer().await.unwrap();
            assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "{method}");
        }
    }
    // What is no HTTP at all, and its end.
    let mut http = Http1::connect(address).await;
    http.send("nonsense\r\n\r\n").await;
    assert!(http.end().await.starts_with(b"HTTP/1.1 400"));
    // Over HTTP/2 all is as it is without pages.
    let json = [("content-type", "application/json")];
    assert_eq!(send(to(address), &json).await.status(), 415);
    assert_eq!(count.load(Ordering::SeqCst), 0);
}
