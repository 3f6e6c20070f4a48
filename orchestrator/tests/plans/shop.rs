//! The participants, in process on a database each, and what a saga needs to find there.

use crate::node::{Ask, Node, Told, far};
use crate::scenarios::{Case, Scenario, Spoil, cases};
use crate::snapshot::Snapshot;
use crate::wire::{Delivered, Fault, Packet, Wire};
use api::checkout::v1::{CancelOrderRequest, CheckoutLine, CheckoutState, PlaceOrderRequest};
use api::coupon::v1::coupon_admin_service_client::CouponAdminServiceClient;
use api::coupon::v1::coupon_service_client::CouponServiceClient;
use api::coupon::v1::create_coupon_request::Discount;
use api::coupon::v1::{CancelPolicy, CreateCouponRequest, IssueCouponRequest, PercentDiscount};
use api::product::v1::CreateProductRequest;
use api::product::v1::product_admin_service_client::ProductAdminServiceClient;
use api::wallet::v1::wallet_service_client::WalletServiceClient;
use api::wallet::v1::{ChargeWalletRequest, CreateWalletRequest};
use db::{Conn, Db, Session};
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use migrations::Schema;
use orchestrator::kind::CHECKOUT;
use participant::{ActionServer, SagaParticipants, Steps};
use platform::{Chassis, Limits, Services, Transport};
use saga::runtime::Options;
use saga::transport::Remote;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use testkit::request_id;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;
use tonic::Code;

/// An id that nothing has.
const NOBODYS: i64 = 9_000_000_000_000_000;

/// Longer than any test takes: nothing ends because the machine is slow.
const AGES: Duration = Duration::from_mins(10);

/// Steps that the participants' process runs at once.
const MAX_CALLS: usize = 1_000;

/// A patient engine.
pub(crate) fn patient() -> Options {
    Options { deadline: AGES, ..Options::default() }
}

/// An engine that asks each call once.
pub(crate) fn one_attempt() -> Options {
    Options { attempt: AGES, ..patient() }
}

/// Lanes that turn nobody away.
pub(crate) fn lanes() -> lane::Options {
    lane::Options { max_wait: AGES, ..lane::Options::default() }
}

/// A database that makes nobody wait in vain.
pub(crate) async fn open(url: String) -> Db {
    let options = db::Options { acquire_timeout: AGES, ..db::Options::new(url) };
    Db::open(options).await.unwrap()
}

async fn database(schema: Schema) -> Db {
    open(testkit::database(schema).await.1).await
}

/// The participants behind their wire.
pub(crate) struct Shop {
    pub(crate) product: Db,
    pub(crate) coupon: Db,
    pub(crate) wallet: Db,
    pub(crate) order: Db,
    pub(crate) wire: Wire,
    /// Behind the wire.
    participants: Vec<Arc<dyn Steps>>,
    /// The same, as a process of their own serves them.
    pub(crate) served: Transport,
    journal: String,
    db: Db,
    coupons: CouponServiceClient<Transport>,
    product_admin: ProductAdminServiceClient<Transport>,
    coupon_admin: CouponAdminServiceClient<Transport>,
    wallets: WalletServiceClient<Transport>,
    next_user: AtomicI64,
}

/// One user with what one saga needs, and the request that begins it.
#[derive(Debug, Clone)]
pub(crate) struct World {
    /// The saga's trace id.
    pub(crate) trace: String,
    pub(crate) user: i64,
    /// In the order of the request's lines.
    pub(crate) products: Vec<i64>,
    pub(crate) ask: Ask,
}

