//! The order service on a real database, through its clients.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use api::events::v1::EventEnvelope;
use api::order::v1::begin_cancel_response::Outcome as Begun;
use api::order::v1::confirm_order_response::Outcome as Confirmed;
use api::order::v1::order_participant_service_client::OrderParticipantServiceClient;
use api::order::v1::order_service_client::OrderServiceClient;
use api::order::v1::order_service_server::OrderServiceServer;
use api::order::v1::{
    BeginCancelPayload, BeginCancelReply, BeginCancelRequest, ConfirmOrderPayload,
    ConfirmOrderReply, ConfirmOrderRequest, ConfirmedLine, FinishCancelPayload, FinishCancelReply,
    GetOrderRequest, ListOrdersRequest, ListOrdersResponse, Order as Placed, OrderCancelled,
    OrderConfirmed, OrderState,
};
use api::saga::v1::StepKey;
use api::{Reason, Refusal};
use chrono::{DateTime, Utc};
use db::Conn;
use diesel_async::SimpleAsyncConnection;
use events::message;
use migrations::Schema;
use order::Order;
use participant::{ActionServer, Found, RowState, SagaId, StepNo, content_digest};
use platform::page::PageToken;
use prost::Message;
use prost_types::Timestamp;
use std::collections::BTreeSet;
use testkit::{Acted, Stepper};
use tokio_util::task::TaskTracker;
use tonic::{Code, Response, Status};
use uuid::Uuid;

const USER: i64 = 7;
const CONFIRM: i16 = 4;
const BEGIN: i16 = 1;
const FINISH: i16 = 5;
const PLACED: Timestamp = Timestamp { seconds: 1_750_000_000, nanos: 123_456_000 };
const CANCELLED: Timestamp = Timestamp { seconds: 1_750_000_100, nanos: 0 };

type Answer<T> = Result<Response<T>, Status>;
type Step<R> = Result<Acted<R>, Status>;

/// An order service with a database of its own.
struct Desk {
    db: db::Db,
    order: Order,
    public: OrderServiceClient<OrderServiceServer<Order>>,
    steps: Stepper,
}

impl Desk {
    async fn open() -> Self {
        let (db, _) = testkit::database(Schema::Order).await;
        Self::on(db)
    }

    fn on(db: db::Db) -> Self {
        let order = Order::start(db.clone(), participant::Options::default(), &TaskTracker::new());
        let public = OrderServiceClient::new(order.public());
        let steps = Stepper::new(order.steps());
        Self { db, order, public, steps }
    }

    /// Another process on the same database.
    fn replica(&self) -> Self {
        Self::on(self.db.clone())
    }

    async fn get(&self, order_id: i64, user_id: i64) -> Result<Placed, Status> {
        let answer = self.public.clone().get_order(GetOrderRequest { order_id, user_id }).await?;
        Ok(answer.into_inner().order.unwrap())
    }

    async fn list(&self, request: ListOrdersRequest) -> Answer<ListOrdersResponse> {
        self.public.clone().list_orders(request).await
    }

    /// The ids of the first page.
    async fn ids(&self, request: ListOrdersRequest) -> Vec<i64> {
        let page = self.list(request).await.unwrap().into_inner();
        page.orders.iter().map(|order| order.order_id).collect()
    }

    async fn confirm(&self, saga: Uuid, payload: &ConfirmOrderPayload) -> Step<ConfirmOrderReply> {
        self.steps.act("ConfirmOrder", saga, CONFIRM, payload).await
    }

    /// The order of a checkout of its own.
    async fn place(&self, payload: &ConfirmOrderPayload) -> Placed {
        let confirmed = self.confirm(Uuid::now_v7(), payload).await.unwrap();
        confirmed.done().order.unwrap()
    }

    async fn void(&self, saga: Uuid, reason: &str) -> (Found, Vec<u8>) {
        self.steps.void(saga, CONFIRM, reason).await
    }

    async fn begin(&self, saga: Uuid, order_id: i64, user_id: i64) -> Acted<BeginCancelReply> {
        let payload = BeginCancelPayload { order_id, user_id };
        self.steps.act("BeginCancel", saga, BEGIN, &payload).await.unwrap()
    }

    async fn void_cancel(&self, saga: Uuid, reason: &str) -> (Found, Vec<u8>) {
        self.steps.void(saga, BEGIN, reason).await
    }

    async fn finish(&self, saga: Uuid, order_id: i64) -> Step<FinishCancelReply> {
        let payload = FinishCancelPayload { order_id, cancelled_at: Some(CANCELLED) };
        self.steps.act("FinishCancel", saga, FINISH, &payload).await
    }

