//! The public calls.

use crate::harness::{Shop, create, reason, refusal, request_id};
use api::Reason;
use api::outcome::IDEMPOTENCY_REPLAYED;
use api::product::v1::{
    AdjustStockRequest, BatchGetProductsRequest, GetProductRequest, ListProductsRequest,
    ListStockMovementsRequest, StockMovement, StockMovementKind, UpdateProductRequest,
};
use platform::page::PageToken;
use prost_types::FieldMask;
use std::sync::Arc;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn a_product_is_made_once_a_request_id_however_often_it_is_asked_for() {
    let shop = Shop::start().await;
    let request = create("차 ☕ ", 1_500, 7);
    let start = Arc::new(Barrier::new(10));
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        let (mut admin, start, request) = (shop.admin(), Arc::clone(&start), request.clone());
        calls.spawn(async move {
            start.wait().await;
            let response = admin.create_product(request).await.unwrap();
            let replayed = response.metadata().contains_key(IDEMPOTENCY_REPLAYED);
            (replayed, response.into_inner().product.unwrap())
        });
    }
    let answers = calls.join_all().await;
    assert_eq!(answers.iter().filter(|(replayed, _)| !replayed).count(), 1);
    let made = shop.get(answers[0].1.product_id).await;
    assert!(answers.iter().all(|(_, product)| *product == made));
    assert_eq!(
        (made.name.as_str(), made.price_won, made.stock, made.version),
        ("차 ☕ ", 1_500, 7, 1)
    );
    let movements = shop.movements(made.product_id).await;
    assert_eq!(
        movements.iter().map(StockMovement::kind).collect::<Vec<_>>(),
        [StockMovementKind::Initial]
    );

    let mut other = request;
    other.price_won = 1_501;
    let reused = shop.admin().create_product(other).await.unwrap_err();
    assert_eq!(reason(&reused), Reason::RequestIdReused);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_product_is_named() {
    let shop = Shop::start().await;
    let told = refusal(
        &shop.public().get_product(GetProductRequest { product_id: 42 }).await.unwrap_err(),
    );
    assert_eq!(
        (told.reason, told.metadata["product_ids"].as_str()),
        (Reason::ProductNotFound, "42")
    );
    let request = ListStockMovementsRequest { product_id: 42, ..Default::default() };
    let status = shop.admin().list_stock_movements(request).await.unwrap_err();
    assert_eq!(reason(&status), Reason::ProductNotFound);
    let status = shop.admin().adjust_stock(adjust(42, 1)).await.unwrap_err();
    assert_eq!(reason(&status), Reason::ProductNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_are_read_in_the_order_asked_for() {
    let shop = Shop::start().await;
    let (tea, cake) = (shop.product(1).await, shop.product(2).await);
    let product_ids = vec![cake, 999, tea, cake, 998, 999];
    let request = BatchGetProductsRequest { product_ids };
    let answer = shop.public().batch_get_products(request).await.unwrap().into_inner();
    let found: Vec<_> = answer.products.iter().map(|it| it.product_id).collect();
    assert_eq!(found, [cake, tea]);
    assert_eq!(answer.missing_product_ids, [999, 998]);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_are_listed_oldest_first_page_by_page() {
    let shop = Shop::start().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(shop.product(1).await);
    }
    let mut request = ListProductsRequest { page_size: 2, ..ListProductsRequest::default() };
    let mut pages = Vec::new();
    loop {
        let page = shop.public().list_products(request.clone()).await.unwrap().into_inner();
        pages.push(page.products.iter().map(|it| it.product_id).collect::<Vec<_>>());
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
        let elsewhere = ListStockMovementsRequest {
            product_id: made[0],
            page_size: 2,
            page_token: request.page_token.clone(),
        };
        let status = shop.admin().list_stock_movements(elsewhere).await.unwrap_err();
        assert_eq!(reason(&status), Reason::InvalidPageToken);
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(pages.concat(), made);
}

#[tokio::test(flavor = "multi_thread")]
async fn products_made_on_two_replicas_in_turn_are_listed_in_the_order_of_their_making() {
    let shop = Shop::start().await;
    let other = shop.replica(None);
    let mut made = Vec::new();
    for _ in 0..3 {
        made.extend([shop.product(1).await, other.product(1).await]);
    }
    assert!(!made.is_sorted(), "each replica takes ids from a block of its own: {made:?}");
    let mut request = ListProductsRequest { page_size: 2, ..ListProductsRequest::default() };
    let mut listed = Vec::new();
    for reader in [&shop, &other].into_iter().cycle() {
        let page = reader.public().list_products(request.clone()).await.unwrap().into_inner();
        listed.extend(page.products.iter().map(|it| it.product_id));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
        if made.len() < 10 {
            // What is made meanwhile comes last, wherever it is made.
            made.extend([other.product(1).await, shop.product(1).await]);
        }
    }
    assert_eq!(listed, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_of_ids_alone_is_refused() {
    let shop = Shop::start().await;
    let older = PageToken::encode("ListProducts", "", &7_i64);
    let request = ListProductsRequest { page_token: older, ..ListProductsRequest::default() };
    let status = shop.public().list_products(request).await.unwrap_err();
    assert_eq!(reason(&status), Reason::InvalidPageToken);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_changes_what_its_mask_names_if_the_version_is_still_the_same() {
    let shop = Shop::start().await;
    let tea = shop.product(3).await;
    let request = update(tea, Some(1), &["price_won"]);
    let updated = shop.admin().update_product(request.clone()).await.unwrap().into_inner();
    let updated = updated.product.unwrap();
    assert_eq!((updated.name.as_str(), updated.price_won, updated.version), ("tea", 90, 2));
    assert_eq!(shop.get(tea).await, updated);

    let mut unlike = request.clone();
    unlike.name = "not looked at".to_owned();
    let again = shop.admin().update_product(unlike).await.unwrap();
    assert!(
        again.metadata().contains_key(IDEMPOTENCY_REPLAYED),
        "what no mask names is no content"
    );
    assert_eq!(again.into_inner().product, Some(updated));

    let stale = shop.admin().update_product(update(tea, Some(1), &["name"])).await.unwrap_err();
    let told = refusal(&stale);
    assert_eq!(told.reason, Reason::VersionMismatch);
    assert_eq!((told.metadata["expected"].as_str(), told.metadata["actual"].as_str()), ("1", "2"));

    for mask in [&[][..], &["stock"], &["name", "version"], &["price"]] {
        let told =
            refusal(&shop.admin().update_product(update(tea, None, mask)).await.unwrap_err());
        assert_eq!(
            (told.reason, told.metadata["field"].as_str()),
            (Reason::InvalidField, "update_mask")
        );
    }
    let both =
        shop.admin().update_product(update(tea, None, &["name", "price_won"])).await.unwrap();
    assert_eq!(both.into_inner().product.unwrap().version, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_is_adjusted_once_a_request_id_and_never_below_nothing() {
    let shop = Shop::start().await;
    let tea = shop.product(5).await;
    let request = adjust(tea, -5);
    for _ in 0..3 {
        let answer = shop.admin().adjust_stock(request.clone()).await.unwrap().into_inner();
        let movement = answer.movement.unwrap();
        assert_eq!(
            (movement.seq, movement.stock_after, movement.reason.as_str()),
            (2, 0, "spoiled")
        );
        assert_eq!(answer.product.unwrap().stock, 0);
    }
    let told = refusal(&shop.admin().adjust_stock(adjust(tea, -1)).await.unwrap_err());
    assert_eq!(told.reason, Reason::InsufficientStock);
    assert_eq!(told.metadata["product_ids"], tea.to_string());
    assert_eq!(
        (told.metadata["available"].as_str(), told.metadata["required"].as_str()),
        ("0", "1")
    );
    shop.admin().adjust_stock(adjust(tea, 1_000_000_000)).await.unwrap();
    let told = refusal(&shop.admin().adjust_stock(adjust(tea, 1)).await.unwrap_err());
    assert_eq!(
        (told.reason, told.metadata["limit"].as_str()),
        (Reason::StockLimitExceeded, "1000000000")
    );
    assert_eq!(shop.movements(tea).await.len(), 3);
}

fn adjust(product_id: i64, delta: i32) -> AdjustStockRequest {
    AdjustStockRequest { request_id: request_id(), product_id, delta, reason: "spoiled".to_owned() }
}

fn update(product_id: i64, version: Option<i64>, mask: &[&str]) -> UpdateProductRequest {
    let paths = mask.iter().map(|path| (*path).to_owned()).collect();
    UpdateProductRequest {
        request_id: request_id(),
        product_id,
        version,
        name: "green tea".to_owned(),
        price_won: 90,
        update_mask: Some(FieldMask { paths }),
    }
}
