//! The steps: once, undone at most once, never two for one unit.

use crate::harness::{Order, RESERVE, RESTOCK, Shop, cancelled, order, request_id};
use api::events::v1::EventEnvelope;
use api::product::v1::product_participant_service_client::ProductParticipantServiceClient;
use api::product::v1::reserve_stock_response::Outcome;
use api::product::v1::{
    AdjustStockRequest, ReserveStockReply, ReserveStockRequest, StockMovementKind, StockReleased,
    StockReserved,
};
use api::saga::v1::StepKey;
use api::{Reason, Refusal};
use db::Conn;
use diesel_async::SimpleAsyncConnection;
use events::message;
use participant::{Found, RowState};
use prost::{Message, Name};
use rand::seq::SliceRandom;
use std::sync::Arc;
use testkit::Acted;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tonic::Code;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_buyers_of_the_last_unit_exactly_one_gets_it() {
    let shop = Shop::start().await;
    let tea = shop.product(1).await;
    let start = Arc::new(Barrier::new(2));
    let mut buyers = JoinSet::new();
    for id in 1..=2 {
        let (shop, start) = (shop.clone(), Arc::clone(&start));
        buyers.spawn(async move {
            start.wait().await;
            shop.reserve(&order(id, &[(tea, 1)])).await
        });
    }
    let answers = buyers.join_all().await;
    let (got, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| matches!(answer, Acted::Done(_)));
    assert_eq!((got.len(), refused.len()), (1, 1));
    for answer in refused {
        assert_eq!(answer.rejection().reason, Reason::InsufficientStock);
    }
    assert_eq!(shop.stock(tea).await, 0);
    assert_eq!(shop.movements(tea).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_reservation_takes_once_and_answers_alike() {
    let shop = Shop::start().await;
    let (tea, cake) = (shop.product(10).await, shop.product(10).await);
    let wanted = order(7, &[(cake, 2), (tea, 3)]);
    let first = shop.reserve(&wanted).await.done();
    assert_eq!((first.total_won, first.order_id), (500, 7));
    assert_eq!(first.lines.iter().map(|line| line.product_id).collect::<Vec<_>>(), [cake, tea]);
    for _ in 0..3 {
        assert_eq!(shop.reserve(&wanted).await, Acted::Done(first.clone()));
    }
    assert_eq!((shop.stock(tea).await, shop.stock(cake).await), (7, 8));

    let mut other = wanted;
    other.payload.lines[0].quantity = 1;
    assert_eq!(shop.reserve(&other).await, Acted::OtherContent);
    assert_eq!((shop.stock(tea).await, shop.stock(cake).await), (7, 8));
    assert_eq!(shop.movements(cake).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_gives_back_what_was_recorded_and_only_once() {
    let shop = Shop::start().await;
    let tea = shop.product(10).await;
    let wanted = order(7, &[(tea, 4)]);
    let reply = shop.reserve(&wanted).await.done();
    assert_eq!(shop.release(&wanted).await, (Found::Done, Some(reply.clone())));
    assert_eq!(shop.release(&wanted).await, (Found::Compensated, Some(reply)));
    assert_eq!(shop.reserve(&wanted).await, Acted::Tombstoned);

    let movements = shop.movements(tea).await;
    let kinds: Vec<_> = movements.iter().map(|it| (it.kind(), it.delta, it.order_id)).collect();
    let expected = [
        (StockMovementKind::Initial, 10, None),
        (StockMovementKind::Reserve, -4, Some(7)),
        (StockMovementKind::Release, 4, Some(7)),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(
        events(&shop, 7).await,
        [(StockReserved::full_name(), 1), (StockReleased::full_name(), 2)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_comes_first_keeps_the_reservation_out_for_ever() {
    let shop = Shop::start().await;
    let tea = shop.product(10).await;
    let wanted = order(7, &[(tea, 4)]);
    for expected in [Found::Nothing, Found::Tombstone] {
        assert_eq!(shop.release(&wanted).await, (expected, None));
        assert_eq!(shop.reserve(&wanted).await, Acted::Tombstoned);
    }
    assert_eq!(shop.movements(tea).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_releases_at_once_give_back_once() {
    let shop = Shop::start().await;
    let other = shop.replica(None);
    let tea = shop.product(10).await;
    for id in 1..=20 {
        let wanted = order(id, &[(tea, 4)]);
        shop.reserve(&wanted).await.done();
        let start = Arc::new(Barrier::new(2));
        let mut releases = JoinSet::new();
        // In one process the second would join the first: of two, two transactions meet at the barrier's row.
        for shop in [shop.clone(), other.clone()] {
            let (start, wanted) = (Arc::clone(&start), wanted.clone());
            releases.spawn(async move {
                start.wait().await;
                shop.release(&wanted).await.0
            });
        }
        let mut found = releases.join_all().await;
        found.sort_unstable();
        assert_eq!(found, [Found::Done, Found::Compensated]);
    }
    assert_eq!(shop.stock(tea).await, 10);
    assert_eq!(shop.movements(tea).await.len(), 41);
}

#[tokio::test(flavor = "multi_thread")]
async fn units_that_a_full_stock_cannot_take_come_back_once_it_was_lowered() {
    let shop = Shop::start().await;
    let tea = shop.product(10).await;
    shop.reserve(&order(7, &[(tea, 4)])).await.done();
    let fill = async |conn: &mut Conn| -> db::Result<()> {
        Ok(conn.batch_execute("UPDATE product SET stock = 2147483647").await?)
    };
    shop.db.read(fill).await.unwrap();
    let (cancel, restock) = (Uuid::now_v7(), cancelled(7, &[(tea, 4)]));
    let failed = shop.restock(cancel, &restock).await.unwrap_err();
    assert_eq!(failed.code(), Code::Internal);
    assert_eq!((shop.stock(tea).await, shop.steps().recorded(cancel).await), (i32::MAX, vec![]));

    let less = AdjustStockRequest {
        request_id: request_id(),
        product_id: tea,
        delta: -4,
        reason: String::new(),
    };
    shop.admin().adjust_stock(less).await.unwrap();
    assert_eq!(shop.restock(cancel, &restock).await.unwrap().done().units, 4);
    assert_eq!(shop.stock(tea).await, i32::MAX);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_names_everything_and_stays_one() {
    let shop = Shop::start().await;
    let (tea, cake) = (shop.product(1).await, shop.product(2).await);
    let wanted = order(7, &[(cake, 3), (tea, 2)]);
    let told = shop.reserve(&wanted).await.rejection();
    assert_eq!(told.reason, Reason::InsufficientStock);
    assert_eq!(told.metadata["product_ids"], format!("{cake},{tea}"));
    assert_eq!(
        (told.metadata["available"].as_str(), told.metadata["required"].as_str()),
        ("2,1", "3,2")
    );

    let more = AdjustStockRequest {
        request_id: request_id(),
        product_id: tea,
        delta: 50,
        reason: String::new(),
    };
    shop.admin().adjust_stock(more).await.unwrap();
    let again = shop.reserve(&wanted).await.rejection();
    assert_eq!(again, told, "the first answer stands, whatever is in stock by now");
    let (found, recorded) = shop.steps().compensate(wanted.saga, RESERVE).await;
    assert_eq!((found, Refusal::decode(&recorded)), (Found::Rejected, Ok(told)));

    let missing = order(8, &[(9_999, 1), (tea, 1), (9_998, 1)]);
    let told = shop.reserve(&missing).await.rejection();
    assert_eq!(
        (told.reason, told.metadata["product_ids"].as_str()),
        (Reason::ProductNotFound, "9999,9998")
    );

    let mut dearer = order(9, &[(tea, 2)]);
    dearer.payload.expected_total_won = Some(199);
    let told = shop.reserve(&dearer).await.rejection();
    assert_eq!(told.reason, Reason::PriceChanged);
    assert_eq!(
        (told.metadata["expected_won"].as_str(), told.metadata["actual_won"].as_str()),
        ("199", "200")
    );
    assert_eq!((shop.stock(tea).await, shop.stock(cake).await), (51, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_outside_its_ranges_is_refused_and_leaves_nothing_on_record() {
    let shop = Shop::start().await;
    let tea = shop.product(10).await;
    for (lines, expected) in [
        (vec![], (Reason::InvalidField, "lines")),
        (vec![(tea, 0)], (Reason::InvalidField, "lines[0].quantity")),
        (vec![(tea, -1)], (Reason::InvalidField, "lines[0].quantity")),
        (vec![(tea, 1), (tea, 999_901)], (Reason::InvalidField, "lines[1].quantity")),
        (vec![(tea, i32::MAX)], (Reason::InvalidField, "lines[0].quantity")),
    ] {
        let Order { saga, payload } = order(7, &lines);
        let answer =
            shop.steps().act::<ReserveStockReply>("ReserveStock", saga, RESERVE, &payload).await;
        let told = Refusal::from_status(&answer.unwrap_err()).unwrap();
        assert_eq!((told.reason, told.metadata["field"].as_str()), expected);
        assert_eq!(shop.steps().recorded(saga).await, []);
    }
    assert_eq!(shop.movements(tea).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_client_is_answered_with_outcomes() {
    let shop = Shop::start().await;
    let tea = shop.product(10).await;
    let Order { saga, payload } = order(7, &[(tea, 4)]);
    let mut client = ProductParticipantServiceClient::new(shop.service.actions());
    let key = StepKey {
        saga_id: saga.as_bytes().to_vec(),
        step: RESERVE.into(),
        content_digest: vec![1; 8],
    };
    let request = ReserveStockRequest { key: Some(key), payload: Some(payload) };
    let first = client.reserve_stock(request.clone()).await.unwrap().into_inner();
    let Some(Outcome::Done(reply)) = &first.outcome else { panic!("{first:?}") };
    assert_eq!((reply.order_id, reply.total_won), (7, 400));
    assert_eq!(client.reserve_stock(request).await.unwrap().into_inner(), first);
    assert_eq!(shop.stock(tea).await, 6);
    assert_eq!(shop.service.calls()["ReserveStock"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_of_the_same_products_in_any_order_do_not_get_in_each_others_way() {
    const ORDERS: i32 = 200;
    let shop = Shop::start().await;
    let mut products = Vec::new();
    for _ in 0..10 {
        products.push(shop.product(ORDERS).await);
    }
    let start = Arc::new(Barrier::new(usize::try_from(ORDERS).unwrap()));
    let mut orders = JoinSet::new();
    for id in 1..=ORDERS {
        let mut lines: Vec<_> = products.iter().map(|product| (*product, 1)).collect();
        lines.shuffle(&mut rand::rng());
        let (shop, start) = (shop.clone(), Arc::clone(&start));
        orders.spawn(async move {
            let wanted = order(id.into(), &lines);
            start.wait().await;
            shop.reserve(&wanted).await.done();
            if id % 2 == 0 {
                assert_eq!(shop.release(&wanted).await.0, Found::Done);
            }
        });
    }
    orders.join_all().await;
    for product in products {
        assert_eq!(shop.stock(product).await, ORDERS / 2);
        shop.movements(product).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_orders_units_come_back_once_and_everything_is_on_record() {
    let shop = Shop::start().await;
    let tea = shop.product(10).await;
    let wanted = order(7, &[(tea, 4)]);
    let reply = shop.reserve(&wanted).await.done();
    let (cancel, restock) = (Uuid::now_v7(), cancelled(7, &[(tea, 4)]));
    for _ in 0..2 {
        assert_eq!(shop.restock(cancel, &restock).await.unwrap().done().units, 4);
    }
    assert_eq!(shop.stock(tea).await, 10);
    assert_eq!(shop.movements(tea).await.last().unwrap().kind(), StockMovementKind::Restock);

    for (saga, step) in [(wanted.saga, RESERVE), (cancel, RESTOCK)] {
        let rows = shop.steps().recorded(saga).await;
        let keys: Vec<_> = rows.iter().map(|it| (Uuid::from(it.saga), it.step.0)).collect();
        assert_eq!(keys, [(saga, step)]);
        assert_eq!(rows[0].state, RowState::Done);
    }
    let rows = shop.steps().recorded(wanted.saga).await;
    assert_eq!(ReserveStockReply::decode(rows[0].reply.as_slice()).unwrap(), reply);
}

/// Types and versions of the events of an order's reservation.
async fn events(shop: &Shop, order_id: i64) -> Vec<(String, i64)> {
    let is_meant = |event: &EventEnvelope| {
        (event.aggregate_kind.as_str(), event.aggregate_id) == ("reservation", order_id)
    };
    let events = testkit::told(&shop.db).await.into_iter().filter(is_meant);
    events.map(|event| (message::type_of(&event).to_owned(), event.version)).collect()
}
