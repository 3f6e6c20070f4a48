//! The steps: once, undone at most once, never two for one unit.

use crate::harness::{Shop, key, reason, refusal, release, request_id, reserve};
use api::Reason;
use api::events::v1::EventEnvelope;
use api::outcome::SAGA_OUTCOME;
use api::product::v1::{
    AdjustStockRequest, GetStepsRequest, RestockProductsRequest, StockMovementKind,
};
use api::saga::v1::StepFound;
use rand::seq::SliceRandom;
use std::sync::Arc;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_buyers_of_the_last_unit_exactly_one_gets_it() {
    let shop = Shop::start().await;
    let tea = shop.product(1).await;
    let start = Arc::new(Barrier::new(2));
    let mut buyers = JoinSet::new();
    for order in 1..=2 {
        let (mut steps, start) = (shop.steps(), Arc::clone(&start));
        buyers.spawn(async move {
            start.wait().await;
            steps.reserve_stock(reserve(order, &[(tea, 1)])).await
        });
    }
    let answers = buyers.join_all().await;
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(reason(refused[0]), Reason::InsufficientStock);
    assert_eq!(refused[0].metadata().get(SAGA_OUTCOME).unwrap(), "rejected");
    assert_eq!(shop.stock(tea).await, 0);
    assert_eq!(shop.movements(tea).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_reservation_takes_once_and_answers_alike() {
    let shop = Shop::start().await;
    let (tea, cake) = (shop.product(10).await, shop.product(10).await);
    let request = reserve(7, &[(cake, 2), (tea, 3)]);
    let first = shop.steps().reserve_stock(request.clone()).await.unwrap().into_inner();
    assert_eq!((first.total, first.order_id), (500, 7));
    assert_eq!(first.lines.iter().map(|line| line.product_id).collect::<Vec<_>>(), [cake, tea]);
    for _ in 0..3 {
        let again = shop.steps().reserve_stock(request.clone()).await.unwrap();
        assert_eq!(again.metadata().get(SAGA_OUTCOME).unwrap(), "done");
        assert_eq!(again.into_inner(), first);
    }
    assert_eq!((shop.stock(tea).await, shop.stock(cake).await), (7, 8));

    let mut other = request;
    other.lines[0].quantity = 1;
    let status = shop.steps().reserve_stock(other).await.unwrap_err();
    assert_eq!(reason(&status), Reason::Internal);
    assert_eq!((shop.stock(tea).await, shop.stock(cake).await), (7, 8));
    assert_eq!(shop.movements(cake).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_gives_back_what_was_recorded_and_only_once() {
    let shop = Shop::start().await;
    let tea = shop.product(10).await;
    let request = reserve(7, &[(tea, 4)]);
    let reply = shop.steps().reserve_stock(request.clone()).await.unwrap().into_inner();
    let released = shop.steps().release_stock(release(&request)).await.unwrap().into_inner();
    assert_eq!(released.found(), StepFound::Done);
    assert_eq!(released.reply, Some(reply.clone()));
    let again = shop.steps().release_stock(release(&request)).await.unwrap().into_inner();
    assert_eq!(again.found(), StepFound::Compensated);
    assert_eq!(again.reply, Some(reply));
    let late = shop.steps().reserve_stock(request.clone()).await.unwrap_err();
    assert_eq!(reason(&late), Reason::SagaStepTombstoned);

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
        [("StockReserved".to_owned(), 1), ("StockReleased".to_owned(), 2)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_comes_first_keeps_the_reservation_out_for_ever() {
    let shop = Shop::start().await;
    let tea = shop.product(10).await;
    let request = reserve(7, &[(tea, 4)]);
    let found = [StepFound::Nothing, StepFound::Tombstone];
    for expected in found {
        let released = shop.steps().release_stock(release(&request)).await.unwrap().into_inner();
        assert_eq!((released.found(), released.reply), (expected, None));
        let late = shop.steps().reserve_stock(request.clone()).await.unwrap_err();
        assert_eq!(reason(&late), Reason::SagaStepTombstoned);
    }
    assert_eq!(shop.movements(tea).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_releases_at_once_give_back_once() {
    let shop = Shop::start().await;
    let tea = shop.product(10).await;
    for order in 1..=20 {
        let request = reserve(order, &[(tea, 4)]);
        shop.steps().reserve_stock(request.clone()).await.unwrap();
        let start = Arc::new(Barrier::new(2));
        let mut releases = JoinSet::new();
        for lane in 0..2 {
            let (mut steps, start) = (shop.steps(), Arc::clone(&start));
            // Another order id leads into another lane: two transactions meet at the barrier's row.
            let mut request = release(&request);
            request.order_id += lane;
            releases.spawn(async move {
                start.wait().await;
                steps.release_stock(request).await.unwrap().into_inner().found()
            });
        }
        let mut found = releases.join_all().await;
        found.sort_unstable();
        assert_eq!(found, [StepFound::Done, StepFound::Compensated]);
    }
    assert_eq!(shop.stock(tea).await, 10);
    assert_eq!(shop.movements(tea).await.len(), 41);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_names_everything_and_stays_one() {
    let shop = Shop::start().await;
    let (tea, cake) = (shop.product(1).await, shop.product(2).await);
    let request = reserve(7, &[(cake, 3), (tea, 2)]);
    let told = refusal(&shop.steps().reserve_stock(request.clone()).await.unwrap_err());
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
    shop.public().adjust_stock(more).await.unwrap();
    let again = shop.steps().reserve_stock(request.clone()).await.unwrap_err();
    assert_eq!(refusal(&again), told, "the first answer stands, whatever is in stock by now");
    let found = shop.steps().release_stock(release(&request)).await.unwrap().into_inner();
    assert_eq!(found.found(), StepFound::Rejected);
    assert_eq!(found.rejection.unwrap().reason, "INSUFFICIENT_STOCK");

    let missing = reserve(8, &[(9_999, 1), (tea, 1), (9_998, 1)]);
    let told = refusal(&shop.steps().reserve_stock(missing).await.unwrap_err());
    assert_eq!(
        (told.reason, told.metadata["product_ids"].as_str()),
        (Reason::ProductNotFound, "9999,9998")
    );

    let mut dearer = reserve(9, &[(tea, 2)]);
    dearer.expected_total = Some(199);
    let told = refusal(&shop.steps().reserve_stock(dearer).await.unwrap_err());
    assert_eq!(told.reason, Reason::PriceChanged);
    assert_eq!(
        (told.metadata["expected"].as_str(), told.metadata["actual"].as_str()),
        ("199", "200")
    );
    assert_eq!((shop.stock(tea).await, shop.stock(cake).await), (51, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_of_the_same_products_in_any_order_do_not_get_in_each_others_way() {
    const ORDERS: i64 = 200;
    let shop = Shop::start().await;
    let mut products = Vec::new();
    for _ in 0..10 {
        products.push(shop.product(ORDERS).await);
    }
    let start = Arc::new(Barrier::new(usize::try_from(ORDERS).unwrap()));
    let mut orders = JoinSet::new();
    for order in 1..=ORDERS {
        let mut lines: Vec<_> = products.iter().map(|product| (*product, 1)).collect();
        lines.shuffle(&mut rand::rng());
        let (mut steps, start) = (shop.steps(), Arc::clone(&start));
        orders.spawn(async move {
            let request = reserve(order, &lines);
            start.wait().await;
            steps.reserve_stock(request.clone()).await.unwrap();
            if order % 2 == 0 {
                steps.release_stock(release(&request)).await.unwrap();
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
    let request = reserve(7, &[(tea, 4)]);
    shop.steps().reserve_stock(request.clone()).await.unwrap();
    let cancel = key();
    let restock = RestockProductsRequest {
        key: Some(cancel.clone()),
        order_id: 7,
        lines: request.lines.clone(),
    };
    for _ in 0..2 {
        let answer = shop.steps().restock_products(restock.clone()).await.unwrap().into_inner();
        assert_eq!(answer.units, 4);
    }
    assert_eq!(shop.stock(tea).await, 10);
    assert_eq!(shop.movements(tea).await.last().unwrap().kind(), StockMovementKind::Restock);

    let asked = [request.key.clone().unwrap(), cancel];
    let saga_ids = asked.iter().map(|key| key.saga_id.clone()).collect();
    let on_record =
        shop.steps().get_steps(GetStepsRequest { saga_ids }).await.unwrap().into_inner();
    let mut keys: Vec<_> = on_record.records.iter().filter_map(|it| it.key.clone()).collect();
    keys.sort_by(|a, b| a.saga_id.cmp(&b.saga_id));
    assert_eq!(keys, asked);
    assert!(on_record.records.iter().all(|it| it.state() == StepFound::Done));
}

/// Types and versions of the events of an order's reservation.
async fn events(shop: &Shop, order_id: i64) -> Vec<(String, i64)> {
    let is_meant = |event: &EventEnvelope| {
        (event.aggregate_kind.as_str(), event.aggregate_id) == ("reservation", order_id)
    };
    let events = testkit::told(&shop.db).await.into_iter().filter(is_meant);
    events.map(|event| (event.r#type, event.version)).collect()
}
