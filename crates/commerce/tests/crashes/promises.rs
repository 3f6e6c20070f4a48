//! What clients may rely on: everything in flight ends by itself; what was told to have succeeded exists; what was told to
//! have failed left nothing; what was told to be running ends; what was told nothing is resolved by its request id.

use crate::apart::Apart;
use crate::crowd::{Answer, Ask, Asked, Told};
use crate::journal;
use api::checkout::v1::get_checkout_request::Key;
use api::checkout::v1::{
    Checkout, CheckoutKind, CheckoutState, GetCheckoutRequest, PlacedOrder, RequestKey,
};
use api::{Reason, Refusal};
use commerce::clients::{Clients, patiently};
use futures_util::stream::{self, StreamExt};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Code, Response, Status};
use uuid::Uuid;

/// How long sagas in flight may take to end: another replica's are taken over after 5 s, strays of its own after 60.
const PATIENCE: Duration = Duration::from_mins(3);
const LOOK: Duration = Duration::from_millis(50);
/// How long one call waits.
const CALL: Duration = Duration::from_secs(20);
/// Clients who ask again at once.
const AT_ONCE: usize = 64;

/// What clients had been told, by count.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) succeeded: usize,
    pub(crate) failed: usize,
    pub(crate) running: usize,
    pub(crate) nothing: usize,
    /// How long it took from the last call to the end of the last saga.
    pub(crate) ended_in: Duration,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { succeeded, failed, running, nothing, ended_in } = self;
        write!(
            f,
            "told: {succeeded} succeeded, {failed} failed, {running} running, {nothing} nothing; \
             ended after {ended_in:.1?}"
        )
    }
}

/// The checkouts and cancels so far that ended well.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    placed: BTreeSet<Uuid>,
    cancelled: BTreeSet<Uuid>,
}

impl Promises {
    /// Waits until everything ended, and holds what was told against what there is.
    pub(crate) async fn kept(&mut self, shop: &Apart, asked: Vec<Asked>) -> Tally {
        let since = Instant::now();
        ended(shop).await;
        let mut tally = Tally { ended_in: since.elapsed(), ..Tally::default() };
        let clients = shop.clients();
        for asked in &asked {
            *match asked.told {
                Told::Succeeded { .. } => &mut tally.succeeded,
                Told::Failed(_) => &mut tally.failed,
                Told::Running { .. } => &mut tally.running,
                Told::Nothing => &mut tally.nothing,
            } += 1;
        }
        let ends: Vec<Checkout> = stream::iter(asked)
            .map(|asked| kept(&clients, asked))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for end in ends.iter().filter(|end| end.state() == CheckoutState::Succeeded) {
            let ended_well = match end.kind() {
                CheckoutKind::CancelOrder => &mut self.cancelled,
                _ => &mut self.placed,
            };
            ended_well.insert(Uuid::parse_str(&end.checkout_id).unwrap());
        }
        // What was resolved just now has its answer, and perhaps not its end.
        ended(shop).await;
        self.assert_nothing_else_is_left(shop).await;
        let report = audit::run(&shop.targets()).await.unwrap();
        assert!(report.is_clean(), "{report}");
        tally
    }

    /// Orders, money and stock were moved by the sagas that succeeded, each once, and by no other.
    async fn assert_nothing_else_is_left(&self, shop: &Apart) {
        let server = shop.server_url();
        let moved = self.placed.union(&self.cancelled).copied().collect();
        for (what, sql, expected) in [
            ("orders", "SELECT saga_id AS id FROM orders_.orders", &self.placed),
            (
                "cancelled orders",
                "SELECT cancel_saga_id AS id FROM orders_.orders WHERE state = 3",
                &self.cancelled,
            ),
            (
                "money",
                "SELECT saga_id AS id FROM wallet.ledger WHERE saga_id IS NOT NULL \
                 GROUP BY saga_id HAVING SUM(amount) <> 0",
                &moved,
            ),
            (
                "stock",
                "SELECT saga_id AS id FROM product.stock_movement WHERE saga_id IS NOT NULL \
                 GROUP BY saga_id HAVING SUM(delta) <> 0",
                &moved,
            ),
        ] {
            let left = journal::ids(&server, sql).await;
            let differ: Vec<_> = left.symmetric_difference(expected).collect();
            assert!(differ.is_empty(), "{what} and what succeeded differ: {differ:?}");
        }
        for (what, count) in [
            (
                "orders paid other than once, or refunded other than as they should be",
                "SELECT COUNT(*) AS count FROM orders_.orders o
                 JOIN (SELECT order_id, SUM(amount) AS paid FROM wallet.ledger GROUP BY order_id) l
                   ON l.order_id = o.id
                 WHERE l.paid <> IF(o.state = 3, 0, -o.paid)",
            ),
            (
                "cancelled orders whose stock is not all back, or more than that",
                "SELECT COUNT(*) AS count FROM orders_.orders o
                 JOIN (SELECT order_id, SUM(delta) AS units FROM product.stock_movement
                       GROUP BY order_id) m ON m.order_id = o.id
                 WHERE o.state = 3 AND m.units <> 0",
            ),
            (
                "orders that stand and do not hold their coupon",
                "SELECT COUNT(*) AS count FROM orders_.orders o
                 LEFT JOIN coupon.issued_coupon i ON i.order_id = o.id
                 WHERE o.state = 1 AND (i.id IS NULL) <> (o.coupon_id IS NULL)",
            ),
            (
                "coupons held by no order that stands",
                "SELECT COUNT(*) AS count FROM coupon.issued_coupon i
                 LEFT JOIN orders_.orders o ON o.id = i.order_id AND o.state = 1
                 WHERE i.order_id IS NOT NULL AND o.id IS NULL",
            ),
        ] {
            assert_eq!(journal::number(&server, count).await, 0, "{what}");
        }
    }
}

