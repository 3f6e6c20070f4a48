//! Trace ids: taken or made, told to the caller, passed on.

use api::outcome::{TRACEPARENT, X_TRACE_ID};
use api::ranking::v1::ListTopProductsRequest;
use platform::{context::current, trace::TraceParent};
use tonic::{Request, metadata::MetadataMap};

use crate::stub::{Stub, client, list, named, names};

const MANY: usize = 100;
const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A service that answers with its own context.
fn mirror() -> Stub {
    Stub::new(|| async {
        let context = current();
        Ok(named([&context.trace_id, &context.traceparent()]))
    })
}

fn traced(trace_id: &'static str, traceparent: &'static str) -> Request<ListTopProductsRequest> {
    let mut request = Request::new(ListTopProductsRequest::default());
    for (name, value) in [(X_TRACE_ID, trace_id), (TRACEPARENT, traceparent)] {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    request
}

fn told<'a>(metadata: &'a MetadataMap, name: &str) -> &'a str {
    metadata.get(name).unwrap().to_str().unwrap()
}

#[tokio::test]
async fn a_valid_trace_id_is_kept_and_told_to_the_handler_and_the_caller() {
    for (way, transport) in mirror().ways(MANY).await {
        let answer = client(&transport).list_top_products(traced("my-trace_1", GIVEN)).await;
        let metadata = answer.as_ref().unwrap().metadata().clone();
        let seen = names(answer);
        assert_eq!(seen[0], "my-trace_1", "{way}");
        assert_eq!(told(&metadata, X_TRACE_ID), seen[0], "{way}");
        assert_eq!(told(&metadata, TRACEPARENT), seen[1], "{way}");
        assert_eq!(seen[1][..35], GIVEN[..35], "the caller's trace, {way}");
        assert_ne!(seen[1], GIVEN, "a span of its own, {way}");
    }
}

#[tokio::test]
async fn an_invalid_trace_id_is_replaced_by_that_of_the_trace() {
    for (way, transport) in mirror().ways(MANY).await {
        let answer = client(&transport).list_top_products(traced("not valid!", GIVEN)).await;
        let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(told(answer.as_ref().unwrap().metadata(), X_TRACE_ID), trace_id, "{way}");
        assert_eq!(names(answer)[0], trace_id, "{way}");
    }
}

#[tokio::test]
async fn an_error_tells_its_trace_too() {
    let stub = Stub::new(|| async { panic!("on purpose") });
    for (way, transport) in stub.ways(MANY).await {
        let call = client(&transport).list_top_products(traced("mine", GIVEN)).await;
        let status = call.unwrap_err();
        assert_eq!(told(status.metadata(), X_TRACE_ID), "mine", "{way}");
        assert!(TraceParent::parse(told(status.metadata(), TRACEPARENT)).is_some(), "{way}");
    }
}

#[tokio::test]
async fn a_trace_goes_on_over_two_hops_with_a_span_each() {
    for (_, behind) in mirror().ways(MANY).await {
        let front = Stub::new(move || {
            let behind = behind.clone();
            async move {
                let own = current().traceparent();
                let seen = names(list(&behind).await);
                Ok(named([&own, &seen[0], &seen[1]]))
            }
        });
        for (way, transport) in front.ways(MANY).await {
            let answer = client(&transport).list_top_products(traced("mine", GIVEN)).await;
            let seen = names(answer);
            assert_eq!(seen[1], "mine", "{way}");
            assert_eq!((&seen[0][..35], &seen[2][..35]), (&GIVEN[..35], &GIVEN[..35]), "{way}");
            assert_ne!(seen[0], seen[2], "{way}");
        }
    }
}
