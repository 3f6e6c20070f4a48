//! What goes to the server as text arrives as it was meant.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use chrono::{NaiveDate, NaiveDateTime};
use db::{Conn, Error, Script, Session, any_of};
use diesel::{ExpressionMethods, Insertable, QueryDsl, Queryable};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

/// A column of every type that the schemas have.
mod schema {
    diesel::table! {
        sample (id) {
            id -> Unsigned<BigInt>,
            tiny -> TinyInt,
            flag -> Bool,
            short -> SmallInt,
            long -> Nullable<Integer>,
            amount -> BigInt,
            name -> Nullable<Text>,
            payload -> Nullable<Blob>,
            day -> Date,
            at -> Nullable<Datetime>,
        }
    }
}

use schema::sample;

#[derive(Debug, Clone, PartialEq, Eq, Insertable, Queryable)]
#[diesel(table_name = sample)]
struct Sample {
    id: u64,
    tiny: i8,
    flag: bool,
    short: i16,
    long: Option<i32>,
    amount: i64,
    name: Option<String>,
    payload: Option<Vec<u8>>,
    day: NaiveDate,
    at: Option<NaiveDateTime>,
}

const TABLE: &str = "CREATE TABLE sample (id BIGINT UNSIGNED PRIMARY KEY, tiny TINYINT NOT NULL, \
    flag TINYINT(1) NOT NULL, short SMALLINT NOT NULL, `long` INT, amount BIGINT NOT NULL, \
    name VARCHAR(300) CHARACTER SET utf8mb4, payload BLOB, day DATE NOT NULL, at DATETIME(6))";

async fn session() -> Session {
    let (db, _) = testkit::database(migrations::Schema::Wallet).await;
    let mut session = db.session().await.unwrap();
    session.conn().batch_execute(TABLE).await.unwrap();
    session
}

fn sample(id: u64) -> Sample {
    Sample {
        id,
        tiny: 0,
        flag: false,
        short: 0,
        long: None,
        amount: 0,
        name: None,
        payload: None,
        day: NaiveDate::from_ymd_opt(2026, 1, 2).unwrap(),
        at: None,
    }
}

fn inserted(rows: Vec<Sample>) -> Script {
    let mut script = Script::default();
    script.insert(sample::table, rows).unwrap();
    script
}

async fn stored(conn: &mut Conn) -> Vec<Sample> {
    sample::table.order(sample::id).load(conn).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_arrives_as_it_was_written() {
    let mut session = session().await;
    let day = |year, month, day| NaiveDate::from_ymd_opt(year, month, day).unwrap();
    let texts = [
        "",
        "plain text",
        "'",
        "\\",
        "\\' OR 1=1; -- ",
        "what? and; why?",
        "a\0b\n\t\r\u{1a}",
        "초코파이 \u{1F36B}",
        "%_\"`",
    ];
    let mut rows = vec![
        Sample {
            tiny: i8::MIN,
            flag: true,
            short: i16::MIN,
            long: Some(i32::MIN),
            amount: i64::MIN,
            payload: Some((0..=u8::MAX).collect()),
            day: day(1000, 1, 1),
            at: Some(day(1000, 1, 1).and_hms_micro_opt(0, 0, 0, 1).unwrap()),
            ..sample(0)
        },
        Sample {
            tiny: i8::MAX,
            short: i16::MAX,
            long: Some(i32::MAX),
            amount: i64::MAX,
            payload: Some(Vec::new()),
            day: day(9999, 12, 31),
            at: Some(day(9999, 12, 31).and_hms_micro_opt(23, 59, 59, 999_999).unwrap()),
            ..sample(u64::MAX)
        },
        sample(1),
    ];
    rows.extend(
        (100..).zip(texts).map(|(id, text)| Sample { name: Some(text.to_owned()), ..sample(id) }),
    );
    session.commit(inserted(rows.clone())).await.unwrap();
    rows.sort_by_key(|row| row.id);
    assert_eq!(stored(session.conn()).await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_fails_ends_the_script_and_nothing_is_committed() {
    let mut session = session().await;
    session.commit(inserted(vec![sample(1)])).await.unwrap();
    let mut script = inserted(vec![sample(2)]);
    script.insert(sample::table, vec![sample(1)]).unwrap();
    script.insert(sample::table, vec![sample(3)]).unwrap();
    let refused = session.commit(script).await.unwrap_err();
    assert!(!matches!(refused, Error::CommitUnknown(_) | Error::Lost(_)), "{refused:?}");
    session.rollback().await.unwrap();
    assert_eq!(stored(session.conn()).await, [sample(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_run_in_their_order_and_are_undone_by_a_rollback() {
    let mut session = session().await;
    let mut script = Script::default();
    assert!(script.is_empty());
    script.insert(sample::table, Vec::<Sample>::new()).unwrap();
    assert!(script.is_empty());
    script.insert(sample::table, vec![sample(1), sample(2)]).unwrap();
    let change = diesel::update(sample::table.filter(any_of(sample::id, [2])));
    script.push(&change.set(sample::amount.eq(-7))).unwrap();
    script.clone().run(session.conn()).await.unwrap();
    let changed = Sample { amount: -7, ..sample(2) };
    assert_eq!(stored(session.conn()).await, [sample(1), changed.clone()]);
    session.rollback().await.unwrap();
    assert_eq!(stored(session.conn()).await, []);
    session.commit(script).await.unwrap();
    session.rollback().await.unwrap();
    assert_eq!(stored(session.conn()).await, [sample(1), changed]);
    session.commit(Script::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_any_length_finds_what_it_names_and_nothing_else() {
    let mut session = session().await;
    session.commit(inserted((1..=20).map(sample).collect())).await.unwrap();
    for wanted in [0, 1, 2, 3, 5, 8, 13] {
        let ids: Vec<u64> = (1..=wanted).map(|id| id * 2).collect();
        let query = sample::table
            .filter(any_of(sample::id, ids.iter().copied()))
            .select(sample::id)
            .order(sample::id);
        let found: Vec<u64> = query.load(session.conn()).await.unwrap();
        let there: Vec<u64> = ids.into_iter().filter(|id| *id <= 20).collect();
        assert_eq!(found, there);
    }
}
