//! What is there already counts only if it is what a migration would have made.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use db::{Conn, Migration};
use diesel_async::{AsyncConnection, SimpleAsyncConnection};

const TABLE: Migration = Migration {
    name: "2026-01-01-000001_goods",
    sql: "-- A comment; with a semicolon.\nCREATE TABLE goods (id BIGINT NOT NULL, name VARCHAR(20) NOT NULL DEFAULT 'x;y', \
        PRIMARY KEY (id), KEY goods_by_name (name), CHECK (id > 0)) \
        ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;",
};
const PARTS: Migration = Migration {
    name: "2026-01-01-000002_parts",
    sql: "ALTER TABLE goods ADD COLUMN price BIGINT NULL COMMENT 'won, whole', ADD KEY goods_by_price (price, id), \
        DROP KEY goods_by_name",
};

/// Migrates a database on which this was done by hand before.
async fn migrated(by_hand: &str) -> Result<Vec<String>, String> {
    let url = testkit::fresh_database("shapes").await;
    Conn::establish(&url).await.unwrap().batch_execute(by_hand).await.unwrap();
    let applied = db::migrate(&url, &[TABLE, PARTS]).await;
    applied.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_the_intended_shape_is_left_and_the_rest_is_done() {
    let table = TABLE.sql;
    let price = "ALTER TABLE goods ADD COLUMN price BIGINT NULL";
    let both = format!("{price}; ALTER TABLE goods ADD KEY goods_by_price (price, id)");
    // A table that another program's newer migration has extended meanwhile would still do.
    let more = "ALTER TABLE goods ADD COLUMN colour INT NULL";
    for by_hand in ["DO 0", "", price, &both, more] {
        let by_hand =
            if by_hand == "DO 0" { "DO 0".to_owned() } else { format!("{table} {by_hand}") };
        let applied = migrated(by_hand.trim_end().trim_end_matches(';')).await;
        assert_eq!(applied.unwrap(), ["20260101000001", "20260101000002"], "{by_hand}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_another_shape_is_refused_with_what_differs() {
    let made = TABLE.sql;
    for (by_hand, said) in [
        (made.replace("VARCHAR(20)", "VARCHAR(21)"), "its column name is varchar(21)"),
        (made.replace("name VARCHAR(20) NOT NULL", "name VARCHAR(20) NULL"), "its column name is "),
        (made.replace("(name), CHECK", "(name, id), CHECK"), "its key goods_by_name is "),
        (made.replace(", CHECK (id > 0)", ""), "its checks is missing"),
        (made.replace("utf8mb4_bin", "utf8mb4_general_ci"), "utf8mb4_general_ci"),
        (
            made.replace("name VARCHAR", "label VARCHAR").replace("(name)", "(label)"),
            "its column name is missing",
        ),
        (format!("{made} ALTER TABLE goods ADD COLUMN price INT NULL"), "its column price is int"),
        (
            format!(
                "{made} ALTER TABLE goods ADD COLUMN price BIGINT NULL, ADD KEY goods_by_price (price)"
            ),
            "its key goods_by_price is (price), not (price,id)",
        ),
    ] {
        let refusal = migrated(by_hand.trim_end_matches(';')).await.unwrap_err();
        assert!(refusal.contains("migration 2026-01-01-00000"), "{refusal}");
        assert!(refusal.contains("the table goods is there already, but "), "{refusal}");
        assert!(refusal.contains(said), "{said}: {refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_cannot_be_run_again_is_refused_before_anything_is_run() {
    let url = testkit::fresh_database("refused").await;
    let renames =
        Migration { name: "2026-01-01-000003_renames", sql: "RENAME TABLE goods TO wares" };
    let refusal = db::migrate(&url, &[TABLE, renames]).await.unwrap_err().to_string();
    assert!(
        refusal.contains("2026-01-01-000003_renames") && refusal.contains("RENAME"),
        "{refusal}"
    );
    let names: Vec<_> = [TABLE, renames].iter().map(|it| it.name).collect();
    assert_eq!(db::pending(&url, &[TABLE]).await.unwrap(), names[..1]);
}
