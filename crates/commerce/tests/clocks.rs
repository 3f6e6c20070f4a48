//! A replica whose wall clock is wrong, beside one whose clock is right: nothing is lost, refused or done twice by it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use api::checkout::v1::{CheckoutLine, PlaceOrderRequest};
use api::saga::v1::saga_admin_service_client::SagaAdminServiceClient;
use api::saga::v1::{GetSagaRequest, SagaState};
use commerce::config::keys::Key;
use db::Conn;
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use migrations::Schema;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use testkit::{Clock, Shop, place, request_id, until};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};

const PROGRAM: &str = env!("CARGO_BIN_EXE_commerce");
const PATIENCE: Duration = Duration::from_mins(1);
const DAY_MS: i64 = 86_400_000;
/// What a replica says that deletes nothing.
const DELETES_NOTHING: &str = "nothing is deleted";
const PARTICIPANTS: [Schema; 4] = [Schema::Wallet, Schema::Product, Schema::Coupon, Schema::Order];

/// A second replica of every role, in a process of its own, with a clock of its own.
struct Replica {
    process: Child,
    public: Channel,
    admin: Channel,
    log: PathBuf,
    _folder: TempDir,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

fn variables(shop: &Shop, settings: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut set = |key: &str, value: &str| {
        all.push((Key::find(key).unwrap().variable(), value.to_owned()));
    };
    for schema in Schema::ALL {
        set(&format!("database.{}.url", schema.name()), &shop.url(schema));
    }
    set("redis.url", &shop.redis_url());
    for listener in ["public", "participant", "admin"] {
        set(&format!("listen.{listener}"), "127.0.0.1:0");
    }
    for (key, value) in settings {
        set(key, value);
    }
    all
}

impl Replica {
    async fn join(shop: &Shop, clock: &Clock, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut process = Command::new(PROGRAM)
            .args(["--json", "serve", "all", "--until-stdin-ends"])
            .current_dir(folder.path())
            .envs(variables(shop, settings))
            .envs(clock.variables())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let said = tokio::time::timeout(PATIENCE, said.next_line()).await.unwrap().unwrap();
        assert!(said.is_some(), "{}", fs::read_to_string(&log).unwrap());
        let said = said.unwrap();
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let channel = |name: &str| {
            let address = said["ready"][name].as_str().unwrap();
            Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
        };
        let (public, admin) = (channel("public"), channel("admin"));
        Self { process, public, admin, log, _folder: folder }
    }

    /// How often it said this.
    fn said(&self, what: &str) -> usize {
        fs::read_to_string(&self.log).unwrap().matches(what).count()
    }

    /// Waits until it has said this twice more: once may have been on the way.
    async fn says_again(&self, what: &str) {
        let before = self.said(what);
        until(async || self.said(what) >= before + 2).await;
    }

