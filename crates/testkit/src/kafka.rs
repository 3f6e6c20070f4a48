//! The Kafka of this test program.

use embedded::{Kafka, KafkaOptions};
use std::io::Write as _;
use tokio::sync::OnceCell;

/// Names a running broker, by `HOST:PORT`.
const GIVEN: &str = "TEST_KAFKA_BROKERS";
/// Names the folder of the jars from which a private one is started.
const JARS: &str = "EMBEDDED_KAFKA";

/// The Kafka that a test program works on.
pub enum Brokers {
    /// Started by this test program, and ended with it.
    Private(Kafka),
    /// Those that `TEST_KAFKA_BROKERS` names. What tests make there stays.
    Given(String),
}

impl Brokers {
    /// `HOST:PORT`, some of the brokers, with commas in between.
    pub fn addresses(&self) -> String {
        match self {
            Self::Private(kafka) => kafka.brokers(),
            Self::Given(addresses) => addresses.clone(),
        }
    }
}

/// The Kafka of this test program, shared, so that topics need a prefix of their own. `None` where there is none, which
/// is told once on stderr: a test that asks for it is skipped then.
pub async fn kafka() -> Option<&'static Brokers> {
    static BROKERS: OnceCell<Option<Brokers>> = OnceCell::const_new();
    BROKERS.get_or_init(start).await.as_ref()
}

/// A Kafka that a test has for itself, to kill and restart; `None` as with [`kafka`], and where it is given.
pub async fn kafka_alone() -> Option<Kafka> {
    if set(JARS).is_none() {
        kafka().await?;
    }
    private().await
}

async fn private() -> Option<Kafka> {
    let jars = set(JARS).filter(|_| set(GIVEN).is_none())?;
    let kafka = Kafka::start(KafkaOptions::temporary(jars)).await;
    Some(kafka.expect("a private Kafka starts"))
}

async fn start() -> Option<Brokers> {
    if let Some(addresses) = set(GIVEN) {
        return Some(Brokers::Given(addresses));
    }
    if set(JARS).is_none() {
        // Past the test harness, which keeps what tests print that pass.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: the tests on Kafka; name its jars in {JARS} (deploy/kafka prints it) or a broker in {GIVEN}"
        );
        return None;
    }
    private().await.map(Brokers::Private)
}

fn set(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}