/// Waits until no saga is left, in whichever state.
pub(crate) async fn ended(shop: &Apart) {
    let give_up = Instant::now() + PATIENCE;
    let server = shop.server_url();
    while journal::number(&server, "SELECT COUNT(*) AS count FROM orchestrator.saga").await > 0 {
        if Instant::now() > give_up {
            let left = journal::look(&server).await;
            panic!("not ended: {left:#?}\n{}", shop.logs());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// One client's promise. Returns how its order ended.
async fn kept(clients: &Clients, asked: Asked) -> Checkout {
    let Asked { ask, told } = asked;
    let found = checkout(clients, &ask).await;
    if told == Told::Nothing {
        return resolved(clients, &ask, found).await;
    }
    let end = found.unwrap_or_else(|| panic!("{told:?}, and there is no such checkout: {ask:?}"));
    match &told {
        Told::Succeeded { checkout, order } => {
            assert_eq!(*checkout, end.checkout_id);
            assert_eq!(end.order.as_ref(), Some(order), "told succeeded: {end:?}");
        }
        Told::Failed(refusal) => {
            assert_eq!(end.state(), CheckoutState::Failed, "told {refusal:?}: {end:?}");
            assert_eq!(end.failure.as_ref().unwrap().reason, refusal.reason.as_str());
            assert_eq!(refusal.metadata["checkout_id"], end.checkout_id);
        }
        Told::Running { checkout } => assert_eq!(*checkout, end.checkout_id),
        Told::Nothing => unreachable!("resolved above"),
    }
    assert_ne!(end.state(), CheckoutState::Running, "told {told:?}");
    end
}

/// Asks again with the same request id: the answer is what was there, if there was anything.
async fn resolved(clients: &Clients, ask: &Ask, found: Option<Checkout>) -> Checkout {
    let answer = decided(clients, ask).await;
    let end = checkout(clients, ask).await.expect("what was answered is known");
    match &answer {
        Ok(order) => assert_eq!(end.order.as_ref(), Some(order)),
        Err(refusal) => {
            assert_eq!(end.failure.as_ref().unwrap().reason, refusal.reason.as_str());
        }
    }
    if let Some(found) = found {
        assert_ne!(found.state(), CheckoutState::Running, "it had ended: {found:?}");
        let same = |checkout: &Checkout| {
            (checkout.checkout_id.clone(), checkout.order.clone(), checkout.failure.clone())
        };
        assert_eq!(same(&found), same(&end));
    }
    end
}

/// How what was asked for stands, if there is a saga for it.
async fn checkout(clients: &Clients, ask: &Ask) -> Option<Checkout> {
    let (user_id, request_id) = (ask.user_id(), ask.request_id().to_string());
    let get = GetCheckoutRequest { key: Some(Key::Request(RequestKey { user_id, request_id })) };
    let answer =
        patiently(PATIENCE, async || clients.checkout.clone().get_checkout(get.clone()).await);
    match answer.await {
        Ok(answer) => Some(answer.into_inner().checkout.unwrap()),
        Err(status) => {
            assert_eq!(reason(&status).reason, Reason::CheckoutNotFound, "{status:?}");
            None
        }
    }
}

/// Asks until it is decided.
async fn decided(clients: &Clients, ask: &Ask) -> Result<PlacedOrder, Refusal> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let answer = patiently(PATIENCE, async || ask.send(clients, CALL).await.map(Response::new));
        let Answer { state, order, .. } =
            answer.await.map_err(|status| reason(&status))?.into_inner();
        if let (CheckoutState::Succeeded, Some(order)) = (state, order) {
            return Ok(order);
        }
        assert!(Instant::now() < give_up, "not decided: {ask:?}");
        tokio::time::sleep(LOOK).await;
    }
}

fn reason(status: &Status) -> Refusal {
    let refusal = Refusal::from_status(status);
    let refusal = refusal.unwrap_or_else(|| panic!("not an answer of the shop: {status:?}"));
    assert_ne!(status.code(), Code::Internal, "{status:?}");
    refusal
}
