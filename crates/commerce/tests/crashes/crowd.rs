//! Clients that place orders all the time, each order once, and note what they were told.

use crate::goods::{Goods, NO_PRODUCT};
use api::checkout::v1::{CheckoutLine, CheckoutState, PlaceOrderRequest, PlacedOrder};
use api::{Reason, Refusal};
use commerce::clients::Clients;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tonic::{Request, Status};
use uuid::Uuid;

/// Orders at once.
const CLIENTS: u64 = 256;
/// How long a client waits for its answer; some are in a hurry, and hear of an order that is still running.
const DEADLINE: Duration = Duration::from_secs(5);
const HURRY: Duration = Duration::from_millis(250);
/// What a client does where nobody is.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a crowd may take to be told something.
const PATIENCE: Duration = Duration::from_mins(2);

/// What a client was told of its order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    Succeeded {
        checkout: String,
        order: PlacedOrder,
    },
    Failed(Refusal),
    Running {
        checkout: String,
    },
    /// Nothing that can be relied on, so: ask again.
    Nothing,
}

/// An order that was asked for, and the answer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: PlaceOrderRequest,
    pub(crate) told: Told,
}

/// A call, answered or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) has_coupon: bool,
    pub(crate) is_open: bool,
}

/// The clients.
pub(crate) struct Crowd {
    noted: Arc<Noted>,
    clients: JoinSet<Vec<Asked>>,
}

#[derive(Default)]
struct Noted {
    calls: Mutex<HashMap<Uuid, Call>>,
    answered: AtomicUsize,
    one_more: Notify,
    is_over: AtomicBool,
}

impl Crowd {
    pub(crate) fn gather(clients: Clients, goods: &Goods, seed: u64) -> Self {
        let noted = Arc::<Noted>::default();
        let goods = Arc::new(goods.clone());
        let mut crowd = JoinSet::new();
        for number in 0..CLIENTS {
            let random = StdRng::seed_from_u64(seed.wrapping_add(number));
            let (clients, goods, noted) = (clients.clone(), Arc::clone(&goods), Arc::clone(&noted));
            crowd.spawn(async move { client(clients, &goods, &noted, random).await });
        }
        Self { noted, clients: crowd }
    }

    /// Waits until so many more orders were answered with an outcome.
    pub(crate) async fn answered(&self, more: usize) {
        let target = self.noted.answered.load(Ordering::Relaxed) + more;
        let reached = async {
            while self.noted.answered.load(Ordering::Relaxed) < target {
                self.noted.one_more.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("orders are answered");
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> HashMap<Uuid, Call> {
        self.noted.calls.lock().unwrap().clone()
    }

    /// No more orders; what was asked, and what was told.
    pub(crate) async fn dismiss(self) -> Vec<Asked> {
        self.noted.is_over.store(true, Ordering::Relaxed);
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

async fn client(clients: Clients, goods: &Goods, noted: &Noted, mut random: StdRng) -> Vec<Asked> {
    let mut all = Vec::new();
    while !noted.is_over.load(Ordering::Relaxed) {
        let request = order(goods, &mut random);
        let id = Uuid::parse_str(&request.request_id).unwrap();
        let has_coupon = request.coupon_id.is_some();
        noted.calls.lock().unwrap().insert(id, Call { has_coupon, is_open: true });
        let mut call = Request::new(request.clone());
        call.set_timeout(if random.random_ratio(1, 5) { HURRY } else { DEADLINE });
        let told = match clients.checkout.clone().place_order(call).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                let checkout = answer.checkout_id.clone();
                match (answer.state(), answer.order) {
                    (CheckoutState::Succeeded, Some(order)) => Told::Succeeded { checkout, order },
                    (CheckoutState::Running, None) => Told::Running { checkout },
                    (state, order) => panic!("told {state:?} with {order:?}"),
                }
            }
            Err(status) => refused(&status),
        };
        noted.calls.lock().unwrap().insert(id, Call { has_coupon, is_open: false });
        if told == Told::Nothing {
            tokio::time::sleep(PAUSE).await;
        } else {
            noted.answered.fetch_add(1, Ordering::Relaxed);
            noted.one_more.notify_waiters();
            noted.one_more.notify_one();
        }
        all.push(Asked { request, told });
    }
    all
}

/// A decided failure, or an error after which the contract says to ask again.
fn refused(status: &Status) -> Told {
    match Refusal::from_status(status) {
        Some(refusal) => match refusal.reason {
            Reason::Overloaded
            | Reason::Unavailable
            | Reason::DeadlineExceeded
            | Reason::Cancelled => Told::Nothing,
            Reason::Internal => panic!("an internal error: {status:?}"),
            _ => Told::Failed(refusal),
        },
        None => Told::Nothing,
    }
}

/// Half of the orders must fail: for what is missing, for what is short, or for money, with stock and coupon to undo.
fn order(goods: &Goods, random: &mut StdRng) -> PlaceOrderRequest {
    let rich = *goods.rich.choose(random).unwrap();
    let poor = *goods.poor.choose(random).unwrap();
    let some = |product_id: &i64| CheckoutLine { product_id: *product_id, quantity: 1 };
    let count = random.random_range(1..=3);
    let mut lines: Vec<_> = goods.products.choose_multiple(random, count).map(some).collect();
    let (user_id, coupon_id) = match random.random_range(0..100) {
        0..35 => (rich, None),
        35..50 => (rich, Some(goods.for_rich)),
        50..85 => (poor, Some(goods.for_poor)),
        85..92 => {
            lines.push(some(&NO_PRODUCT));
            (rich, None)
        }
        _ => {
            lines.push(CheckoutLine { product_id: goods.scarce, quantity: 9 });
            (rich, None)
        }
    };
    let request_id = Uuid::from_u128(random.random()).to_string();
    PlaceOrderRequest { request_id, user_id, lines, coupon_id, expected_total: None }
}
