//! What one HTTP/1 connection may do to the others, to itself and to the server.

use std::{sync::atomic::Ordering, time::Duration};

use api::{Reason, Refusal};
use platform::{MAX_MESSAGE_BYTES, server::Settings};
use tokio_util::sync::CancellationToken;

use crate::{
    http1::{EMPTY, Http1, allowed, chunk, connect, only_name, post},
    stub::{
        Gate, METHOD, ORIGIN, answering, bind_web, counting, limits, list, page, refusal,
        serve_web, soon,
    },
};

#[tokio::test]
async fn a_body_that_is_no_message_is_the_callers_fault() {
    let address = serve_web(Settings::default(), &answering()).await;
    let promised = [&[0, 0, 0, 0, 100][..], b"half"].concat();
    let trailers = [&[0x80, 0, 0, 0, 13][..], b"grpc-status:0"].concat();
    for body in [&promised, &trailers, &EMPTY[..3], b"", &[7; 5]] {
        let answer = Http1::connect(address).await.call(&allowed(), body).await;
        assert_eq!(answer.status, 200);
        assert_eq!(refusal(&answer.grpc_status()).reason, Reason::MalformedRequest, "{body:?}");
    }
    // A chunk whose length cannot be read.
    let mut http = Http1::connect(address).await;
    let head = format!("POST {METHOD} HTTP/1.1\r\nhost: shop\r\n{}", allowed());
    http.send(format!("{head}transfer-encoding: chunked\r\n\r\nfffffffffffffffffff\r\n")).await;
    let answer = http.answer().await.unwrap();
    assert_eq!(refusal(&answer.grpc_status()).reason, Reason::MalformedRequest);
    assert!(http.end().await.is_empty());
}

