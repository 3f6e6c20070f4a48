//! What one connection may do to the others, to itself and to the server.

use std::{net::SocketAddr, time::Duration};

use api::Reason;
use platform::{server::Settings, transport::remote};
use tokio::{io::AsyncReadExt, net::TcpStream, task::JoinSet};
use tonic::{Code, metadata::MetadataValue};

use crate::{
    raw::{END_STREAM, GOAWAY, Raw, call, cancelled},
    stub::{Gate, METHOD, Stub, answering, bind, client, list, names, refusal, request, to},
};

/// More than the 20 that h2 allows by itself.
const CANCELLED: u32 = 200;

/// A server of this stub, and where it is.
async fn serve(settings: Settings, stub: Stub) -> SocketAddr {
    let server = bind(settings, stub.services()).await;
    let address = server.address("public").unwrap();
    tokio::spawn(server.serve(std::future::pending()));
    address
}

/// Streams of a client are odd; the first is taken.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (1..=count).map(|number| 2 * number + 1)
}

#[tokio::test]
async fn calls_that_are_cancelled_in_one_burst_end_no_other_call_of_their_connection() {
    let gate = Gate::new();
    let mut raw = Raw::connect(serve(Settings::default(), gate.stub()).await).await;
    raw.send(&call(1, METHOD)).await;
    gate.begun().await;
    let burst: Vec<u8> = streams(CANCELLED).flat_map(|it| cancelled(it, METHOD)).collect();
    raw.send(&burst).await;
    raw.ping().await.expect("the connection goes on");
    gate.open();
    let end = raw.find(|it| it.kind == GOAWAY || it.stream == 1 && it.flags & END_STREAM != 0);
    assert_eq!(end.await.map(|frame| frame.stream), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cancels_200_calls_at_once_goes_on_with_another() {
    let gate = Gate::new();
    let address = serve(Settings::default(), gate.stub()).await;
    let transport = remote(&[format!("http://{address}")], 1).unwrap();
    let kept = tokio::spawn({
        let transport = transport.clone();
        async move { list(&transport).await }
    });
    gate.begun().await;
    for _ in 0..5 {
        let mut calls = JoinSet::new();
        for _ in 0..CANCELLED {
            let transport = transport.clone();
            calls.spawn(async move { list(&transport).await });
        }
        tokio::task::yield_now().await;
        calls.shutdown().await;
    }
    for _ in 0..=5 * CANCELLED {
        gate.open();
    }
    assert_eq!(names(kept.await.unwrap()), ["let go"]);
}

#[tokio::test]
async fn a_flood_of_cancelled_calls_ends_its_own_connection_only() {
    let address = serve(Settings::default(), answering()).await;
    let other = to(address);
    assert_eq!(names(list(&other).await), ["here"]);
    let mut raw = Raw::connect(address).await;
    raw.ping().await.expect("the connection is up");
    let flood: Vec<u8> = streams(20_000).flat_map(|it| cancelled(it, METHOD)).collect();
    raw.try_send(&flood).await;
    if let Some(last) = raw.find(|frame| frame.kind == GOAWAY).await {
        const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 11];
        assert_eq!(last.payload[4..8], ENHANCE_YOUR_CALM);
    }
    assert_eq!(names(list(&other).await), ["here"]);
}

#[tokio::test]
async fn calls_beyond_those_of_a_connection_are_refused_one_by_one_and_it_goes_on() {
    let gate = Gate::new();
    let settings = Settings { max_streams: 1, ..Settings::default() };
    let mut raw = Raw::connect(serve(settings, gate.stub()).await).await;
    raw.send(&call(1, METHOD)).await;
    gate.begun().await;
    let many: Vec<u8> = streams(2_000).flat_map(|it| call(it, METHOD)).collect();
    raw.send(&many).await;
    raw.ping().await.expect("the connection goes on");
    gate.open();
    let end = raw.find(|it| it.kind == GOAWAY || it.stream == 1 && it.flags & END_STREAM != 0);
    assert_eq!(end.await.map(|frame| frame.stream), Some(1));
}

#[tokio::test]
async fn headers_up_to_64_kib_are_read_and_more_are_refused_with_a_reason() {
    let transport = to(serve(Settings::default(), answering()).await);
    let with_token = async |bytes: usize| {
        let mut request = request(Duration::from_mins(1));
        let token = MetadataValue::try_from("x".repeat(bytes)).unwrap();
        request.metadata_mut().insert("authorization", token);
        client(&transport).list_top_products(request).await
    };
    assert_eq!(names(with_token(60_000).await), ["here"]);
    let refused = with_token(66_000).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let refused = refusal(&refused);
    assert_eq!(
        (refused.reason, refused.metadata["maximum"].as_str()),
        (Reason::HeadersTooLarge, "65536")
    );
    // HTTP/2 itself answers this one.
    assert!(with_token(200_000).await.is_err());
    assert_eq!(names(list(&transport).await), ["here"]);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let settings = Settings { greeting: Duration::from_millis(100), ..Settings::default() };
    let address = serve(settings, answering()).await;
    let mut greeted = Raw::connect(address).await;
    greeted.ping().await.expect("the connection is up");
    let mut silent = TcpStream::connect(address).await.unwrap();
    // The server says its settings at once; then it hangs up.
    let mut said = Vec::new();
    let _ = silent.read_to_end(&mut said).await;
    greeted.ping().await.expect("a client that greeted may be silent");
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_holds_no_place() {
    let settings = Settings { max_connections: 1, ..Settings::default() };
    let address = serve(settings, answering()).await;
    let mut first = Raw::connect(address).await;
    first.ping().await.expect("the first connection is up");
    let mut second = TcpStream::connect(address).await.unwrap();
    let mut nothing = [0; 1];
    assert!(!matches!(second.read(&mut nothing).await, Ok(1..)));
    drop(first);
    let transport = remote(&[format!("http://{address}")], 1).unwrap();
    loop {
        match list(&transport).await {
            Err(status) if status.code() == Code::Unavailable => tokio::task::yield_now().await,
            answer => break assert_eq!(names(answer), ["here"]),
        }
    }
}
