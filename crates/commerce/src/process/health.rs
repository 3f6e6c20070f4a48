//! Whether the services of this process can answer, and why not.
//!
//! A service is ready while its lanes and its database do what they are asked. That a participant, the bus or the Redis of
//! a cache is away makes it no less ready: its calls are answered without them, or say so themselves, and other replicas
//! would fare no better.

use api::ranking::v1::{ranking_admin_service_server, ranking_service_server};
use db::{Conn, Db};
use diesel_async::SimpleAsyncConnection;
use platform::Probe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long the database may take to answer before the services that need it are not ready.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two tries within that time: connections of before a restart fail at once, each of them once.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a lane may fail before its service is not ready.
const FAILING: Duration = Duration::from_secs(1);
/// How long a lane may achieve nothing while something waits in it.
const STUCK: Duration = Duration::from_secs(3);
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

/// Why a database is of no use.
#[derive(Debug, thiserror::Error)]
enum Silent {
    #[error("the database did not answer within a second")]
    Late,
    #[error("no connection to the database became free")]
    Busy,
    #[error("the database cannot be used: {0}")]
    Failed(String),
}

impl Database {
    pub(super) fn new(db: Db) -> Self {
        Self(Arc::new(Inner { db, answered: Mutex::default() }))
    }

    /// Tries the database, unless it answered a moment ago.
    async fn answers(&self) -> Result<(), Silent> {
        let began = Instant::now();
        let recent = *self.0.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.is_some_and(|at| began.duration_since(at) < RECENT) {
            return Ok(());
        }
        let until = began + PATIENCE;
        let mut silent = Silent::Late;
        loop {
            let ask = self.0.db.read(async |conn: &mut Conn| -> db::Result<()> {
                Ok(conn.batch_execute("DO 0").await?)
            });
            match timeout_at(until, ask).await {
                Ok(Ok(())) => break,
                Ok(Err(db::Error::Busy)) => silent = Silent::Busy,
                Ok(Err(error)) => silent = Silent::Failed(error.to_string()),
                Err(_late) => return Err(silent),
            }
            if Instant::now() + PAUSE >= until {
                return Err(silent);
            }
            sleep(PAUSE).await;
        }
        *self.0.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }
}

/// How to ask what the lanes of a service last achieved.
pub(super) type Lanes = Box<dyn Fn() -> Vec<lane::Health> + Send + Sync>;

pub(super) fn lanes(ask: impl Fn() -> Vec<lane::Health> + Send + Sync + 'static) -> Lanes {
    Box::new(ask)
}

/// Services that are ready while their lanes and their database do what they are asked.
pub(super) fn on(database: &Database, lanes: Lanes, services: Vec<&'static str>) -> Probe {
    let database = database.clone();
    Probe::new(services, move || {
        let (database, lanes) = (database.clone(), lanes());
        async move {
            if !database.0.db.clock().is_ready() {
                return Err("this machine's clock is off by more than 60 s: set it".to_owned());
            }
            lanes.iter().try_for_each(is_well)?;
            match database.answers().await {
                // All connections are in use, and the lanes get on: too much to do is no fault.
                Err(Silent::Busy) if lanes.iter().any(is_recent) => Ok(()),
                answer => answer.map_err(|silent| silent.to_string()),
            }
        }
    })
}

/// Whether a lane gets on, by what it last achieved. An idle one keeps asking its server by itself.
fn is_well(lane: &lane::Health) -> Result<(), String> {
    let failing = lane.failing_since.map(|since| since.elapsed());
    if let Some(failing) = failing.filter(|it| *it > FAILING) {
        return Err(format!("a lane has failed for {} ms", failing.as_millis()));
    }
    match lane.oldest {
        Some(oldest) if oldest > STUCK && !is_recent(lane) => {
            Err(format!("a lane has achieved nothing for {} ms", oldest.as_millis()))
        }
        _ => Ok(()),
    }
}

fn is_recent(lane: &lane::Health) -> bool {
    lane.succeeded_at.is_some_and(|at| at.elapsed() < STUCK)
}

/// A service that is ready while one of its databases answers: it serves what is there.
pub(super) fn on_any(databases: Vec<Database>, service: &'static str) -> Probe {
    Probe::new([service], move || {
        let databases = databases.clone();
        async move {
            let mut asked = JoinSet::new();
            for database in databases {
                asked.spawn(async move { database.answers().await });
            }
            let mut reason = "no database answers".to_owned();
            while let Some(joined) = asked.join_next().await {
                match joined {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(silent)) => reason = silent.to_string(),
                    Err(_) => {}
                }
            }
            Err(reason)
        }
    })
}

/// The best sellers are ready while there is a list to tell, however old, and stand apart: nobody buys less without them.
pub(super) fn ranking(service: &Arc<ranking::Service>) -> Probe {
    let service = Arc::clone(service);
    let names = [ranking_service_server::SERVICE_NAME, ranking_admin_service_server::SERVICE_NAME];
    let probe = Probe::new(names, move || {
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
