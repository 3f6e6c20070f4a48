//! The databases that tests get.

use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use migrations::Schema;

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct Setting {
    #[diesel(sql_type = Text)]
    value: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_schema_migrates_and_each_test_has_its_own() {
    for schema in Schema::ALL {
        let (first, url) = testkit::database(schema).await;
        let (_, other) = testkit::database(schema).await;
        assert_ne!(url, other);
        let count = first
            .read(async |conn: &mut db::Conn| -> db::Result<Count> {
                let tables = "SELECT COUNT(*) AS count FROM information_schema.tables \
                              WHERE table_schema = DATABASE()";
                Ok(sql_query(tables).get_result(conn).await?)
            })
            .await
            .unwrap();
        assert!(count.count >= 2, "{} tables in {url}", count.count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_durable_in_tests_too() {
    let (db, _) = testkit::database(Schema::Wallet).await;
    let setting = db
        .read(async |conn: &mut db::Conn| -> db::Result<Setting> {
            let flush = "SELECT CAST(@@GLOBAL.innodb_flush_log_at_trx_commit AS CHAR) AS value";
            Ok(sql_query(flush).get_result(conn).await?)
        })
        .await
        .unwrap();
    assert_eq!(setting.value, "1");
}

/// The test script asks for what this prints: it tells on which server the tests run.
#[expect(clippy::print_stdout, reason = "it is printed to be read")]
#[tokio::test(flavor = "multi_thread")]
async fn the_server_tells_what_it_is() {
    let (db, _) = testkit::database(Schema::Wallet).await;
    let setting = db
        .read(async |conn: &mut db::Conn| -> db::Result<Setting> {
            let told = "SELECT CONCAT(VERSION(), ', ', @@version_comment, ', log_bin=', @@GLOBAL.log_bin, \
                        ', sync_binlog=', @@GLOBAL.sync_binlog) AS value";
            Ok(sql_query(told).get_result(conn).await?)
        })
        .await
        .unwrap();
    println!("database server: {}", setting.value);
    if std::env::var("EMBEDDED_MYSQL_BINLOG").is_ok_and(|binlog| binlog == "1") {
        assert!(setting.value.contains("log_bin=1, sync_binlog=1"), "{}", setting.value);
    }
}
