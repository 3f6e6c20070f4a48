//! Streams of several sources.

use crate::support::{Came, LONG, Outbox, Server, end, from, next, refusal};
use api::Reason;
use api::events::v1::EventSource::{self, Coupon, Order, Product, Wallet};
use api::events::v1::{StreamEventsRequest, StreamEventsResponse};
use api::order::v1::OrderCancelled;
use db::{Db, Options};
use prost::Name;
use std::collections::{BTreeMap, BTreeSet};
use testkit::{Proxy, until};
use tokio_stream::StreamExt;

/// Aggregates of each source, in many shards.
const AGGREGATES: i64 = 6;
const VERSIONS: i64 = 3;

/// Wallets and orders, all with the same versions.
async fn both() -> [Outbox; 2] {
    let both = [Outbox::new(Wallet).await, Outbox::new(Order).await];
    for outbox in &both {
        for version in 1..=VERSIONS {
            for aggregate in 1..=AGGREGATES {
                outbox.append(aggregate, version..=version).await;
            }
        }
    }
    both
}

fn set(came: &[(Came, String)]) -> BTreeSet<&Came> {
    came.iter().map(|(event, _)| event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_sources_come_in_one_stream_each_aggregate_in_its_order() {
    let [wallets, orders] = both().await;
    let server = Server::of(&[&wallets, &orders]);
    let mut stream = server.open(from(&[Order, Wallet], "")).await.unwrap();
    let all = usize::try_from(2 * AGGREGATES * VERSIONS).unwrap();
    let came = next(&mut stream, all).await;
    let mut versions: BTreeMap<(&str, i64), Vec<i64>> = BTreeMap::new();
    for ((kind, aggregate, version), _) in &came {
        versions.entry((kind, *aggregate)).or_default().push(*version);
    }
    let aggregates = ["order", "wallet"].map(|kind| (1..=AGGREGATES).map(move |id| (kind, id)));
    let expected: Vec<i64> = (1..=VERSIONS).collect();
    let expected = aggregates.into_iter().flatten().map(|it| (it, expected.clone())).collect();
    assert_eq!(versions, expected);
    // What comes later comes to the same stream, of either.
    for outbox in [&orders, &wallets] {
        outbox.append(1, VERSIONS + 1..=VERSIONS + 1).await;
        let later = next(&mut stream, 1).await;
        assert_eq!((later[0].0.1, later[0].0.2), (1, VERSIONS + 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cursor_leads_to_what_is_left_of_every_source_in_whatever_order_they_are_named() {
    let [wallets, orders] = both().await;
    let server = Server::of(&[&wallets, &orders]);
    let all = usize::try_from(2 * AGGREGATES * VERSIONS).unwrap();
    let mut stream = server.open(from(&[Wallet, Order], "")).await.unwrap();
    let came = next(&mut stream, all).await;
    for (index, (_, cursor)) in came.iter().enumerate() {
        assert!(cursor.len() <= 1_024, "{cursor}");
        let rest = &came[index + 1..];
        let mut stream = server.open(from(&[Order, Wallet], cursor)).await.unwrap();
        let again = next(&mut stream, rest.len()).await;
        assert_eq!(set(&again), set(rest), "{index}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_wanted_types_come_of_every_source_and_the_cursor_passes_the_others() {
    let [wallets, orders] = both().await;
    let server = Server::of(&[&wallets, &orders]);
    let types = vec![OrderCancelled::full_name()];
    let request = StreamEventsRequest { types, ..from(&[Wallet, Order], "") };
    let mut stream = server.open(request).await.unwrap();
    let wanted = usize::try_from(2 * AGGREGATES).unwrap();
    let came = next(&mut stream, wanted).await;
    assert!(came.iter().all(|((_, _, version), _)| *version == 2));
    assert_eq!(set(&came).len(), wanted);
    // Of a type that never comes, too, the client is told how far both sources have come.
    let mut stream = server.open(from(&[Wallet, Order], "")).await.unwrap();
    let all = usize::try_from(2 * AGGREGATES * VERSIONS).unwrap();
    let (_, end) = next(&mut stream, all).await.pop().unwrap();
    let types = vec!["commerce.order.v1.OrderAdmired".to_owned()];
    let request = StreamEventsRequest { types, ..from(&[Wallet, Order], "") };
    let mut stream = server.open(request).await.unwrap();
    loop {
        let StreamEventsResponse { event, cursor } = stream.next().await.unwrap().unwrap();
        assert_eq!(event, None);
        if cursor == end {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_whose_database_hangs_keeps_no_other_waiting() {
    // More than the client's channel and a page of the source hold.
    const HANGING: i64 = 64;
    let (wallets, orders) = (Outbox::new(Wallet).await, Outbox::new(Order).await);
    wallets.append(1, 1..=HANGING).await;
    let proxy = Proxy::before(&wallets.url).await;
    let mut options = Options::new(proxy.url());
    (options.acquire_timeout, options.connect_timeout) = (LONG, LONG);
    options.statement_timeout = LONG;
    let hanging = Db::open(options).await.unwrap();
    let server = Server::start([(Wallet, hanging), (Order, orders.db.clone())], LONG);
    let mut stream = server.open(from(&[Wallet, Order], "")).await.unwrap();
    proxy.swallow_all();
    orders.append(1, 1..=40).await;
    let (mut of_wallets, mut of_orders) = (0, Vec::new());
    while of_orders.len() < 40 {
        let ((kind, _, version), _) = next(&mut stream, 1).await.remove(0);
        if kind == "wallet" { of_wallets += 1 } else { of_orders.push(version) }
    }
    assert_eq!(of_orders, (1..=40).collect::<Vec<_>>());
    assert!(of_wallets < HANGING, "the source did not hang");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_one_of_its_databases_is_gone_and_its_cursor_leads_on_when_it_is_back() {
    let [wallets, orders] = both().await;
    let proxy = Proxy::before(&wallets.url).await;
    let behind_proxy = Db::open(Options::new(proxy.url())).await.unwrap();
    let server = Server::start([(Wallet, behind_proxy), (Order, orders.db.clone())], LONG);
    let sources = [Wallet, Order];
    let mut stream = server.open(from(&sources, "")).await.unwrap();
    let all = usize::try_from(2 * AGGREGATES * VERSIONS).unwrap();
    let (_, cursor) = next(&mut stream, all).await.pop().unwrap();
    proxy.cut_all();
    assert_eq!(end(&mut stream).await.reason, Reason::Unavailable);
    assert!(stream.next().await.is_none());
    let away = server.open(from(&sources, &cursor)).await.err().unwrap();
    assert_eq!(refusal(&away).reason, Reason::Unavailable);
    // Who does not ask for the source does not miss it.
    assert!(server.open(from(&[Order], "")).await.is_ok());
    for outbox in [&wallets, &orders] {
        outbox.append(1, VERSIONS + 1..=VERSIONS + 1).await;
    }
    proxy.heal();
    until(async || server.open(from(&sources, &cursor)).await.is_ok()).await;
    let mut stream = server.open(from(&sources, &cursor)).await.unwrap();
    let later = next(&mut stream, 2).await;
    let expected = ["order", "wallet"].map(|kind| (kind.to_owned(), 1, VERSIONS + 1));
    assert_eq!(set(&later), expected.iter().collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_named_twice_is_refused_by_its_place() {
    let orders = Outbox::new(Order).await;
    let server = Server::of(&[&orders]);
    for (sources, field) in [
        (&[Order, Order][..], "sources[1]"),
        (&[Wallet, Order, Wallet], "sources[2]"),
        (&[Order, EventSource::Unspecified], "sources[1]"),
        (&[], "sources"),
    ] {
        let refused = refusal(&server.open(from(sources, "")).await.err().unwrap());
        assert_eq!(refused.reason, Reason::InvalidField);
        assert_eq!(refused.metadata["field"], field);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_of_another_process_is_named() {
    let orders = Outbox::new(Order).await;
    let server = Server::of(&[&orders]);
    for (sources, missing) in
        [(&[Order, Coupon][..], "coupon"), (&[Product, Order, Wallet], "product")]
    {
        let refused = refusal(&server.open(from(sources, "")).await.err().unwrap());
        assert_eq!(refused.reason, Reason::EventsNotHere);
        assert_eq!(refused.metadata["source"], missing);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_more_or_fewer_sources_is_refused() {
    let [wallets, orders] = both().await;
    let server = Server::of(&[&wallets, &orders]);
    let mut stream = server.open(from(&[Wallet, Order], "")).await.unwrap();
    let (_, of_both) = next(&mut stream, 1).await.remove(0);
    let mut stream = server.open(from(&[Order], "")).await.unwrap();
    let (_, of_one) = next(&mut stream, 1).await.remove(0);
    for (sources, cursor) in [
        (&[Order][..], &of_both),
        (&[Wallet], &of_both),
        (&[Wallet, Order], &of_one),
        (&[Wallet], &of_one),
    ] {
        let refused = refusal(&server.open(from(sources, cursor)).await.err().unwrap());
        assert_eq!(refused.reason, Reason::InvalidField);
        assert_eq!(refused.metadata["field"], "cursor");
    }
}