impl Shop {
    /// Fresh participants.
    pub(crate) async fn start() -> Self {
        let product = database(Schema::Product).await;
        let coupon = database(Schema::Coupon).await;
        let wallet = database(Schema::Wallet).await;
        let order = database(Schema::Order).await;
        let (db, journal) = testkit::database(Schema::Orchestrator).await;

        let tasks = TaskTracker::new();
        let chassis = Chassis::new(Limits::default(), tasks.clone());
        let options = participant::Options { lane: lanes(), ..participant::Options::default() };
        let products = product::Product::start(product.clone(), options, &tasks);
        let wallets = wallet::Wallet::start(wallet.clone(), options, &tasks);
        let orders = order::Order::start(order.clone(), options, &tasks);
        let users =
            platform::transport::local(Services::default().with(wallets.public()), &chassis);
        let users = WalletServiceClient::new(users);
        // No Redis: nothing of this rests on it.
        let notices = coupon::Notices::open("redis://127.0.0.1:1", "none").unwrap();
        let coupons = coupon::Coupon::start(coupon.clone(), options, users, notices, &tasks);

        let public = Services::default().with(coupons.public()).with(wallets.public());
        let public = platform::transport::local(public, &chassis);
        let admin = Services::default().with(products.admin()).with(coupons.admin());
        let admin = platform::transport::local(admin, &chassis);
        let wire = Wire::new(Handle::current());
        let [products, coupons, wallets, orders] =
            [products.steps(), coupons.steps(), wallets.steps(), orders.steps()]
                .map(|steps| wire.steps(steps));
        let participants = vec![
            Arc::clone(&products),
            Arc::clone(&coupons),
            Arc::clone(&wallets),
            Arc::clone(&orders),
        ];
        let all = SagaParticipants::new(participants.iter().cloned(), MAX_CALLS, tasks.clone());
        let served = Services::default()
            .with(all.server())
            .with(ActionServer::<product::Product>::new(products))
            .with(ActionServer::<coupon::Coupon>::new(coupons))
            .with(ActionServer::<wallet::Wallet>::new(wallets))
            .with(ActionServer::<order::Order>::new(orders));
        let served = platform::transport::local(served, &chassis);
        Self {
            product,
            coupon,
            wallet,
            order,
            wire,
            participants,
            served: far(served, Handle::current()),
            journal,
            db,
            coupons: CouponServiceClient::new(public.clone()),
            wallets: WalletServiceClient::new(public),
            product_admin: ProductAdminServiceClient::new(admin.clone()),
            coupon_admin: CouponAdminServiceClient::new(admin),
            next_user: AtomicI64::new(1),
        }
    }

    /// A replica of the orchestrator on the shop's journal.
    pub(crate) async fn node(&self, options: Options) -> Node {
        Node::start(self.journal.clone(), self.participants.clone(), options).await
    }

    /// A replica of the orchestrator at the end of a wire of its own, behind which is everybody's.
    pub(crate) async fn node_behind(&self, wire: &Wire, options: Options) -> Node {
        let participants = self.participants.iter().map(|steps| wire.steps(Arc::clone(steps)));
        Node::start(self.journal.clone(), participants.collect(), options).await
    }

    /// A replica of the orchestrator that calls the participants over a connection.
    pub(crate) async fn node_over(&self, connection: Transport, options: Options) -> Node {
        let remote = |steps: &Arc<dyn Steps>| -> Arc<dyn Steps> {
            Arc::new(Remote::new(steps.name(), connection.clone()))
        };
        let participants = self.participants.iter().map(remote).collect();
        Node::start(self.journal.clone(), participants, options).await
    }

    /// Keeps the journal from taking any END: it has no place for one.
    pub(crate) async fn withhold_ends(&self) {
        self.in_journal("RENAME TABLE saga_history TO elsewhere").await;
    }

    /// Runs a statement in the journal.
    pub(crate) async fn in_journal(&self, sql: &str) {
        let sql = sql.to_owned();
        let done = self.db.read(async move |conn: &mut Conn| -> db::Result<()> {
            Ok(conn.batch_execute(&sql).await?)
        });
        done.await.unwrap();
    }

    /// Somebody else's session that has just claimed the place of a request in the journal.
    pub(crate) async fn hold_request(&self, ask: &Ask) -> Session {
        let (id, user) = (ask.request_id().replace('-', ""), ask.user_id());
        let method = if matches!(ask, Ask::Place(_)) { 1 } else { 2 };
        self.hold(&format!(
            "INSERT INTO request (request_id, subject, method, request_hash, saga_id, created_at) \
            VALUES (X'{id}', '{user}', {method}, X'0000000000000000', X'{id}', NOW(6))"
        ))
        .await
    }

    /// Somebody else's session that has locked the row of a saga.
    pub(crate) async fn hold_saga(&self, saga: &str) -> Session {
        let id = saga.replace('-', "");
        self.hold(&format!("UPDATE saga SET weight = weight WHERE saga_id = X'{id}'")).await
    }

    async fn hold(&self, sql: &str) -> Session {
        let mut session = self.db.session().await.unwrap();
        session.conn().batch_execute(sql).await.unwrap();
        session
    }

    /// The rows of a table of the journal.
    pub(crate) async fn journal_rows(&self, table: &str) -> i64 {
        Self::rows(&self.db, table).await
    }

    /// The rows of a table.
    pub(crate) async fn rows(db: &Db, table: &str) -> i64 {
        #[derive(QueryableByName)]
        struct Count {
            #[diesel(sql_type = BigInt)]
            count: i64,
        }
        let sql = format!("SELECT COUNT(*) AS count FROM {table}");
        let count = db.read(async move |conn: &mut Conn| -> db::Result<Count> {
            Ok(sql_query(sql).get_result(conn).await?)
        });
        count.await.unwrap().count
    }

    /// Changes what a database has.
    pub(crate) async fn execute(db: &Db, sql: &str) {
        let done = db.read(async |conn: &mut Conn| -> db::Result<()> {
            sql_query(sql).execute(conn).await?;
            Ok(())
        });
        done.await.unwrap();
    }

