//! Customers who order and cancel all the time, and repeat each request until it is decided.

use api::checkout::v1::{CancelOrderRequest, CheckoutLine, CheckoutState, PlaceOrderRequest};
use api::product::v1::CreateProductRequest;
use api::wallet::v1::{ChargeWalletRequest, CreateWalletRequest, GetWalletRequest};
use api::{Reason, Refusal};
use commerce::clients::{Clients, patiently};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::request_id;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Request, Response, Status};

/// Customers in all.
const CUSTOMERS: usize = 8;
/// Won of the product, and that every customer has.
const PRICE: i64 = 2_000;
const MONEY: i64 = 1_000_000_000;
const STOCK: i32 = 1_000_000;
/// Of every so many orders one is for more than there is, and of every so many placed ones one is cancelled.
const TOO_MUCH_EVERY: usize = 7;
const CANCEL_EVERY: usize = 3;
/// How long a customer waits for an answer, and before the next request.
const DEADLINE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
/// How long a request may take to be decided.
const PATIENCE: Duration = Duration::from_mins(3);
const LOOK: Duration = Duration::from_millis(20);

/// What customers were told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Their orders, and whether each was cancelled.
    pub(crate) orders: BTreeMap<i64, bool>,
    /// The checkouts that failed.
    pub(crate) failed: Vec<String>,
}

/// The customers.
pub(crate) struct Customers {
    noted: Arc<Noted>,
    customers: JoinSet<Told>,
}

#[derive(Default)]
struct Noted {
    is_over: AtomicBool,
    /// By customer: when an order of theirs was placed last.
    placed: Mutex<Vec<Option<Instant>>>,
    count: AtomicUsize,
    /// Answers that nobody may ever get.
    wrong: Mutex<Vec<String>>,
}

struct Customer {
    number: usize,
    user_id: i64,
    product_id: i64,
    /// A product with one unit in stock.
    scarce_id: i64,
    /// Won that the wallet must have, by what was told.
    balance: i64,
    clients: Clients,
    noted: Arc<Noted>,
    told: Told,
}

impl Customers {
    /// Gives everybody a wallet, and lets them in: each asks one replica.
    pub(crate) async fn gather(replicas: &[Clients]) -> Self {
        let noted =
            Arc::new(Noted { placed: Mutex::new(vec![None; CUSTOMERS]), ..Noted::default() });
        let product_id = product(&replicas[0], STOCK).await;
        let scarce_id = product(&replicas[0], 1).await;
        let mut customers = JoinSet::new();
        for (number, clients) in replicas.iter().cycle().take(CUSTOMERS).enumerate() {
            let user_id = i64::try_from(number).unwrap() + 1;
            wallet(clients, user_id).await;
            let customer = Customer {
                number,
                user_id,
                product_id,
                scarce_id,
                balance: MONEY,
                clients: clients.clone(),
                noted: Arc::clone(&noted),
                told: Told::default(),
            };
            customers.spawn(customer.shop());
        }
        Self { noted, customers }
    }

    /// Orders placed so far.
    pub(crate) fn count(&self) -> usize {
        self.noted.count.load(Ordering::SeqCst)
    }

    /// Waits until everybody was told of an order of theirs after this instant: when the first was told, and the last.
    ///
    /// # Errors
    /// How many were told, when it takes longer than `bound`.
    pub(crate) async fn all_placed_since(
        &self,
        since: Instant,
        bound: Duration,
    ) -> Result<(Duration, Duration), usize> {
        let mut first = None;
        loop {
            let placed = self.noted.placed.lock().unwrap().clone();
            let after = placed.iter().flatten().filter(|at| **at > since);
            let (count, earliest) = (after.clone().count(), after.min().copied());
            first = first.or(earliest);
            if let (CUSTOMERS, Some(first)) = (count, first) {
                return Ok((first - since, since.elapsed()));
            }
            if since.elapsed() > bound {
                return Err(count);
            }
            sleep(LOOK).await;
        }
    }

    /// No more requests. What was told, in all.
    pub(crate) async fn dismiss(mut self) -> Told {
        self.noted.is_over.store(true, Ordering::SeqCst);
        let mut all = Told::default();
        while let Some(told) = self.customers.join_next().await {
            let told = told.unwrap();
            all.orders.extend(told.orders);
            all.failed.extend(told.failed);
        }
        let wrong = self.noted.wrong.lock().unwrap();
        let first: Vec<_> = wrong.iter().take(5).collect();
        assert!(wrong.is_empty(), "{} wrong answers, such as {first:#?}", wrong.len());
        all
    }
}

impl Customer {
    async fn shop(mut self) -> Told {
        for turn in self.number.. {
            if self.noted.is_over.load(Ordering::SeqCst) {
                break;
            }
            let placed = self.place(turn.is_multiple_of(TOO_MUCH_EVERY)).await;
            if let Some(order_id) = placed.filter(|_| turn.is_multiple_of(CANCEL_EVERY)) {
                self.cancel(order_id).await;
            }
            self.look().await;
            sleep(PAUSE).await;
        }
        self.told
    }

