//! The generated checks, through the requests of the contract.

use api::{
    Check, Reason, Refusal,
    checkout::v1::{
        CheckoutLine, GetCheckoutRequest, ListCheckoutsRequest, PlaceOrderRequest, RequestKey,
        get_checkout_request::Key,
    },
    coupon::v1::{
        CancelPolicy, CreateCouponRequest, FixedDiscount, PercentDiscount,
        create_coupon_request::Discount,
    },
    order::v1::ListOrdersRequest,
    product::v1::{AdjustStockRequest, BatchGetProductsRequest, UpdateProductRequest},
    wallet::v1::{ChargeWalletRequest, DebitWalletPayload, ListWalletTransactionsRequest},
};
use prost_types::{FieldMask, Timestamp};
use tonic::Status;
use tonic_types::StatusExt;

const ID: &str = "0b6c8f52-6c1e-4a52-9a0b-52c1c7f0a9d1";

fn place_order() -> PlaceOrderRequest {
    PlaceOrderRequest {
        request_id: ID.to_owned(),
        user_id: 1,
        lines: (1..=5).map(|product_id| CheckoutLine { product_id, quantity: 1 }).collect(),
        coupon_id: None,
        expected_total_won: None,
    }
}

fn charge(amount_won: i64) -> ChargeWalletRequest {
    ChargeWalletRequest { request_id: ID.to_owned(), user_id: 1, amount_won }
}

fn create_coupon() -> CreateCouponRequest {
    CreateCouponRequest {
        request_id: ID.to_owned(),
        name: "Opening day".to_owned(),
        discount: Some(Discount::Fixed(FixedDiscount { amount_won: 1000 })),
        quota: 100,
        validity_days: 7,
        issuable_from: None,
        issuable_until: None,
        cancel_policy: CancelPolicy::Restore.into(),
    }
}

/// The fields that are refused, in order.
fn refused(request: &impl Check) -> Vec<String> {
    let violations = request.check().err().into_iter().flat_map(|refusal| refusal.violations);
    violations.map(|violation| violation.field).collect()
}

fn second(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

#[test]
fn requests_within_their_ranges_pass() {
    assert_eq!(place_order().check(), Ok(()));
    assert_eq!(charge(1000).check(), Ok(()));
    assert_eq!(charge(1_000_000_000).check(), Ok(()));
    assert_eq!(create_coupon().check(), Ok(()));
}

#[test]
fn a_nested_field_is_named_by_its_path_with_its_own_reason() {
    let mut request = place_order();
    request.lines[3].quantity = 10_000;
    let refusal = request.check().unwrap_err();
    let expected = Refusal::new(Reason::InvalidQuantity)
        .with("field", "lines[3].quantity")
        .with("maximum", 9999);
    assert_eq!((refusal.reason, &refusal.metadata), (expected.reason, &expected.metadata));

    let violations = Status::from(refusal).get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].field, "lines[3].quantity");
    assert_eq!(violations[0].description, "must be 1 to 9999");
}

#[test]
fn all_violations_are_listed_and_the_first_gives_the_reason() {
    let mut request = place_order();
    request.user_id = 0;
    request.lines[0].quantity = -1;
    request.lines[1].product_id = 1 << 53;
    request.coupon_id = Some(0);
    let refusal = request.check().unwrap_err();
    assert_eq!(refusal.reason, Reason::InvalidField);
    assert_eq!(refusal.metadata.get("field").map(String::as_str), Some("user_id"));
    let fields = ["user_id", "lines[0].quantity", "lines[1].product_id", "coupon_id"];
    assert_eq!(refused(&request), fields);
}

#[test]
fn a_flood_of_violations_still_fits_a_header() {
    let mut request = place_order();
    request.lines = vec![CheckoutLine { product_id: 0, quantity: 0 }; 100];
    let status = Status::from(request.check().unwrap_err());
    assert!(status.details().len() < 4096, "{} bytes", status.details().len());
}

#[test]
fn special_reasons_tell_their_limit() {
    let refusal = charge(999).check().unwrap_err();
    assert_eq!(refusal.reason, Reason::ChargeAmountBelowMinimum);
    assert_eq!(refusal.metadata.get("minimum").map(String::as_str), Some("1000"));
    assert_eq!(refusal.message(), "a charge is at least 1000 won");
    assert_eq!(charge(1_000_000_001).check().unwrap_err().reason, Reason::InvalidField);

    let lines = |count| PlaceOrderRequest {
        lines: vec![CheckoutLine { product_id: 1, quantity: 1 }; count],
        ..place_order()
    };
    assert_eq!(lines(0).check().unwrap_err().reason, Reason::EmptyOrder);
    assert_eq!(lines(100).check(), Ok(()));
    assert_eq!(lines(101).check().unwrap_err().reason, Reason::TooManyLines);
}

#[test]
fn request_ids_are_required_and_uuids() {
    let with = |id: &str| ChargeWalletRequest { request_id: id.to_owned(), ..charge(1000) };
    assert_eq!(with("").check().unwrap_err().reason, Reason::RequestIdRequired);
    assert_eq!(with("one").check().unwrap_err().reason, Reason::InvalidField);
}