    /// What a participant has.
    pub(crate) fn database(&self, participant: &str) -> &Db {
        match participant {
            "product" => &self.product,
            "coupon" => &self.coupon,
            "wallet" => &self.wallet,
            "order" => &self.order,
            other => panic!("there is no {other}"),
        }
    }

    /// The journal and every participant.
    pub(crate) fn schemas(&self) -> [&Db; 5] {
        [&self.db, &self.product, &self.coupon, &self.wallet, &self.order]
    }

    /// The counter of the replica that began last.
    pub(crate) async fn newest_beat(&self) -> i64 {
        #[derive(QueryableByName)]
        struct Heartbeat {
            #[diesel(sql_type = BigInt)]
            beat: i64,
        }
        const NEWEST: &str = "SELECT beat FROM heartbeat ORDER BY started_at DESC LIMIT 1";
        let newest = self.db.read(async |conn: &mut Conn| -> db::Result<Heartbeat> {
            Ok(sql_query(NEWEST).get_result(conn).await?)
        });
        newest.await.unwrap().beat
    }

    /// A fresh user, with all that a saga of this scenario needs to succeed.
    pub(crate) async fn world(&self, node: &Node, scenario: &Scenario) -> World {
        let user = self.user().await;
        let products = vec![self.product(1_000, 10).await, self.product(700, 5).await];
        let coupon_id = if scenario.coupon { Some(self.issued(user).await) } else { None };
        let lines = [(products[0], 2), (products[1], 1)];
        let place = place(user, &lines, coupon_id);
        let ask = if scenario.plan.kind == CHECKOUT {
            Ask::Place(place)
        } else {
            let placed = node.ask(&trace(), Ask::Place(place)).await.unwrap();
            Ask::Cancel(cancel(user, placed.order.unwrap().order_id))
        };
        World { trace: trace(), user, products, ask }
    }

    /// A world in which a step refuses.
    pub(crate) async fn spoiled(&self, node: &Node, scenario: &Scenario, spoil: Spoil) -> World {
        let mut world = self.world(node, scenario).await;
        match &mut world.ask {
            Ask::Place(place) => match spoil {
                Spoil::MissingProduct => place.lines.push(line(NOBODYS, 1)),
                Spoil::ShortStock => place.lines[0].quantity = 11,
                Spoil::PriceChanged => place.expected_total_won = Some(2_701),
                Spoil::UnknownCoupon => place.coupon_id = Some(NOBODYS),
                Spoil::CouponNotIssued => place.coupon_id = Some(self.campaign().await),
                Spoil::CouponUsed => {
                    let first = PlaceOrderRequest { request_id: request_id(), ..place.clone() };
                    node.ask(&trace(), Ask::Place(first)).await.unwrap();
                }
                Spoil::NoWallet => place.user_id = self.nobody(),
                Spoil::PoorWallet => {
                    let dear = self.product(1_000_000, 10).await;
                    place.lines.push(line(dear, 1));
                    world.products.push(dear);
                }
                other => panic!("{other:?} spoils no order"),
            },
            Ask::Cancel(cancel) => match spoil {
                Spoil::UnknownOrder => cancel.order_id = NOBODYS,
                Spoil::ForeignOrder => cancel.user_id = self.user().await,
                Spoil::CancelledOrder => {
                    let first = CancelOrderRequest { request_id: request_id(), ..cancel.clone() };
                    node.ask(&trace(), Ask::Cancel(first)).await.unwrap();
                }
                other => panic!("{other:?} spoils no cancel"),
            },
        }
        world
    }

    /// What a world looks like after its saga when nothing goes wrong.
    pub(crate) async fn success(&self, node: &Node, scenario: &Scenario) -> Snapshot {
        let world = self.world(node, scenario).await;
        let told = node.ask(&world.trace, world.ask.clone()).await.unwrap();
        assert_eq!(told.state, CheckoutState::Succeeded);
        self.snapshot(&world).await
    }

    /// The pivot's participant refuses it for good, so that a saga of this world is voided and undone.
    pub(crate) fn doom(&self, world: &World, case: &Case) {
        let refused = Fault::refused(Code::PermissionDenied);
        self.wire.always(&world.trace, &case.pivot().name, refused);
    }

    /// Sends requests that were late.
    pub(crate) async fn deliver_late(&self, world: &World, call: &str) -> Vec<Delivered> {
        let mut all = Vec::new();
        for packet in self.wire.take_kept(&world.trace, call) {
            all.push(self.wire.deliver(packet).await);
        }
        all
    }

    /// Sends two copies of a request at once.
    pub(crate) async fn deliver_twice(&self, packet: &Packet) -> [Delivered; 2] {
        let deliver = || self.wire.deliver(packet.clone());
        let (one, other) = tokio::join!(deliver(), deliver());
        [one, other]
    }

