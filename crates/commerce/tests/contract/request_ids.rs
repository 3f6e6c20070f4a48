//! What a client may rely on: every request id has one effect and one answer, however often, when and by whom it is sent.

use crate::baseline::World;
use crate::dynamic;
use api::Reason;
use prost_reflect::{DynamicMessage, Kind, MethodDescriptor, ReflectMessage, Value};
use std::time::Duration;
use testkit::{at_once, patiently, reason};
use tonic::Status;

/// Repeats of one request, released at once.
const TIMES: usize = 10;

/// The mutating calls: those whose request has a request id of its own.
fn mutating() -> Vec<MethodDescriptor> {
    let methods = dynamic::methods().into_iter();
    methods.filter(|method| method.input().get_field_by_name("request_id").is_some()).collect()
}

/// Sends a request until it is decided.
async fn decided(
    world: &World,
    method: &MethodDescriptor,
    request: &DynamicMessage,
) -> Result<DynamicMessage, Status> {
    let channel = world.channel_of(method);
    patiently(async || dynamic::call(channel.clone(), method, request.clone()).await)
        .await
        .map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_at_once_are_one_and_so_they_stay_across_a_restart() {
    let mut world = World::new().await;
    let mut told = Vec::new();
    for method in mutating() {
        for request in world.requests(&method).await {
            let repeats = vec![request.clone(); TIMES];
            let answers = at_once(&world.shop, repeats, async |channel, request| {
                let channel = if testkit::is_admin(method.parent_service().name()) {
                    world.channel_of(&method)
                } else {
                    channel
                };
                patiently(async || dynamic::call(channel.clone(), &method, request.clone()).await)
                    .await
                    .map(tonic::Response::into_inner)
            })
            .await;
            let first = answers[0].as_ref().unwrap().clone();
            for answer in answers {
                assert_eq!(answer.unwrap(), first, "{}", method.full_name());
            }
            told.push((method.clone(), request, first));
        }
    }
    world.restart().await;
    for (method, request, first) in told {
        let channel = world.channel_of(&method);
        let again = dynamic::call(channel, &method, request).await.unwrap();
        let replayed = again.metadata().get(api::outcome::IDEMPOTENCY_REPLAYED).cloned();
        assert_eq!(replayed.unwrap(), "true", "{}", method.full_name());
        assert_eq!(again.into_inner(), first, "{}", method.full_name());
    }
    world.shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_went_away_finds_its_one_effect_by_repeating() {
    let world = World::new().await;
    for method in mutating() {
        for request in world.requests(&method).await {
            for patience in [0, 1, 3] {
                let call = dynamic::call(world.channel_of(&method), &method, request.clone());
                let _ = tokio::time::timeout(Duration::from_millis(patience), call).await;
            }
            let first = decided(&world, &method, &request).await.unwrap();
            let again = decided(&world, &method, &request).await.unwrap();
            assert_eq!(first, again, "{}", method.full_name());
        }
    }
    world.shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_was_used_is_refused_for_other_content() {
    let world = World::new().await;
    for method in mutating() {
        for request in world.requests(&method).await {
            let Some(other) = with_other_content(&request) else { continue };
            decided(&world, &method, &request).await.unwrap();
            let refused = decided(&world, &method, &other).await.unwrap_err();
            assert_eq!(reason(&refused), Reason::RequestIdReused, "{}", method.full_name());
        }
    }
    world.shop.stop_and_audit().await;
}

/// The same request id, user and saga, and another number or text in the first field that has one; none for a request that
/// has nothing else.
fn with_other_content(request: &DynamicMessage) -> Option<DynamicMessage> {
    let mut other = request.clone();
    let descriptor = request.descriptor();
    let fields = descriptor.fields().filter(|field| {
        !matches!(field.name(), "request_id" | "user_id" | "saga_id" | "update_mask" | "version")
    });
    for field in fields.filter(|field| request.has_field(field)) {
        let changed = match (field.kind(), request.get_field(&field).into_owned()) {
            (Kind::Int64, Value::I64(value)) => Value::I64(value + 1),
            (Kind::Int32, Value::I32(value)) => Value::I32(value + 1),
            (Kind::String, Value::String(text)) => Value::String(format!("{text}!")),
            (Kind::Message(_), Value::List(mut items)) => {
                let Value::Message(line) = items.first_mut()? else { continue };
                let quantity = line.get_field_by_name("quantity")?.as_i32()? + 1;
                line.set_field_by_name("quantity", Value::I32(quantity));
                Value::List(items)
            }
            _ => continue,
        };
        other.set_field(&field, changed);
        return Some(other);
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_remembered_too() {
    let world = World::new().await;
    let user = world.shop.unused_user();
    let charge = api::wallet::v1::ChargeWalletRequest {
        request_id: testkit::request_id(),
        user_id: user,
        amount_won: 1_000,
    };
    let refused = world.shop.wallets().charge_wallet(charge.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::WalletNotFound);
    let create =
        api::wallet::v1::CreateWalletRequest { request_id: testkit::request_id(), user_id: user };
    world.shop.wallets().create_wallet(create).await.unwrap();
    let again = world.shop.wallets().charge_wallet(charge).await.unwrap_err();
    assert_eq!(reason(&again), Reason::WalletNotFound);
    assert_eq!(world.shop.balance(user).await, 0);
    world.shop.stop_and_audit().await;
}
