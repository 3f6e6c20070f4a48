//! Answers that go on: how many there may be, and that each has an end.

use std::time::Duration;

use api::Reason;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use platform::{Limits, Transport, server::Settings, transport};
use tokio_stream::StreamExt;
use tonic::{Code, Status, body::Body};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use crate::stub::{Gate, bind, client, refusal, request, to};

async fn serve(limits: Limits) -> Transport {
    let settings = Settings { limits, ..Settings::default() };
    let server = bind(settings, Gate::new().stub().services()).await;
    let address = server.address("public").unwrap();
    tokio::spawn(server.serve(std::future::pending()));
    to(address)
}

async fn watch(transport: &Transport) -> Result<tonic::Streaming<HealthCheckResponse>, Status> {
    let check = HealthCheckRequest { service: String::new() };
    Ok(HealthClient::new(transport.clone()).watch(check).await?.into_inner())
}

/// How a stream ends, whatever comes before.
async fn end<T>(mut stream: tonic::Streaming<T>) -> Status {
    loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(status)) => return status,
            None => panic!("the stream ended without an error"),
        }
    }
}

#[tokio::test]
async fn a_stream_of_any_listener_ends_after_its_longest_time() {
    let max_answer = Duration::from_millis(100);
    let transport = serve(Limits { max_answer, ..Limits::default() }).await;
    let status = end(watch(&transport).await.unwrap()).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(refusal(&status).reason, Reason::Unavailable);
    let asks = tokio_stream::pending();
    let answers = ServerReflectionClient::new(transport).server_reflection_info(asks).await;
    let status = end(answers.unwrap().into_inner()).await;
    assert_eq!(refusal(&status).reason, Reason::Unavailable);
}

#[tokio::test]
async fn one_stream_too_many_is_turned_away_until_another_has_ended() {
    let transport = serve(Limits { max_streams: 1, ..Limits::default() }).await;
    let first = watch(&transport).await.unwrap();
    let status = watch(&transport).await.unwrap_err();
    assert_eq!(refusal(&status).reason, Reason::Overloaded);
    let asks = tokio_stream::pending();
    let mut reflection = ServerReflectionClient::new(transport.clone());
    let status = reflection.server_reflection_info(asks).await.unwrap_err();
    assert_eq!(refusal(&status).reason, Reason::Overloaded);
    drop(first);
    while let Err(status) = watch(&transport).await {
        assert_eq!(refusal(&status).reason, Reason::Overloaded);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_answer_that_stops_in_the_middle_ends_at_the_deadline() {
    let stops = tower::service_fn(|_: Request<Body>| async {
        let frames = tokio_stream::pending::<Result<Frame<Bytes>, Status>>();
        let response = Response::builder().header("content-type", "application/grpc");
        Ok::<_, std::convert::Infallible>(
            response.body(Body::new(StreamBody::new(frames))).unwrap(),
        )
    });
    let transport = transport::over(stops);
    let call = client(&transport).list_top_products(request(Duration::from_millis(50))).await;
    assert_eq!(refusal(&call.unwrap_err()).reason, Reason::DeadlineExceeded);
}