    /// A client of its actions.
    fn actions(&self) -> OrderParticipantServiceClient<ActionServer<Order>> {
        OrderParticipantServiceClient::new(self.order.actions())
    }

    /// Every event, in the order of their rows.
    async fn events(&self) -> Vec<EventEnvelope> {
        testkit::told(&self.db).await
    }
}

/// The key of a step with this payload.
fn key(saga: Uuid, step: i16, payload: &impl Message) -> StepKey {
    let digest = content_digest("its method", &payload.encode_to_vec());
    participant::wire::key(SagaId::from(saga), StepNo(step), Some(digest))
}

/// 10 × 1,000 + 5 × 2,000, less a coupon of 10 %; the products are named in descending order.
fn placement(order_id: i64) -> ConfirmOrderPayload {
    let line = |product_id, quantity, unit_price_won| ConfirmedLine {
        product_id,
        quantity,
        unit_price_won,
    };
    ConfirmOrderPayload {
        order_id,
        user_id: USER,
        placed_at: Some(PLACED),
        lines: vec![line(9, 10, 1_000), line(3, 5, 2_000)],
        total_won: 20_000,
        discount_won: 2_000,
        paid_won: 18_000,
        coupon_id: Some(5),
        issued_coupon_id: Some(6),
    }
}

fn mine() -> ListOrdersRequest {
    ListOrdersRequest { user_id: USER, ..ListOrdersRequest::default() }
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> Refusal {
    Refusal::from_status(&answer.unwrap_err()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_order_is_read_by_its_user_alone() {
    let desk = Desk::open().await;
    let placed = desk.place(&placement(1)).await;
    let order = desk.get(1, USER).await.unwrap();
    assert_eq!(order, placed);
    assert_eq!(
        (order.state(), order.paid_won, order.created_at),
        (OrderState::Confirmed, 18_000, Some(PLACED))
    );
    let products: Vec<i64> = order.lines.iter().map(|line| line.product_id).collect();
    assert_eq!(products, [9, 3]);
    assert_eq!((order.coupon_id, order.issued_coupon_id), (Some(5), Some(6)));
    let hidden = refusal(desk.get(1, USER + 1).await);
    assert_eq!((hidden.reason, &*hidden.metadata["order_id"]), (Reason::OrderNotFound, "1"));
    assert!(desk.ids(ListOrdersRequest { user_id: USER + 1, ..mine() }).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_repeated_makes_one_order_and_other_content_none() {
    let desk = Desk::open().await;
    let saga = Uuid::now_v7();
    let first = desk.confirm(saga, &placement(1)).await.unwrap().done();
    assert_eq!(desk.confirm(saga, &placement(1)).await.unwrap(), Acted::Done(first));
    assert_eq!(desk.confirm(saga, &placement(2)).await.unwrap(), Acted::OtherContent);
    assert_eq!(desk.ids(mine()).await, [1]);
    assert_eq!(desk.events().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_numbers_contradict_each_other_is_refused() {
    let desk = Desk::open().await;
    let saga = Uuid::now_v7();
    let good = || placement(1);
    let twice = vec![ConfirmedLine { product_id: 9, quantity: 10, unit_price_won: 1_000 }; 2];
    let bad = [
        ("total_won", ConfirmOrderPayload { total_won: 20_001, paid_won: 18_001, ..good() }),
        ("discount_won", ConfirmOrderPayload { discount_won: 20_001, ..good() }),
        ("paid_won", ConfirmOrderPayload { paid_won: 17_999, ..good() }),
        ("lines", ConfirmOrderPayload { lines: twice, ..good() }),
        ("issued_coupon_id", ConfirmOrderPayload { issued_coupon_id: None, ..good() }),
    ];
    for (field, payload) in bad {
        let refused = refusal(desk.confirm(saga, &payload).await);
        assert_eq!(refused.reason, Reason::InvalidField);
        assert_eq!(refused.metadata["field"], field);
    }
    assert!(desk.steps.recorded(saga).await.is_empty());
    desk.confirm(saga, &good()).await.unwrap().done();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_units_of_a_line_are_kept_and_one_more_or_none_is_refused() {
    let desk = Desk::open().await;
    let of = |order_id: i64, quantity: i32| {
        let lines = vec![ConfirmedLine { product_id: 9, quantity, unit_price_won: 1_000_000_000 }];
        let total_won = i64::from(quantity) * 1_000_000_000;
        let (discount_won, paid_won) = (0, total_won);
        ConfirmOrderPayload { lines, total_won, discount_won, paid_won, ..placement(order_id) }
    };
    desk.place(&of(1, 999_900)).await;
    let order = desk.get(1, USER).await.unwrap();
    assert_eq!((order.lines[0].quantity, order.paid_won), (999_900, 999_900_000_000_000));
    for quantity in [0, -1, i32::MIN, 999_901, i32::MAX] {
        let refused = refusal(desk.confirm(Uuid::now_v7(), &of(2, quantity)).await);
        assert_eq!(refused.reason, Reason::InvalidField);
        assert_eq!(refused.metadata["field"], "lines[0].quantity");
    }
    assert_eq!(desk.ids(mine()).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_has_lost_its_lines_is_a_failure_and_no_order_of_nothing() {
    let desk = Desk::open().await;
    desk.place(&placement(1)).await;
    let lose = async |conn: &mut Conn| -> db::Result<()> {
        Ok(conn.batch_execute("DELETE FROM order_line").await?)
    };
    desk.db.read(lose).await.unwrap();
    assert_eq!(refusal(desk.get(1, USER).await).reason, Reason::Internal);
    assert_eq!(refusal(desk.list(mine()).await).reason, Reason::Internal);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voided_checkout_never_makes_its_order() {
    let desk = Desk::open().await;
    let saga = Uuid::now_v7();
    let reason = b"DEADLINE_EXCEEDED".to_vec();
    let first = desk.void(saga, "DEADLINE_EXCEEDED").await;
    assert_eq!(first, (Found::Nothing, reason.clone()));
    assert_eq!(desk.void(saga, "OPERATOR").await, (Found::Tombstone, reason.clone()));
    assert_eq!(desk.confirm(saga, &placement(1)).await.unwrap(), Acted::Tombstoned);
    assert_eq!(refusal(desk.get(1, USER).await).reason, Reason::OrderNotFound);
    let rows = desk.steps.recorded(saga).await.into_iter();
    let rows: Vec<_> = rows.map(|row| (row.step, row.state, row.reply)).collect();
    assert_eq!(rows, [(StepNo(CONFIRM), RowState::Tombstone, reason)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_leaves_a_confirmed_order_and_answers_it() {
    let desk = Desk::open().await;
    let saga = Uuid::now_v7();
    let placed = desk.confirm(saga, &placement(1)).await.unwrap().done();
    for _ in 0..2 {
        let (found, recorded) = desk.void(saga, "OPERATOR").await;
        assert_eq!(found, Found::Done);
        assert_eq!(ConfirmOrderReply::decode(&*recorded).unwrap(), placed);
    }
    assert_eq!(desk.get(1, USER).await.ok(), placed.order);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_cancel_wins_and_finishes() {
    let desk = Desk::open().await;
    desk.place(&placement(1)).await;
    let (first, second, third) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let begun = desk.begin(first, 1, USER).await.done();
    assert_eq!(begun.order.as_ref().unwrap().state(), OrderState::Cancelling);
    let refused = desk.begin(second, 1, USER).await.rejection();
    assert_eq!(refused.reason, Reason::OrderNotCancellable);
    assert_eq!(refused.metadata["state"], "CANCELLING");
    assert_eq!(refused.metadata["saga_id"], first.to_string());
    assert_eq!(desk.finish(second, 1).await.unwrap_err().code(), Code::Internal);

    let finished = desk.finish(first, 1).await.unwrap().done();
    assert_eq!(desk.finish(first, 1).await.unwrap().done(), finished);
    let order = desk.get(1, USER).await.unwrap();
    assert_eq!(Some(&order), finished.order.as_ref());
    assert_eq!((order.state(), order.cancelled_at), (OrderState::Cancelled, Some(CANCELLED)));
    assert_eq!(desk.begin(second, 1, USER).await.rejection(), refused);
    assert_eq!(desk.begin(third, 1, USER).await.rejection().metadata["state"], "CANCELLED");
    assert_eq!(desk.begin(first, 1, USER).await.done(), begun);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_users_order_cannot_be_cancelled_nor_one_that_is_not_there() {
    let desk = Desk::open().await;
    desk.place(&placement(1)).await;
    for (order_id, user_id) in [(1, USER + 1), (2, USER)] {
        let saga = Uuid::now_v7();
        let refused = desk.begin(saga, order_id, user_id).await.rejection();
        assert_eq!(refused.reason, Reason::OrderNotFound);
        let (found, recorded) = desk.void_cancel(saga, "OPERATOR").await;
        assert_eq!((found, Refusal::decode(&recorded).unwrap()), (Found::Rejected, refused));
    }
    assert_eq!(desk.get(1, USER).await.unwrap().state(), OrderState::Confirmed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voided_cancel_never_begins_and_a_begun_one_is_left() {
    let desk = Desk::open().await;
    desk.place(&placement(1)).await;
    let (voided, begun) = (Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(desk.void_cancel(voided, "OPERATOR").await.0, Found::Nothing);
    assert_eq!(desk.begin(voided, 1, USER).await, Acted::Tombstoned);
    let reply = desk.begin(begun, 1, USER).await.done();
    let (found, recorded) = desk.void_cancel(begun, "OPERATOR").await;
    assert_eq!((found, BeginCancelReply::decode(&*recorded).unwrap()), (Found::Done, reply));
    assert_eq!(desk.get(1, USER).await.unwrap().state(), OrderState::Cancelling);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_of_the_order_and_of_its_end() {
    let desk = Desk::open().await;
    let cancel = Uuid::now_v7();
    desk.place(&placement(1)).await;
    desk.begin(cancel, 1, USER).await.done();
    desk.finish(cancel, 1).await.unwrap().done();
    let events = desk.events().await;
    let types: Vec<_> =
        events.iter().map(|event| (message::type_of(event), event.version)).collect();
    let expected =
        [("commerce.order.v1.OrderConfirmed", 1), ("commerce.order.v1.OrderCancelled", 3)];
    assert_eq!(types, expected);
    let confirmed: OrderConfirmed = message::read(&events[0]).unwrap().unwrap();
    assert_eq!((confirmed.paid_won, confirmed.placed_at), (18_000, Some(PLACED)));
    let cancelled = OrderCancelled {
        order_id: 1,
        user_id: USER,
        product_ids: vec![9, 3],
        placed_at: Some(PLACED),
        cancelled_at: Some(CANCELLED),
    };
    assert_eq!(message::read(&events[1]), Ok(Some(cancelled)));
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_listed_newest_first_by_state_and_time_in_pages() {
    let desk = Desk::open().await;
    for id in 1..=5 {
        let placed_at = Some(Timestamp { seconds: PLACED.seconds + id, nanos: 0 });
        desk.place(&ConfirmOrderPayload { placed_at, ..placement(id) }).await;
    }
    desk.begin(Uuid::now_v7(), 2, USER).await.done();
    let with = |state: OrderState| ListOrdersRequest { state: state.into(), ..mine() };
    assert_eq!(desk.ids(with(OrderState::Cancelling)).await, [2]);
    assert_eq!(desk.ids(with(OrderState::Confirmed)).await, [5, 4, 3, 1]);
    let between = ListOrdersRequest {
        created_from: Some(Timestamp { seconds: PLACED.seconds + 2, nanos: 0 }),
        created_to: Some(Timestamp { seconds: PLACED.seconds + 4, nanos: 0 }),
        ..mine()
    };
    assert_eq!(desk.ids(between).await, [3, 2]);

    let (mut token, mut pages) = (String::new(), Vec::new());
    loop {
        let request = ListOrdersRequest { page_size: 2, page_token: token.clone(), ..mine() };
        let page = desk.list(request).await.unwrap().into_inner();
        pages.push(page.orders.iter().map(|order| order.order_id).collect::<Vec<_>>());
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        let other = ListOrdersRequest { page_token: token.clone(), ..with(OrderState::Confirmed) };
        assert_eq!(refusal(desk.list(other).await).reason, Reason::InvalidPageToken);
    }
    assert_eq!(pages, [vec![5, 4], vec![3, 2], vec![1]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_with_ids_of_two_replicas_are_listed_newest_first_and_none_is_skipped() {
    let desk = Desk::open().await;
    let other = desk.replica();
    let confirm = async |desk: &Desk, id: i64, seconds: i64| {
        let placed_at = Some(Timestamp { seconds: PLACED.seconds + seconds, nanos: 0 });
        desk.place(&ConfirmOrderPayload { placed_at, ..placement(id) }).await;
    };
    // Two orchestrators in turn, each with a block of ids. Two orders were placed in one instant.
    let placed = [(1, 1), (1_001, 2), (2, 3), (1_002, 4), (3, 5), (1_003, 5), (4, 6)];
    for (id, seconds) in placed {
        confirm(if id < 1_000 { &desk } else { &other }, id, seconds).await;
    }
    let newest_first = [4, 1_003, 3, 1_002, 2, 1_001, 1];
    assert_eq!(desk.ids(mine()).await, newest_first);
    for state in [OrderState::Unspecified, OrderState::Confirmed] {
        let mut request = ListOrdersRequest { page_size: 2, state: state.into(), ..mine() };
        let mut listed = Vec::new();
        for (round, reader) in (0..).zip([&desk, &other].into_iter().cycle()) {
            let page = reader.list(request.clone()).await.unwrap().into_inner();
            listed.extend(page.orders.iter().map(|order| order.order_id));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
            // Newer ones, whatever their ids, are on no later page, and push none off it.
            let id = 5 + round + i64::from(i32::from(state)) * 100;
            confirm(&desk, id, 10 + id).await;
        }
        let older = listed.iter().filter(|id| newest_first.contains(id));
        assert_eq!(older.copied().collect::<Vec<_>>(), newest_first);
        let once: BTreeSet<_> = listed.iter().collect();
        assert_eq!(once.len(), listed.len(), "{listed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_of_ids_alone_is_refused() {
    let desk = Desk::open().await;
    let filters = (USER, 0_i32, None::<DateTime<Utc>>, None::<DateTime<Utc>>);
    let page_token = PageToken::encode("ListOrders", &filters, &7_i64);
    let older = ListOrdersRequest { page_token, ..mine() };
    assert_eq!(refusal(desk.list(older).await).reason, Reason::InvalidPageToken);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_orders_ends_before_it_outgrows_a_message() {
    let desk = Desk::open().await;
    let line = |index: i64| ConfirmedLine {
        product_id: (1_i64 << 52) + index,
        quantity: 999_900,
        unit_price_won: 1_000_000,
    };
    let lines: Vec<ConfirmedLine> = (0..100).map(line).collect();
    let total_won = 100 * 999_900 * 1_000_000;
    for id in 1..=150 {
        let lines = lines.clone();
        let (discount_won, paid_won) = (0, total_won);
        let order =
            ConfirmOrderPayload { lines, total_won, discount_won, paid_won, ..placement(id) };
        desk.place(&order).await;
    }
    let (mut token, mut ids) = (String::new(), Vec::new());
    loop {
        let request = ListOrdersRequest { page_size: 200, page_token: token, ..mine() };
        let page = desk.list(request).await.unwrap().into_inner();
        assert!(page.encoded_len() <= platform::MAX_MESSAGE_BYTES);
        ids.extend(page.orders.iter().map(|order| order.order_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(ids, (1..=150).rev().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_of_a_saga_that_is_over_are_refused_as_purged() {
    let desk = Desk::open().await;
    let (over, next) = (Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(desk.steps.raise_watermark(over).await, over);
    assert_eq!(desk.confirm(over, &placement(1)).await.unwrap(), Acted::Purged);
    assert_eq!(desk.void(over, "OPERATOR").await, (Found::Purged, Vec::new()));
    assert!(desk.ids(mine()).await.is_empty());
    desk.confirm(next, &placement(1)).await.unwrap().done();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_an_action_is_answered_in_band_and_a_repeat_equally() {
    let desk = Desk::open().await;
    let saga = Uuid::now_v7();
    let confirm = async |payload: ConfirmOrderPayload| -> Result<Confirmed, Status> {
        let key = Some(key(saga, CONFIRM, &payload));
        let request = ConfirmOrderRequest { key, payload: Some(payload) };
        Ok(desk.actions().confirm_order(request).await?.into_inner().outcome.unwrap())
    };
    let refused = refusal(confirm(ConfirmOrderPayload { paid_won: 17_999, ..placement(1) }).await);
    assert_eq!((refused.reason, &*refused.metadata["field"]), (Reason::InvalidField, "paid_won"));
    let confirmed = confirm(placement(1)).await.unwrap();
    let order = desk.get(1, USER).await.unwrap();
    assert_eq!(confirmed, Confirmed::Done(ConfirmOrderReply { order: Some(order) }));
    assert_eq!(confirm(placement(1)).await.unwrap(), confirmed);

    let saga = Uuid::now_v7();
    let begin = async |order_id: i64| -> Begun {
        let payload = BeginCancelPayload { order_id, user_id: USER };
        let key = Some(key(saga, BEGIN, &payload));
        let request = BeginCancelRequest { key, payload: Some(payload) };
        desk.actions().begin_cancel(request).await.unwrap().into_inner().outcome.unwrap()
    };
    let rejected = begin(2).await;
    let Begun::Rejected(rejection) = &rejected else { panic!("not rejected: {rejected:?}") };
    assert_eq!((&*rejection.reason, &*rejection.metadata["order_id"]), ("ORDER_NOT_FOUND", "2"));
    desk.place(&placement(2)).await;
    assert_eq!(begin(2).await, rejected);
}
