//! What only Kafka does.

use crate::bench::{Bench, OnKafka};
use events::Bus;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_there_yet() {
    let Some(bench) = OnKafka::start(&[]).await else { return };
    bench.bus().state().await.unwrap();
}
