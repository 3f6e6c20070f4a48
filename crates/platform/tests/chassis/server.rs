//! Listeners: what they offer, and how they end.

use std::time::Duration;

use api::Reason;
use platform::{health::LIVENESS, server::Settings};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::stub::{Gate, bind, list, names, refusal, to};

const SERVICE: &str = "commerce.ranking.v1.RankingService";

fn asked(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[tokio::test]
async fn readiness_is_told_apart_from_liveness() {
    let server = bind(Settings::default(), Gate::new().stub().services()).await;
    let mut probe = HealthClient::new(to(server.address("public").unwrap()));
    let health = server.health();
    tokio::spawn(server.serve(std::future::pending()));

    let mut statuses = async || {
        let mut statuses = Vec::new();
        for service in ["", SERVICE, LIVENESS] {
            let answer = probe.check(asked(service)).await.unwrap();
            statuses.push(answer.into_inner().status() == ServingStatus::Serving);
        }
        statuses
    };
    assert_eq!(statuses().await, [false, false, true]);
    health.set_all_ready().await;
    assert_eq!(statuses().await, [true, true, true]);
    health.set_ready(SERVICE, false).await;
    assert_eq!(statuses().await, [false, false, true]);
    let unknown = probe.check(asked("no.such.Service")).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn reflection_lists_what_the_listener_offers_and_describes_it() {
    let server = bind(Settings::default(), Gate::new().stub().services()).await;
    let mut client = ServerReflectionClient::new(to(server.address("public").unwrap()));
    tokio::spawn(server.serve(std::future::pending()));
    let ask = |message_request| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let asks = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(SERVICE.to_owned())),
    ];
    let answers = client.server_reflection_info(tokio_stream::iter(asks)).await.unwrap();
    let mut answers = answers.into_inner();
    let mut next = async || answers.next().await.unwrap().unwrap().message_response.unwrap();

    let MessageResponse::ListServicesResponse(services) = next().await else { panic!("no list") };
    let mut listed: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
    listed.sort();
    let common = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"];
    assert_eq!(listed, [&[SERVICE][..], &common].concat());
    assert!(matches!(next().await, MessageResponse::FileDescriptorResponse(_)));
}

#[tokio::test]
async fn a_stop_ends_readiness_and_lets_calls_in_flight_end() {
    let gate = Gate::new();
    let server = bind(Settings::default(), gate.stub().services()).await;
    let address = server.address("public").unwrap();
    let health = server.health();
    health.set_all_ready().await;
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(stop.clone().cancelled_owned()));

    let watched = HealthClient::new(to(address)).watch(asked("")).await.unwrap();
    let mut watched = watched.into_inner();
    let mut status = async || watched.next().await.unwrap().unwrap().status();
    assert_eq!(status().await, ServingStatus::Serving);
    let call = tokio::spawn(async move { list(&to(address)).await });
    gate.begun().await;

    stop.cancel();
    assert_eq!(status().await, ServingStatus::NotServing);
    drop(watched);
    health.set_all_ready().await;
    gate.open();
    assert_eq!(names(call.await.unwrap()), ["let go"]);
    serving.await.unwrap().unwrap();
    let late = list(&to(address)).await.unwrap_err();
    assert_eq!(refusal(&late).reason, Reason::Unavailable);
}

#[tokio::test]
async fn a_handler_that_does_not_end_cannot_hold_up_the_stop() {
    let gate = Gate::new();
    let drain = Duration::from_millis(50);
    let server = bind(Settings { drain, ..Settings::default() }, gate.stub().services()).await;
    let address = server.address("public").unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(stop.clone().cancelled_owned()));
    let call = tokio::spawn(async move { list(&to(address)).await });
    gate.begun().await;
    stop.cancel();
    serving.await.unwrap().unwrap();
    assert!(!call.is_finished());
    gate.open();
    gate.ended().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_names_it() {
    let server = bind(Settings::default(), Gate::new().stub().services()).await;
    let address = server.address("public").unwrap();
    let services = Gate::new().stub().services();
    let descriptors = api::FILE_DESCRIPTOR_SET.to_vec();
    let listener = platform::Listener { name: "admin", address, services, descriptors, web: None };
    let second = platform::Server::bind(Settings::default(), [listener]).await;
    let error = second.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("admin"), "{error}");
}
