#![allow(warnings)]
use audit::Targets;
use diesel_async::SimpleAsyncConnection;
use migrations::Schema;
use std::time::Instant;

async fn run(db: &db::Db, sql: &'static str) {
    let t = Instant::now();
    db.read(async |conn: &mut db::Conn| conn.batch_execute(sql).await.map_err(db::Error::from))
        .await
        .unwrap();
    eprintln!("{:?} {}", t.elapsed(), &sql[..40.min(sql.len())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn scale() {
    let (w, wallet) = testkit::database(Schema::Wallet).await;
    let (p, product) = testkit::database(Schema::Product).await;
    let (c, coupon) = testkit::database(Schema::Coupon).await;
    let (o, order) = testkit::database(Schema::Order).await;
    let (j, orchestrator) = testkit::database(Schema::Orchestrator).await;
    for db in [&w, &p, &o] {
        run(db, "INSERT INTO saga_op SELECT UNHEX(LPAD(HEX(seq),32,'0')), 3, 1, X'0000000000000000', REPEAT('x', 60), NOW(6) FROM seq_1_to_300000").await;
        run(db, "INSERT INTO outbox SELECT seq, seq % 16, seq DIV 16 + 1, UNHEX(LPAD(HEX(seq),32,'0')), 'WalletDebited', 'wallet', seq % 1000, seq, NOW(6), '', '', REPEAT('x', 150) FROM seq_1_to_300000").await;
    }
    run(&w, "INSERT INTO wallet SELECT seq, 5, 300, NOW(6) FROM seq_1_to_1000").await;
    run(&w, "INSERT INTO ledger SELECT seq % 1000 + 1, seq DIV 1000 + 1, 2, -5, 7, seq, UNHEX(LPAD(HEX(seq),32,'0')), NOW(6) FROM seq_1_to_300000").await;
    run(&w, "INSERT INTO idempotency SELECT UNHEX(LPAD(HEX(seq),32,'0')), seq, 2, X'0000000000000000', 0, REPEAT('x', 60), NOW(6) FROM seq_1_to_300000").await;
    run(&p, "INSERT INTO stock_movement SELECT seq % 200 + 1, seq DIV 200 + 1, 3, -5, 7, seq DIV 4, UNHEX(LPAD(HEX(seq DIV 4),32,'0')), NULL, NOW(6) FROM seq_1_to_1000000").await;
    run(&o, "INSERT INTO orders SELECT seq, seq % 1000, 1, UNHEX(LPAD(HEX(seq),32,'0')), NULL, 100, 0, 100, NULL, NULL, 1, NOW(6), NULL FROM seq_1_to_300000").await;
    run(
        &o,
        "INSERT INTO order_line SELECT seq DIV 4 + 1, seq, seq % 4 + 1, 5, 5 FROM seq_1_to_1000000",
    )
    .await;
    run(&j, "INSERT INTO saga_history SELECT UNHEX(LPAD(HEX(seq),32,'0')), 1, 1, seq, seq, 0, REPEAT('x', 60), NOW(6), '', 1, REPEAT('x', 200), NOW(6) FROM seq_1_to_300000").await;
    run(&j, "INSERT INTO request SELECT UNHEX(LPAD(HEX(seq),32,'0')), seq, 1, X'0000000000000000', UNHEX(LPAD(HEX(seq),32,'0')), NOW(6) FROM seq_1_to_300000").await;
    let _ = c;
    run(&w, "SET GLOBAL log_output='TABLE', slow_query_log=1, long_query_time=0.5").await;
    let t = Instant::now();
    let report = audit::run(&Targets {
        wallet,
        product,
        coupon,
        order,
        orchestrator,
        redis: None,
        relayed_within: None,
    })
    .await
    .unwrap();
    eprintln!("audit {:?}", t.elapsed());
    #[derive(diesel::QueryableByName)]
    struct S {
        #[diesel(sql_type = diesel::sql_types::Text)]
        s: String,
    }
    let rows: Vec<S> = w.read(async |conn: &mut db::Conn| -> db::Result<Vec<S>> { Ok(diesel_async::RunQueryDsl::load(diesel::sql_query("SELECT CONCAT(query_time, ' ', db, ' ', LEFT(CONVERT(sql_text USING utf8mb4),150)) AS s FROM mysql.slow_log WHERE sql_text LIKE 'SELECT%'"), conn).await?) }).await.unwrap();
    for r in rows {
        eprintln!("{}", r.s);
    }
    for check in &report.checks {
        eprintln!("{} {} {}", check.name, check.rows_checked, check.offence_count);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    eprintln!("{}", status.lines().filter(|l| l.starts_with("VmHWM")).collect::<String>());
}