#[tokio::test]
async fn a_message_that_is_too_large_is_told_the_limit_and_not_read_to_its_end() {
    let (stub, count) = counting();
    let address = serve_web(Settings::default(), &stub).await;
    let too_large = u32::try_from(MAX_MESSAGE_BYTES + 1).unwrap().to_be_bytes();
    let body = [&[0], &too_large[..], &vec![0; MAX_MESSAGE_BYTES + 1]].concat();
    let answer = Http1::connect(address).await.call(&allowed(), &body).await;
    let expected = Refusal::new(Reason::MessageTooLarge).with("maximum", MAX_MESSAGE_BYTES);
    assert_eq!(refusal(&answer.grpc_status()), expected);
    assert_eq!(answer.header("connection"), "close");

    // Sent on and on, in chunks, until the server hangs up.
    let mut http = Http1::connect(address).await;
    let head = format!("POST {METHOD} HTTP/1.1\r\nhost: shop\r\n{}", allowed());
    http.send(format!("{head}transfer-encoding: chunked\r\n\r\n")).await;
    http.send(chunk(&[&[0][..], &too_large].concat())).await;
    let answer = http.answer().await.unwrap();
    assert_eq!(refusal(&answer.grpc_status()), expected);
    let more = chunk(&vec![0; MAX_MESSAGE_BYTES]);
    soon(async { while http.try_send(&more).await {} }).await;
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_body_that_never_ends_is_answered_at_its_deadline_and_cut_off() {
    let (stub, count) = counting();
    let address = serve_web(Settings { limits: limits(1), ..Settings::default() }, &stub).await;
    let head = format!("POST {METHOD} HTTP/1.1\r\nhost: shop\r\n{}", allowed());
    for body in [&b""[..], &chunk(&EMPTY), &chunk(&EMPTY[..2])] {
        let mut http = Http1::connect(address).await;
        http.send(format!("{head}grpc-timeout: 50m\r\ntransfer-encoding: chunked\r\n\r\n")).await;
        http.send(body).await;
        let answer = http.answer().await.unwrap();
        assert_eq!(refusal(&answer.grpc_status()).reason, Reason::DeadlineExceeded);
        assert!(http.end().await.is_empty());
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
    // Its one place is free again.
    soon(async { while list(&page(address, ORIGIN)).await.is_err() {} }).await;
}

#[tokio::test]
async fn headers_beyond_what_a_connection_reads_are_http_431() {
    let address = serve_web(Settings::default(), &answering()).await;
    let much = format!("{}x-much: {}\r\n", allowed(), "x".repeat(200_000));
    let many = "x-many: y\r\n".repeat(200);
    for headers in [much, many] {
        let mut http = Http1::connect(address).await;
        http.send(post(&headers, &EMPTY)).await;
        assert_eq!(http.answer().await.expect("an answer").status, 431);
        assert!(http.end().await.is_empty());
    }
}

#[tokio::test]
async fn a_connection_that_is_slow_or_silent_is_closed() {
    let greeting = Duration::from_millis(100);
    let address = serve_web(Settings { greeting, ..Settings::default() }, &answering()).await;
    let whole = post(&allowed(), &EMPTY);
    let preface = b"PRI * HTTP/2.0\r\n";
    for said in [&b""[..], b"P", preface, &whole[..10], &whole[..whole.len() - 8]] {
        let mut http = Http1::connect(address).await;
        http.send(said).await;
        assert!(http.end().await.is_empty(), "{said:?}");
    }
    // The same between two requests, the first of which may be too slow as well.
    for said in [&b""[..], &whole[..10]] {
        let mut http = soon(async {
            loop {
                let mut http = Http1::connect(address).await;
                http.send(&whole).await;
                if http.answer().await.is_some() {
                    break http;
                }
            }
        })
        .await;
        http.send(said).await;
        assert!(http.end().await.is_empty(), "{said:?}");
    }
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_one_after_the_other() {
    let gate = Gate::new();
    let mut http =
        connect(Settings { limits: limits(1), ..Settings::default() }, &gate.stub()).await;
    http.send([post(&allowed(), &EMPTY), post(&allowed(), &EMPTY)].concat()).await;
    for _ in 0..2 {
        soon(gate.begun()).await;
        gate.open();
        let answer = http.answer().await.unwrap();
        assert_eq!(only_name(&answer.messages()[0]), "let go");
    }
}

#[tokio::test]
async fn a_connection_is_asked_to_end_at_its_age_and_its_call_is_answered() {
    let gate = Gate::new();
    let max_connection_age = Duration::from_secs(1);
    let settings = Settings { max_connection_age, ..Settings::default() };
    let address = serve_web(settings, &gate.stub()).await;
    let mut idle = Http1::connect(address).await;
    let mut busy = Http1::connect(address).await;
    busy.send(post(&allowed(), &EMPTY)).await;
    soon(gate.begun()).await;
    assert!(idle.end().await.is_empty());
    // By the time that a younger one ends, the busy one has been asked to.
    assert!(Http1::connect(address).await.end().await.is_empty());
    gate.open();
    let answer = busy.answer().await.unwrap();
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(only_name(&answer.messages()[0]), "let go");
    assert!(busy.end().await.is_empty());
}

#[tokio::test]
async fn a_stop_closes_idle_connections_and_lets_calls_in_flight_end() {
    let gate = Gate::new();
    let server = bind_web(Settings::default(), gate.stub().services()).await;
    let address = server.address("public").unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(stop.clone().cancelled_owned()));
    let mut silent = Http1::connect(address).await;
    let mut idle = Http1::connect(address).await;
    idle.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await;
    assert_eq!(idle.answer().await.unwrap().status, 405);
    let mut busy = Http1::connect(address).await;
    busy.send(post(&allowed(), &EMPTY)).await;
    soon(gate.begun()).await;

    stop.cancel();
    for http in [&mut silent, &mut idle] {
        assert!(http.end().await.is_empty());
    }
    gate.open();
    let answer = busy.answer().await.unwrap();
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(only_name(&answer.messages()[0]), "let go");
    drop(busy);
    soon(serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_its_place_comes_back() {
    let settings = Settings { max_connections: 1, ..Settings::default() };
    let address = serve_web(settings, &answering()).await;
    let mut first = Http1::connect(address).await;
    assert_eq!(first.call(&allowed(), &EMPTY).await.status, 200);
    assert!(Http1::connect(address).await.end().await.is_empty());
    drop(first);
    soon(async {
        loop {
            let mut http = Http1::connect(address).await;
            http.send(post(&allowed(), &EMPTY)).await;
            if http.answer().await.is_some() {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_handler_survives_a_page_that_is_closed() {
    let gate = Gate::new();
    let mut http = connect(Settings::default(), &gate.stub()).await;
    http.send(post(&allowed(), &EMPTY)).await;
    soon(gate.begun()).await;
    drop(http);
    gate.open();
    soon(gate.ended()).await;
}
