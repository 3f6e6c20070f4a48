//! Clients that place orders all the time, cancel some of them, ask each thing once, and note what they were told.

use crate::goods::{Goods, NO_PRODUCT};
use api::checkout::v1::{
    CancelOrderRequest, CheckoutLine, CheckoutState, PlaceOrderRequest, PlacedOrder,
};
use api::{Reason, Refusal};
use commerce::clients::Clients;
use futures_util::future::join_all;
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

/// What a client was told.
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

/// What a client asks for.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Place(PlaceOrderRequest),
    Cancel(CancelOrderRequest),
}

/// An answer that is no error.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) checkout: String,
    pub(crate) state: CheckoutState,
    pub(crate) order: Option<PlacedOrder>,
}

/// What was asked for, and what was told.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) ask: Ask,
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
    pub(crate) fn gather(clients: &Clients, goods: &Goods, seed: u64) -> Self {
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

    /// Waits until so many more calls were answered with something to rely on.
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
        let place = Ask::Place(order(goods, &mut random));
        let placed = asked(&clients, noted, place, patience(&mut random)).await;
        let cancels = match &placed.told {
            Told::Succeeded { order, .. } if random.random_ratio(1, 3) => {
                cancels(placed.ask.user_id(), order.order_id, &mut random)
            }
            _ => Vec::new(),
        };
        all.push(placed);
        let cancels = cancels.into_iter().map(|it| (it, patience(&mut random))).collect::<Vec<_>>();
        let cancels = cancels.into_iter().map(|(it, until)| asked(&clients, noted, it, until));
        all.extend(join_all(cancels).await);
    }
    all
}

fn patience(random: &mut StdRng) -> Duration {
    if random.random_ratio(1, 5) { HURRY } else { DEADLINE }
}

/// Asks once.
async fn asked(clients: &Clients, noted: &Noted, ask: Ask, patience: Duration) -> Asked {
    noted.call(&ask, true);
    let told = match ask.send(clients, patience).await {
        Ok(Answer { checkout, state: CheckoutState::Succeeded, order: Some(order) }) => {
            Told::Succeeded { checkout, order }
        }
        Ok(Answer { checkout, state: CheckoutState::Running, order: None }) => {
            Told::Running { checkout }
        }
        Ok(answer) => panic!("told {answer:?}"),
        Err(status) => refused(&status),
    };
    noted.call(&ask, false);
    if told == Told::Nothing {
        tokio::time::sleep(PAUSE).await;
    } else {
        noted.answered.fetch_add(1, Ordering::Relaxed);
        noted.one_more.notify_one();
    }
    Asked { ask, told }
}

impl Noted {
    fn call(&self, ask: &Ask, is_open: bool) {
        let call = Call { has_coupon: ask.has_coupon(), is_open };
        self.calls.lock().unwrap().insert(ask.request_id(), call);
    }
}

impl Ask {
    pub(crate) fn request_id(&self) -> Uuid {
        let id = match self {
            Self::Place(request) => &request.request_id,
            Self::Cancel(request) => &request.request_id,
        };
        Uuid::parse_str(id).unwrap()
    }

    pub(crate) fn user_id(&self) -> i64 {
        match self {
            Self::Place(request) => request.user_id,
            Self::Cancel(request) => request.user_id,
        }
    }

    fn has_coupon(&self) -> bool {
        matches!(self, Self::Place(request) if request.coupon_id.is_some())
    }

    /// Sends it once, and waits so long.
    pub(crate) async fn send(
        &self,
        clients: &Clients,
        patience: Duration,
    ) -> Result<Answer, Status> {
        let mut checkout = clients.checkout.clone();
        Ok(match self {
            Self::Place(request) => {
                let mut call = Request::new(request.clone());
                call.set_timeout(patience);
                let answer = checkout.place_order(call).await?.into_inner();
                let state = answer.state();
                Answer { checkout: answer.checkout_id, state, order: answer.order }
            }
            Self::Cancel(request) => {
                let mut call = Request::new(request.clone());
                call.set_timeout(patience);
                let answer = checkout.cancel_order(call).await?.into_inner();
                let state = answer.state();
                Answer { checkout: answer.checkout_id, state, order: answer.order }
            }
        })
    }
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
    PlaceOrderRequest { request_id, user_id, lines, coupon_id, expected_total_won: None }
}

/// One or two cancels of an order: of two, one is refused.
fn cancels(user_id: i64, order_id: i64, random: &mut StdRng) -> Vec<Ask> {
    let count = random.random_range(1..=2);
    let cancel = |_| {
        let request_id = Uuid::from_u128(random.random()).to_string();
        Ask::Cancel(CancelOrderRequest { request_id, user_id, order_id })
    };
    (0..count).map(cancel).collect()
}