    async fn stop(mut self) {
        drop(self.process.stdin.take());
        self.process.wait().await.unwrap();
    }
}

async fn execute(shop: &Shop, schema: Schema, sql: &str) {
    let db = shop.db(schema).await;
    let done = db.read(async |conn: &mut Conn| -> db::Result<()> {
        conn.batch_execute(sql).await?;
        Ok(())
    });
    done.await.unwrap();
}

async fn number(shop: &Shop, schema: Schema, sql: &str) -> i64 {
    let db = shop.db(schema).await;
    let found = db.read(async |conn: &mut Conn| -> db::Result<Number> {
        Ok(sql_query(sql).get_result(conn).await?)
    });
    found.await.unwrap().number
}

fn order(user_id: i64, product_id: i64) -> PlaceOrderRequest {
    PlaceOrderRequest {
        request_id: request_id(),
        user_id,
        lines: vec![CheckoutLine { product_id, quantity: 1 }],
        ..PlaceOrderRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_days_off_for_seconds_forgets_and_refuses_nothing() {
    let shop = Shop::builder().set("housekeeping.interval", "1s").start().await;
    let clock = Clock::new();
    let replica = Replica::join(&shop, &clock, &[("housekeeping.interval", "1s")]).await;
    let right = shop.channel().await;
    let (user, product) = (shop.user(1_000_000).await, shop.product(1_000, 1_000).await);
    let first = order(user, product);
    let placed = place(right.clone(), first.clone()).await.unwrap().order_id;
    shop.sagas_ended().await;

    let mut orders = 1;
    let mut asked = vec![(first, placed)];
    for days in [8, -8] {
        clock.set_ms(days * DAY_MS);
        replica.says_again(DELETES_NOTHING).await;
        for moved in [true, false] {
            if !moved {
                clock.set_ms(0);
            }
            for channel in [&replica.public, &right] {
                for (request, placed) in &asked {
                    let again = place(channel.clone(), request.clone()).await.unwrap();
                    assert_eq!(again.order_id, *placed, "{days} days: the order is placed again");
                }
                let request = order(user, product);
                let placed = place(channel.clone(), request.clone()).await.unwrap().order_id;
                asked.push((request, placed));
                orders += 1;
            }
        }
        shop.sagas_ended().await;
        // What was written by the clock that is behind is not old.
        for schema in PARTICIPANTS {
            let forgotten = "SELECT COUNT(*) AS number FROM saga_watermark \
                WHERE watermark >= (SELECT MIN(saga_id) FROM saga_op)";
            assert_eq!(number(&shop, schema, forgotten).await, 0, "nothing is older than 7 days");
        }
        let known = "SELECT COUNT(*) AS number FROM saga_op WHERE step = 4";
        let known = usize::try_from(number(&shop, Schema::Order, known).await).unwrap();
        assert_eq!(known, orders, "every order's step is on record");
    }
    assert_eq!(shop.orders_of(user).await.len(), orders);
    let off = "SELECT COUNT(*) AS number FROM orders \
        WHERE ABS(TIMESTAMPDIFF(SECOND, placed_at, UTC_TIMESTAMP(6))) > 3600";
    assert_eq!(number(&shop, Schema::Order, off).await, 0, "orders dated by the wrong clock");
    replica.stop().await;
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_is_taken_over_by_a_clock_that_is_ahead_is_not_out_of_time() {
    let deadline = ("saga.deadline", "5min");
    let shop = Shop::builder().set(deadline.0, deadline.1).start().await;
    let saga = shop.hanging_saga().await;
    shop.crash().await;
    let clock = Clock::new();
    clock.set_ms(10 * DAY_MS);
    let replica = Replica::join(&shop, &clock, &[deadline]).await;
    until(async || replica.said("took over sagas") > 0).await;
    shop.unstick().await;
    until(async || {
        let request = GetSagaRequest { saga_id: saga.clone() };
        let found = SagaAdminServiceClient::new(replica.admin.clone()).get_saga(request).await;
        let state = found.unwrap().into_inner().saga.unwrap().state();
        assert_ne!(state, SagaState::Failed, "it was out of time");
        state == SagaState::Succeeded
    })
    .await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_accept_a_clock_and_lower_a_watermark_and_that_is_on_record() {
    let shop = Shop::start().await;
    let (user, product) = (shop.user(1_000_000).await, shop.product(1_000, 1_000).await);
    shop.order(user, &[(product, 1)]).await.unwrap();
    shop.settled().await;
    let run = async |arguments: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("--json").args(arguments).current_dir(folder.path());
        let output = command.envs(variables(&shop, &[])).output().await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<serde_json::Value> =
            said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (output.status.success(), lines, String::from_utf8(output.stderr).unwrap())
    };
    let why = ["--actor", "kim", "--reason", "ticket 17"];
    let [lower, accept] =
        [["watermark", "lower"], ["clock", "accept"]].map(|it| [&it[..], &why].concat());

    let (done, _, said) = run(&lower).await;
    assert!(!done && said.contains("an orchestrator runs"), "{said}");
    // A clock that was eight days ahead for long, and has raised the watermark everywhere.
    for schema in PARTICIPANTS.into_iter().chain([Schema::Orchestrator]) {
        let raised = "UPDATE saga_watermark SET watermark = UNHEX(CONCAT(LPAD(HEX(CAST(UNIX_TIMESTAMP( \
            UTC_TIMESTAMP() + INTERVAL 8 DAY) * 1000 AS UNSIGNED)), 12, '0'), REPEAT('f', 20)))";
        execute(&shop, schema, raised).await;
    }
    let placed = shop.order(user, &[(product, 1)]).await.unwrap();
    assert!(placed.order_id > 0, "orders are taken all the same");
    shop.settled().await;
    shop.stop().await;

    let (done, rows, said) = run(&lower).await;
    assert!(done, "{said}");
    assert_eq!(rows.len(), 5, "{rows:?}");
    let marks: std::collections::BTreeSet<_> =
        rows.iter().map(|row| row["watermark"].to_string()).collect();
    assert_eq!(marks.len(), 1, "all alike: {rows:?}");
    let near = "SELECT COUNT(*) AS number FROM saga_watermark WHERE CONV(LEFT(HEX(watermark), 12), 16, 10) \
        / 1000 > UNIX_TIMESTAMP(UTC_TIMESTAMP() + INTERVAL 1 DAY)";
    for schema in PARTICIPANTS.into_iter().chain([Schema::Orchestrator]) {
        assert_eq!(number(&shop, schema, near).await, 0, "{}", schema.name());
    }
    let on_record = "SELECT COUNT(*) AS number FROM saga_operation \
        WHERE actor = 'kim' AND reason = 'ticket 17'";
    assert_eq!(number(&shop, Schema::Orchestrator, on_record).await, 1);

    execute(&shop, Schema::Wallet, "UPDATE clock_mark SET mark_at = mark_at - INTERVAL 9 DAY")
        .await;
    let (done, rows, said) = run(&accept).await;
    assert!(done, "{said}");
    assert_eq!(rows.len(), Schema::ALL.len());
    assert!(rows.iter().all(|row| row["actor"] == "kim" && row["accepted_at"].is_string()));
    shop.restart().await;
    shop.order(user, &[(product, 1)]).await.unwrap();
    shop.stop_and_audit().await;
}
