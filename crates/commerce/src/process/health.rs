//! Whether the services of this process can answer, and why not.
//!
//! A service is ready while its database answers it. That a participant, the bus or the Redis of a cache is away makes it no
//! less ready: its calls are answered without them, or say so themselves, and other replicas would fare no better.

use api::ranking::v1::ranking_service_server;
use db::{Conn, Db};
use diesel_async::SimpleAsyncConnection;
use platform::Probe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long the database may take to answer before the services that need it are not ready.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two tries within that time: connections of before a restart fail at once, each of them once.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a list that was never made is waited for: nobody's start waits for it.
const GLANCE: Duration = Duration::from_millis(200);
/// Who asks again within this time is told what was found.
const RECENT: Duration = Duration::from_millis(900);

/// A schema's database, as the services of this process reach it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Database(Arc<Inner>);

struct Inner {
    db: Db,
    answered: Mutex<Option<Instant>>,
}

impl Database {
    pub(super) fn new(db: Db) -> Self {
        Self(Arc::new(Inner { db, answered: Mutex::default() }))
    }

    /// Tries the database, unless it answered a moment ago.
    async fn answers(&self) -> Result<(), String> {
        let began = Instant::now();
        let recent = *self.0.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.is_some_and(|at| began.duration_since(at) < RECENT) {
            return Ok(());
        }
        let until = began + PATIENCE;
        let mut reason = format!("the database did not answer within {} ms", PATIENCE.as_millis());
        loop {
            let ask = self.0.db.read(async |conn: &mut Conn| -> db::Result<()> {
                Ok(conn.batch_execute("DO 0").await?)
            });
            match timeout_at(until, ask).await {
                Ok(Ok(())) => break,
                Ok(Err(error)) => reason = error.to_string(),
                Err(_late) => return Err(reason),
            }
            if Instant::now() + PAUSE >= until {
                return Err(reason);
            }
            sleep(PAUSE).await;
        }
        *self.0.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }
}

/// Services that are ready while their database answers.
pub(super) fn on(database: &Database, services: &[&'static str]) -> Probe {
    let database = database.clone();
    Probe::new(services.iter().copied(), move || {
        let database = database.clone();
        async move { database.answers().await }
    })
}

/// A service that is ready while one of its databases answers: it serves what is there.
pub(super) fn on_any(databases: Vec<Database>, service: &'static str) -> Probe {
    Probe::new([service], move || {
        let databases = databases.clone();
        async move {
            let mut reason = Ok(());
            for database in databases {
                reason = database.answers().await;
                if reason.is_ok() {
                    break;
                }
            }
            reason
        }
    })
}

/// The best sellers are ready while there is a list to tell, however old, and stand apart: nobody buys less without them.
pub(super) fn ranking(service: &Arc<ranking::Service>) -> Probe {
    let service = Arc::clone(service);
    let probe = Probe::new([ranking_service_server::SERVICE_NAME], move || {
        let service = Arc::clone(&service);
        async move {
            match timeout(GLANCE, service.can_answer()).await {
                Ok(answer) => answer.map_err(|status| status.message().to_owned()),
                Err(_late) => Err("there is no list yet".to_owned()),
            }
        }
    });
    probe.apart()
}
