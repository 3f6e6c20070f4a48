//! The back office: apart from the shoppers' calls, within 32 bits, and told as events.

use crate::harness::{Shop, cancelled, create, order, reason, refusal, request_id};
use api::Reason;
use api::product::v1::product_admin_service_client::ProductAdminServiceClient;
use api::product::v1::product_service_client::ProductServiceClient;
use api::product::v1::{
    AdjustStockRequest, GetProductRequest, ListProductsRequest, ListStockMovementsRequest,
    ProductCreated, ProductUpdated, StockAdjusted, StockReserved, StockRestocked,
    UpdateProductRequest,
};
use events::message;
use prost_types::FieldMask;
use tonic::Code;
use uuid::Uuid;

fn adjust(product_id: i64, delta: i32) -> AdjustStockRequest {
    AdjustStockRequest { request_id: request_id(), product_id, delta, reason: "counted".to_owned() }
}

fn reprice(product_id: i64, price_won: i64) -> UpdateProductRequest {
    UpdateProductRequest {
        request_id: request_id(),
        product_id,
        price_won,
        update_mask: Some(FieldMask { paths: vec!["price_won".to_owned()] }),
        ..UpdateProductRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_server_offers_the_calls_of_the_other() {
    let shop = Shop::start().await;
    let tea = shop.product(5).await;
    let mut intruder = ProductAdminServiceClient::new(shop.service.public());
    let movements = ListStockMovementsRequest { product_id: tea, ..Default::default() };
    let refused = [
        intruder.create_product(create("cake", 1, 1)).await.unwrap_err(),
        intruder.update_product(reprice(tea, 1)).await.unwrap_err(),
        intruder.adjust_stock(adjust(tea, 1)).await.unwrap_err(),
        intruder.list_stock_movements(movements).await.unwrap_err(),
    ];
    assert_eq!(refused.map(|status| status.code()), [Code::Unimplemented; 4]);

    let mut lost = ProductServiceClient::new(shop.service.admin());
    let refused = [
        lost.get_product(GetProductRequest { product_id: tea }).await.unwrap_err(),
        lost.list_products(ListProductsRequest::default()).await.unwrap_err(),
    ];
    assert_eq!(refused.map(|status| status.code()), [Code::Unimplemented; 2]);

    let all = shop.public().list_products(ListProductsRequest::default()).await.unwrap();
    let all = all.into_inner().products;
    assert_eq!(all.iter().map(|it| (it.product_id, it.stock)).collect::<Vec<_>>(), [(tea, 5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_numbers_are_kept_and_those_beyond_are_refused_by_their_fields() {
    const MOST: i32 = 1_000_000_000;
    let shop = Shop::start().await;
    let made = shop.admin().create_product(create("gold", MOST.into(), MOST)).await.unwrap();
    let gold = made.into_inner().product.unwrap();
    assert_eq!((gold.price_won, gold.stock), (MOST.into(), MOST));
    assert_eq!(shop.get(gold.product_id).await, gold);
    for delta in [-MOST, MOST] {
        let adjusted = shop.admin().adjust_stock(adjust(gold.product_id, delta)).await.unwrap();
        assert_eq!(adjusted.into_inner().movement.unwrap().delta, delta);
    }
    assert_eq!(shop.movements(gold.product_id).await.len(), 3);

    for stock in [-1, MOST + 1, i32::MIN, i32::MAX] {
        let told = shop.admin().create_product(create("gold", 1, stock)).await.unwrap_err();
        let told = refusal(&told);
        assert_eq!((told.reason, &*told.metadata["field"]), (Reason::InvalidField, "stock"));
    }
    for price_won in [0, -1, i64::from(MOST) + 1, i64::MAX] {
        for told in [
            shop.admin().create_product(create("gold", price_won, 1)).await.err(),
            shop.admin().update_product(reprice(gold.product_id, price_won)).await.err(),
        ] {
            let told = refusal(&told.unwrap());
            assert_eq!(
                (told.reason, &*told.metadata["field"]),
                (Reason::InvalidField, "price_won")
            );
        }
    }
    for delta in [0, -MOST - 1, MOST + 1, i32::MIN, i32::MAX] {
        let told = shop.admin().adjust_stock(adjust(gold.product_id, delta)).await.unwrap_err();
        let told = refusal(&told);
        assert_eq!((told.reason, &*told.metadata["field"]), (Reason::InvalidField, "delta"));
    }
    let over = shop.admin().adjust_stock(adjust(gold.product_id, 1)).await.unwrap_err();
    assert_eq!(reason(&over), Reason::StockLimitExceeded);
    assert_eq!(shop.get(gold.product_id).await, gold);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_told_under_the_full_name_of_its_type() {
    let shop = Shop::start().await;
    let tea = shop.product(5).await;
    shop.admin().update_product(reprice(tea, 90)).await.unwrap();
    shop.admin().adjust_stock(adjust(tea, 2)).await.unwrap();
    shop.reserve(&order(7, &[(tea, 3)])).await.done();
    shop.restock(Uuid::now_v7(), &cancelled(7, &[(tea, 3)])).await.unwrap().done();

    let events = testkit::told(&shop.db).await;
    let types: Vec<_> = events.iter().map(message::type_of).collect();
    let expected = [
        "commerce.product.v1.ProductCreated",
        "commerce.product.v1.ProductUpdated",
        "commerce.product.v1.StockAdjusted",
        "commerce.product.v1.StockReserved",
        "commerce.product.v1.StockRestocked",
    ];
    assert_eq!(types, expected);
    let created: ProductCreated = message::read(&events[0]).unwrap().unwrap();
    assert_eq!((created.product_id, created.price_won, created.stock), (tea, 100, 5));
    let updated: ProductUpdated = message::read(&events[1]).unwrap().unwrap();
    assert_eq!((updated.price_won, updated.version), (90, 2));
    let adjusted: StockAdjusted = message::read(&events[2]).unwrap().unwrap();
    assert_eq!((adjusted.seq, adjusted.delta, adjusted.stock_after), (2, 2, 7));
    let reserved: StockReserved = message::read(&events[3]).unwrap().unwrap();
    assert_eq!((reserved.lines[0].delta, reserved.lines[0].stock_after), (-3, 4));
    let restocked: StockRestocked = message::read(&events[4]).unwrap().unwrap();
    assert_eq!((restocked.lines[0].delta, restocked.lines[0].stock_after), (3, 7));
}