#[test]
fn texts_are_counted_in_characters() {
    let name = |name: String| CreateCouponRequest { name, ..create_coupon() };
    assert_eq!(name("쿠".repeat(200)).check(), Ok(()));
    assert_eq!(refused(&name("쿠".repeat(201))), ["name"]);
    assert_eq!(refused(&name(String::new())), ["name"]);
}

#[test]
fn what_is_required_must_be_there() {
    let debit = DebitWalletPayload { order_id: 1, user_id: 1, amount_won: -1, placed_at: None };
    assert_eq!(refused(&debit), ["amount_won", "placed_at"]);
    let paid = DebitWalletPayload { amount_won: 0, placed_at: Some(second(0)), ..debit };
    assert_eq!(paid.check(), Ok(()));
    assert_eq!(refused(&GetCheckoutRequest { key: None }), ["key"]);
    let coupon = CreateCouponRequest { discount: None, cancel_policy: 0, ..create_coupon() };
    assert_eq!(refused(&coupon), ["cancel_policy", "discount"]);
}

#[test]
fn the_member_of_a_oneof_is_checked() {
    let by = |key| GetCheckoutRequest { key: Some(key) };
    assert_eq!(by(Key::CheckoutId(ID.to_owned())).check(), Ok(()));
    assert_eq!(refused(&by(Key::CheckoutId("one".to_owned()))), ["checkout_id"]);
    let request = RequestKey { user_id: 0, request_id: ID.to_owned() };
    assert_eq!(refused(&by(Key::Request(request))), ["request.user_id"]);

    let percent = |percent, max_amount_won| CreateCouponRequest {
        discount: Some(Discount::Percent(PercentDiscount { percent, max_amount_won })),
        ..create_coupon()
    };
    assert_eq!(percent(100, None).check(), Ok(()));
    assert_eq!(refused(&percent(101, Some(0))), ["percent.percent", "percent.max_amount_won"]);
}

#[test]
fn unknown_numbers_of_an_enum_are_refused_and_a_filter_may_be_unspecified() {
    let state =
        |state| ListCheckoutsRequest { user_id: 1, state, ..ListCheckoutsRequest::default() };
    assert_eq!(state(0).check(), Ok(()));
    assert_eq!(refused(&state(99)), ["state"]);
    assert_eq!(
        refused(&CreateCouponRequest { cancel_policy: 99, ..create_coupon() }),
        ["cancel_policy"]
    );
}

#[test]
fn pages_are_bounded() {
    let page = |page_size, page_token: String| ListWalletTransactionsRequest {
        user_id: 1,
        page_size,
        page_token,
        ..ListWalletTransactionsRequest::default()
    };
    assert_eq!(page(i32::MAX, String::new()).check(), Ok(()));
    assert_eq!(refused(&page(-1, String::new())), ["page_size"]);
    let refusal = page(0, "x".repeat(1025)).check().unwrap_err();
    assert_eq!(refusal.reason, Reason::InvalidPageToken);
}

#[test]
fn instants_are_valid_and_in_order() {
    let between = |created_from, created_to| ListOrdersRequest {
        user_id: 1,
        created_from,
        created_to,
        ..ListOrdersRequest::default()
    };
    assert_eq!(between(Some(second(1)), Some(second(2))).check(), Ok(()));
    assert_eq!(between(None, Some(second(2))).check(), Ok(()));
    assert_eq!(refused(&between(Some(second(2)), Some(second(2)))), ["created_to"]);
    assert_eq!(refused(&between(Some(second(-1)), None)), ["created_from"]);
    assert_eq!(refused(&between(None, Some(second(253_402_300_800)))), ["created_to"]);
    let nanos = Timestamp { seconds: 1, nanos: 1_000_000_000 };
    assert_eq!(refused(&between(Some(nanos), None)), ["created_from"]);
}

#[test]
fn only_the_fields_that_the_mask_names_are_checked() {
    let update = |paths: &[&str]| UpdateProductRequest {
        request_id: ID.to_owned(),
        product_id: 1,
        version: None,
        name: String::new(),
        price_won: 100,
        update_mask: Some(FieldMask { paths: paths.iter().map(ToString::to_string).collect() }),
    };
    assert_eq!(update(&["price_won"]).check(), Ok(()));
    assert_eq!(refused(&update(&["name", "price_won"])), ["name"]);
    assert_eq!(refused(&update(&["stock"])), ["update_mask"]);
    assert_eq!(refused(&update(&[])), ["update_mask"]);
    let without = UpdateProductRequest { update_mask: None, ..update(&[]) };
    assert_eq!(refused(&without), ["update_mask"]);
}

#[test]
fn items_and_excluded_values_are_checked() {
    let batch = |product_ids| BatchGetProductsRequest { product_ids };
    assert_eq!(batch(vec![1; 200]).check(), Ok(()));
    assert_eq!(refused(&batch(vec![])), ["product_ids"]);
    assert_eq!(refused(&batch(vec![1; 201])), ["product_ids"]);
    assert_eq!(refused(&batch(vec![1, 0])), ["product_ids[1]"]);

    let adjust = |delta| AdjustStockRequest {
        request_id: ID.to_owned(),
        product_id: 1,
        delta,
        reason: String::new(),
    };
    assert_eq!(adjust(-1).check(), Ok(()));
    assert_eq!(refused(&adjust(0)), ["delta"]);
}
