//! How long a call takes and what it outlives: deadlines, vanished callers, panics, overload.

use std::time::Duration;

use api::Reason;
use http::Request;
use http_body_util::StreamBody;
use platform::{Chassis, Limits};
use tokio_util::task::TaskTracker;
use tonic::{Code, Status, body::Body};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;
use tower::{Layer, ServiceExt};

use crate::stub::{
    Gate, METHOD, Stub, bind, client, limits, list, named, names, refusal, request, to,
};

const MANY: usize = 100;
const SOON: Duration = Duration::from_millis(50);

#[tokio::test]
async fn at_the_deadline_the_caller_is_answered_and_the_handler_goes_on() {
    let gate = Gate::new();
    for (way, transport) in gate.stub().ways(MANY).await {
        let status = client(&transport).list_top_products(request(SOON)).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{way}");
        assert_eq!(refusal(&status).reason, Reason::DeadlineExceeded);
        gate.begun().await;
        gate.open();
        gate.ended().await;
    }
}

#[tokio::test]
async fn the_server_keeps_the_deadline_of_a_caller_that_does_not() {
    let gate = Gate::new();
    let chassis = Chassis::new(Limits::default(), TaskTracker::new());
    let service = chassis.layer(tonic::service::Routes::from(gate.stub().services()));
    // One gRPC message of no bytes.
    let empty = Body::new(http_body_util::Full::from(&[0_u8; 5][..]));
    let call = Request::post(METHOD)
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "50m")
        .body(empty)
        .unwrap();
    let response = service.oneshot(call).await.unwrap();
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(refusal(&status).reason, Reason::DeadlineExceeded);
    gate.begun().await;
}

#[tokio::test]
async fn a_handler_that_calls_on_gives_no_more_time_than_it_has() {
    let gate = Gate::new();
    let behind = gate.stub().local(MANY);
    let front = Stub::new(move || {
        let behind = behind.clone();
        async move { list(&behind).await }
    });
    for (way, transport) in front.ways(MANY).await {
        let status = client(&transport).list_top_products(request(SOON)).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{way}");
        gate.begun().await;
    }
}

#[tokio::test]
async fn a_handler_survives_its_caller() {
    let gate = Gate::new();
    for (_, transport) in gate.stub().ways(MANY).await {
        let caller = tokio::spawn(async move { list(&transport).await });
        gate.begun().await;
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        gate.open();
        gate.ended().await;
    }
}

#[tokio::test]
async fn a_panic_ends_one_call_with_internal() {
    let stub = Stub::new(|| async { panic!("secret of the handler") });
    for (way, transport) in stub.ways(1).await {
        for _ in 0..2 {
            let status = list(&transport).await.unwrap_err();
            assert_eq!(status.code(), Code::Internal, "{way}");
            assert_eq!(refusal(&status).reason, Reason::Internal);
            assert!(!status.message().contains("secret"));
        }
    }
}

#[tokio::test]
async fn one_call_too_many_is_turned_away_until_a_handler_ends() {
    let gate = Gate::new();
    for (way, transport) in gate.stub().ways(1).await {
        let abandoned = tokio::spawn({
            let transport = transport.clone();
            async move { list(&transport).await }
        });
        gate.begun().await;
        let turned_away = || async {
            let status = list(&transport).await.unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted, "{way}");
            assert_eq!(refusal(&status).reason, Reason::Overloaded);
            assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
        };
        turned_away().await;
        // Its place is the handler's, not the caller's.
        abandoned.abort();
        assert!(abandoned.await.unwrap_err().is_cancelled());
        turned_away().await;

        gate.open();
        gate.ended().await;
        gate.open();
        let answer = loop {
            match list(&transport).await {
                Err(status) if status.code() == Code::ResourceExhausted => {
                    tokio::task::yield_now().await;
                }
                answer => break answer,
            }
        };
        assert_eq!(names(answer), ["let go"], "{way}");
        gate.begun().await;
        gate.ended().await;
    }
}

#[tokio::test]
async fn health_is_answered_when_everything_else_is_turned_away() {
    let settings =
        platform::server::Settings { limits: limits(0), ..platform::server::Settings::default() };
    let server = bind(settings, Stub::new(|| async { Ok(named([])) }).services()).await;
    let transport = to(server.address("public").unwrap());
    tokio::spawn(server.serve(std::future::pending()));
    assert_eq!(list(&transport).await.unwrap_err().code(), Code::ResourceExhausted);
    let check = HealthCheckRequest { service: platform::health::LIVENESS.to_owned() };
    assert!(HealthClient::new(transport).check(check).await.is_ok());
}

#[tokio::test]
async fn a_request_that_never_ends_holds_no_place_after_its_deadline() {
    let tasks = TaskTracker::new();
    let chassis = Chassis::new(limits(1), tasks.clone());
    let stub = Stub::new(|| async { Ok(named([])) });
    let service = chassis.layer(tonic::service::Routes::from(stub.services()));
    let frames = tokio_stream::pending::<Result<http_body::Frame<bytes::Bytes>, Status>>();
    let endless = Body::new(StreamBody::new(frames));
    let call = Request::post(METHOD)
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "50m")
        .body(endless)
        .unwrap();
    let response = service.oneshot(call).await.unwrap();
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(refusal(&status).reason, Reason::DeadlineExceeded);
    tasks.close();
    tasks.wait().await;
}