    /// Places an order; its id, unless it failed.
    async fn place(&mut self, too_much: bool) -> Option<i64> {
        let (product_id, quantity) =
            if too_much { (self.scarce_id, 2) } else { (self.product_id, 1) };
        let request = PlaceOrderRequest {
            request_id: request_id(),
            user_id: self.user_id,
            lines: vec![CheckoutLine { product_id, quantity }],
            ..PlaceOrderRequest::default()
        };
        let asking = self.decided("an order", || {
            let (mut checkout, call) = (self.clients.checkout.clone(), in_time(&request));
            async move {
                let told = checkout.place_order(call).await?.into_inner();
                Ok((told.state() == CheckoutState::Succeeded).then_some(told.order).flatten())
            }
        });
        match asking.await {
            Ok(order) => {
                self.balance -= order.paid_won;
                self.told.orders.insert(order.order_id, false);
                self.noted.placed.lock().unwrap()[self.number] = Some(Instant::now());
                self.noted.count.fetch_add(1, Ordering::SeqCst);
                Some(order.order_id)
            }
            Err(refusal) => {
                if !too_much || refusal.reason != Reason::InsufficientStock {
                    self.noted.wrong(format!("an order was refused: {refusal:?}"));
                }
                self.told.failed.extend(refusal.metadata.get("checkout_id").cloned());
                None
            }
        }
    }

    async fn cancel(&mut self, order_id: i64) {
        let user_id = self.user_id;
        let request = CancelOrderRequest { request_id: request_id(), user_id, order_id };
        let asking = self.decided("a cancel", || {
            let (mut checkout, call) = (self.clients.checkout.clone(), in_time(&request));
            async move {
                let told = checkout.cancel_order(call).await?.into_inner();
                Ok((told.state() == CheckoutState::Succeeded).then_some(told.order).flatten())
            }
        });
        match asking.await {
            Ok(order) => {
                self.balance += order.paid_won;
                self.told.orders.insert(order_id, true);
            }
            Err(refusal) => self.noted.wrong(format!("a cancel was refused: {refusal:?}")),
        }
    }

    /// Looks at the wallet: what was told to have happened has happened.
    async fn look(&self) {
        let request = GetWalletRequest { user_id: self.user_id };
        let asking = self.decided("a wallet", || {
            let (mut wallets, call) = (self.clients.wallets.clone(), in_time(&request));
            async move { Ok(wallets.get_wallet(call).await?.into_inner().wallet) }
        });
        match asking.await {
            Ok(wallet) if (wallet.user_id, wallet.balance_won) == (self.user_id, self.balance) => {}
            other => {
                let (user_id, balance) = (self.user_id, self.balance);
                self.noted.wrong(format!("user {user_id} with {balance} won: {other:?}"));
            }
        }
    }

    /// Asks until there is an answer to rely on.
    async fn decided<T, F>(&self, what: &str, ask: impl Fn() -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<Option<T>, Status>>,
    {
        let give_up = Instant::now() + PATIENCE;
        loop {
            // The deadline that the call carries is the server's; this one is for a server that does not answer at all.
            let answer = timeout_at(Instant::now() + 2 * DEADLINE, ask()).await;
            let status = match answer {
                Ok(Ok(Some(told))) => return Ok(told),
                Ok(Ok(None)) | Err(_) => None,
                Ok(Err(status)) => Some(status),
            };
            if let Some(status) = &status
                && let Some(refusal) = self.refusal(status)
            {
                return Err(refusal);
            }
            assert!(Instant::now() < give_up, "{what} is not decided: {status:?}");
            sleep(PAUSE).await;
        }
    }

    /// A decided refusal, or `None` for an error after which the contract says to ask again.
    fn refusal(&self, status: &Status) -> Option<Refusal> {
        let Some(refusal) = Refusal::from_status(status) else {
            if !matches!(
                status.code(),
                Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded
            ) {
                self.noted.wrong(format!("{status:?}"));
            }
            return None;
        };
        match refusal.reason {
            Reason::Overloaded
            | Reason::Unavailable
            | Reason::DeadlineExceeded
            | Reason::Cancelled => None,
            Reason::Internal => {
                self.noted.wrong(format!("{status:?}"));
                None
            }
            _ => Some(refusal),
        }
    }
}

impl Noted {
    fn wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }
}

fn in_time<T: Clone>(request: &T) -> Request<T> {
    let mut request = Request::new(request.clone());
    request.set_timeout(DEADLINE);
    request
}

async fn product(clients: &Clients, stock: i32) -> i64 {
    let name = "a product".to_owned();
    let request = CreateProductRequest { request_id: request_id(), name, price_won: PRICE, stock };
    let made =
        made(async || clients.product_admin.clone().create_product(request.clone()).await).await;
    made.product.unwrap().product_id
}

async fn wallet(clients: &Clients, user_id: i64) {
    let create = CreateWalletRequest { request_id: request_id(), user_id };
    made(async || clients.wallets.clone().create_wallet(create.clone()).await).await;
    let charge = ChargeWalletRequest { request_id: request_id(), user_id, amount_won: MONEY };
    made(async || clients.wallets.clone().charge_wallet(charge.clone()).await).await;
}

async fn made<T>(call: impl AsyncFnMut() -> Result<Response<T>, Status>) -> T {
    patiently(PATIENCE, call).await.unwrap().into_inner()
}
