//! How streams end, and from where they cannot go on.

use crate::support::{LONG, Outbox, Server, end, from, next, refusal};
use api::Reason;
use api::events::v1::EventSource::{Order, Wallet};
use db::Conn;
use diesel_async::SimpleAsyncConnection;
use std::time::Duration;
use tokio_stream::StreamExt;

async fn execute(outbox: &Outbox, sql: &str) {
    let run = async move |conn: &mut Conn| -> db::Result<()> { Ok(conn.batch_execute(sql).await?) };
    outbox.db.read(run).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_server_ends_as_planned_says_why_after_its_last_event() {
    let (wallets, orders) = (Outbox::new(Wallet).await, Outbox::new(Order).await);
    orders.append(1, 1..=3).await;
    let server = Server::of(&[&wallets, &orders]);
    let mut stream = server.open(from(&[Wallet, Order], "")).await.unwrap();
    next(&mut stream, 3).await;
    server.stop.cancel();
    let ended = end(&mut stream).await;
    assert_eq!((ended.reason, &*ended.metadata["cause"]), (Reason::StreamEnded, "SHUTDOWN"));
    assert!(stream.next().await.is_none());

    let sources = [&wallets, &orders].map(|outbox| (outbox.source, outbox.db.clone()));
    let server = Server::start(sources, Duration::from_millis(1));
    let mut stream = server.open(from(&[Wallet, Order], "")).await.unwrap();
    let ended = loop {
        if let Err(status) = stream.next().await.unwrap() {
            break refusal(&status);
        }
    };
    assert_eq!((ended.reason, &*ended.metadata["cause"]), (Reason::StreamEnded, "MAX_AGE"));
    assert!(stream.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_which_one_source_retains_too_little_is_told_which() {
    let (wallets, orders) = (Outbox::new(Wallet).await, Outbox::new(Order).await);
    for outbox in [&wallets, &orders] {
        outbox.append(1, 1..=5).await;
    }
    let server = Server::of(&[&wallets, &orders]);
    let sources = [Wallet, Order];
    let mut stream = server.open(from(&sources, "")).await.unwrap();
    let (_, cursor) = next(&mut stream, 1).await.remove(0);
    // Of both, more than was sent.
    execute(&orders, "DELETE FROM outbox WHERE position <= 3").await;
    let refused = refusal(&server.open(from(&sources, &cursor)).await.err().unwrap());
    assert_eq!((refused.reason, &*refused.metadata["source"]), (Reason::EventsPurged, "order"));
    assert_eq!(refused.metadata["oldest"], "4");
    let mut stream = server.open(from(&sources, "")).await.unwrap();
    next(&mut stream, 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_a_past_that_one_source_lost_is_refused() {
    let (wallets, orders) = (Outbox::new(Wallet).await, Outbox::new(Order).await);
    for outbox in [&wallets, &orders] {
        outbox.append(1, 1..=2).await;
    }
    let server =
        Server::start([&wallets, &orders].map(|outbox| (outbox.source, outbox.db.clone())), LONG);
    let sources = [Order, Wallet];
    let mut stream = server.open(from(&sources, "")).await.unwrap();
    let (_, cursor) = next(&mut stream, 4).await.pop().unwrap();
    // The last row is lost, and another one gets its number.
    execute(&wallets, "DELETE FROM outbox WHERE position = 2").await;
    execute(&wallets, "UPDATE outbox_shard SET last_position = 1 WHERE last_position = 2").await;
    let refused = refusal(&server.open(from(&sources, &cursor)).await.err().unwrap());
    assert_eq!((refused.reason, &*refused.metadata["field"]), (Reason::InvalidField, "cursor"));
    wallets.append(1, 2..=2).await;
    let refused = refusal(&server.open(from(&sources, &cursor)).await.err().unwrap());
    assert_eq!((refused.reason, &*refused.metadata["field"]), (Reason::InvalidField, "cursor"));
    assert!(refused.message().contains("of wallet"), "{}", refused.message());
}