    fn nobody(&self) -> i64 {
        self.next_user.fetch_add(1, Ordering::Relaxed)
    }

    async fn user(&self) -> i64 {
        let user_id = self.nobody();
        let mut wallets = self.wallets.clone();
        let create = CreateWalletRequest { request_id: request_id(), user_id };
        wallets.create_wallet(create).await.unwrap();
        let charge = ChargeWalletRequest { request_id: request_id(), user_id, amount_won: 100_000 };
        wallets.charge_wallet(charge).await.unwrap();
        user_id
    }

    /// A charge that is refused.
    pub(crate) async fn charge_nobody(&self) {
        let user_id = self.nobody();
        let charge = ChargeWalletRequest { request_id: request_id(), user_id, amount_won: 1_000 };
        self.wallets.clone().charge_wallet(charge).await.unwrap_err();
    }

    async fn product(&self, price_won: i64, stock: i32) -> i64 {
        let request = CreateProductRequest {
            request_id: request_id(),
            name: "tea".to_owned(),
            price_won,
            stock,
        };
        let made = self.product_admin.clone().create_product(request).await.unwrap();
        made.into_inner().product.unwrap().product_id
    }

    async fn campaign(&self) -> i64 {
        let percent = PercentDiscount { percent: 10, max_amount_won: None };
        let mut request = CreateCouponRequest {
            request_id: request_id(),
            name: "spring".to_owned(),
            discount: Some(Discount::Percent(percent)),
            quota: 10,
            validity_days: 30,
            ..CreateCouponRequest::default()
        };
        request.set_cancel_policy(CancelPolicy::Restore);
        let made = self.coupon_admin.clone().create_coupon(request).await.unwrap();
        made.into_inner().coupon.unwrap().coupon_id
    }

    async fn issued(&self, user_id: i64) -> i64 {
        let coupon_id = self.campaign().await;
        let request = IssueCouponRequest { request_id: request_id(), user_id, coupon_id };
        self.coupons.clone().issue_coupon(request).await.unwrap();
        coupon_id
    }
}

/// A shop with two replicas of the orchestrator.
pub(crate) struct Stage {
    pub(crate) shop: Shop,
    /// Runs what a test needs to begin with.
    stagehand: Node,
    /// Runs what is tested.
    pub(crate) node: Node,
}

impl Stage {
    pub(crate) async fn start(options: Options) -> Arc<Self> {
        let shop = Shop::start().await;
        let node = shop.node(options).await;
        Self::of(shop, node).await
    }

    /// A shop with this replica for what is tested.
    pub(crate) async fn of(shop: Shop, node: Node) -> Arc<Self> {
        let stagehand = shop.node(patient()).await;
        Arc::new(Self { shop, stagehand, node })
    }

    /// A replica that does not run what is tested.
    pub(crate) fn other(&self) -> &Node {
        &self.stagehand
    }

    /// A fresh world for a case.
    pub(crate) async fn world(&self, case: &Case) -> World {
        self.shop.world(&self.stagehand, case.scenario).await
    }

    /// A world in which the case's step refuses.
    pub(crate) async fn spoiled(&self, case: &Case, spoil: Spoil) -> World {
        self.shop.spoiled(&self.stagehand, case.scenario, spoil).await
    }

    /// What a world of a case looks like after its saga when nothing goes wrong.
    pub(crate) async fn success(&self, case: &Case) -> Snapshot {
        self.shop.success(&self.stagehand, case.scenario).await
    }

    /// Asks for a world's saga.
    pub(crate) async fn ask(&self, world: &World) -> Result<Told, tonic::Status> {
        self.node.ask(&world.trace, world.ask.clone()).await
    }

    /// Runs a test for every step of every scenario of every plan, all at once.
    pub(crate) async fn each_case<F>(self: &Arc<Self>, test: impl Fn(Arc<Self>, Case) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tests = cases(&self.node).into_iter().map(|case| test(Arc::clone(self), case));
        // Panics with the first test that panicked.
        tests.collect::<JoinSet<()>>().join_all().await;
    }
}

/// An `x-trace-id` that no other call has.
pub(crate) fn trace() -> String {
    request_id()
}

fn line(product_id: i64, quantity: i32) -> CheckoutLine {
    CheckoutLine { product_id, quantity }
}

fn place(user_id: i64, lines: &[(i64, i32)], coupon_id: Option<i64>) -> PlaceOrderRequest {
    let lines = lines.iter().map(|&(product_id, quantity)| line(product_id, quantity)).collect();
    PlaceOrderRequest {
        request_id: request_id(),
        user_id,
        lines,
        coupon_id,
        expected_total_won: None,
    }
}

pub(crate) fn cancel(user_id: i64, order_id: i64) -> CancelOrderRequest {
    CancelOrderRequest { request_id: request_id(), user_id, order_id }
}
