//! Health, as `grpc.health.v1` on every listener: readiness apart from liveness.
//!
//! - `""`: SERVING when every service that the process is needed for is ready, and any service is.
//! - a service's full name: SERVING when that service is ready.
//! - `"liveness"`: SERVING as long as the process answers at all. It looks at nothing outside.
//!
//! Restart a process that is not live; send no calls to one that is not ready. Readiness is asked of the services once a
//! second ([`Probe`]), so it follows what they can do within seconds, both ways. When the process begins to stop, nothing is
//! ready any more and nothing becomes ready again.

use std::{collections::BTreeMap, fmt, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

/// The name under which a probe asks whether the process is alive.
pub const LIVENESS: &str = "liveness";

/// The name under which a probe asks whether all services are ready.
const OVERALL: &str = "";

/// Between two looks at the services.
const EVERY: Duration = Duration::from_secs(1);

/// How long a service may take to say whether it is ready.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Says which services are ready. Cheap to clone; all clones say the same.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    services: BTreeMap<String, Standing>,
    /// What was told last, by the name that clients ask by.
    told: BTreeMap<String, bool>,
    stopping: bool,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    ready: bool,
    /// Whether the process is ready only with this service.
    needed: bool,
    /// Whether it was asked yet.
    asked: bool,
}

/// How to ask whether services can answer.
///
/// The answer is read from what they last achieved; only where nothing was achieved lately something is tried. What the
/// services reach through others, and can do without for a while, makes them no less ready.
pub struct Probe {
    services: Vec<&'static str>,
    needed: bool,
    check: Check,
}

type Check = Box<dyn Fn() -> Checking + Send + Sync>;
type Checking = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl Probe {
    /// Asks for these services, by their full names, with `check`: ready, or why not. It is asked once a second, and may
    /// take 1.5 s.
    pub fn new<F>(
        services: impl IntoIterator<Item = &'static str>,
        check: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let services = services.into_iter().collect();
        Self { services, needed: true, check: Box::new(move || Box::pin(check())) }
    }

    /// The process as a whole is ready without these services, as long as it has any that is: the others must not lose
    /// their callers for it.
    #[must_use]
    pub fn apart(self) -> Self {
        Self { needed: false, ..self }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("services", &self.services).finish_non_exhaustive()
    }
}

impl State {
    /// What is to be told now, by name.
    fn now(&self) -> BTreeMap<String, bool> {
        let services = self.services.iter();
        let mut now: BTreeMap<_, _> = services
            .map(|(service, standing)| (service.clone(), standing.ready && !self.stopping))
            .collect();
        let needed = self.services.values().filter(|it| it.needed).all(|it| it.ready);
        let any = self.services.is_empty() || self.services.values().any(|it| it.ready);
        now.insert(OVERALL.to_owned(), needed && any && !self.stopping);
        now
    }

    /// Notes what services answered. A change is logged, once.
    fn note(&mut self, probe: &Probe, answer: &Result<(), String>) {
        let ready = answer.is_ok();
        let mut before = None;
        for service in &probe.services {
            let standing = Standing { ready, needed: probe.needed, asked: true };
            before = self.services.insert((*service).to_owned(), standing).or(before);
        }
        let Some(before) = before else { return };
        let services = probe.services.join(", ");
        match answer {
            Ok(()) if before.asked && !before.ready => tracing::info!(services, "ready again"),
            Err(reason) if before.ready || !before.asked => {
                tracing::warn!(services, %reason, "not ready");
            }
            _ => {}
        }
    }
}

impl Health {
    /// Health of a process with these services, none of them ready.
    pub(crate) async fn new(services: impl IntoIterator<Item = &str>) -> Self {
        let reporter = HealthReporter::new();
        reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        let standing = Standing { ready: false, needed: true, asked: false };
        let services = services.into_iter().map(|name| (name.to_owned(), standing)).collect();
        let state = Arc::new(Mutex::new(State { services, ..State::default() }));
        let health = Self { reporter, state };
        health.change(|_| ()).await;
        health
    }

    /// A server for a listener.
    pub(crate) fn server(&self) -> HealthServer<HealthService> {
        crate::served!(HealthServer::new(HealthService::from_health_reporter(
            self.reporter.clone()
        )))
    }

    /// Says whether a service, by its full name, is ready.
    pub async fn set_ready(&self, service: &str, ready: bool) {
        self.change(|state| {
            let unknown = Standing { ready, needed: true, asked: true };
            state.services.entry(service.to_owned()).or_insert(unknown).ready = ready;
        })
        .await;
    }

    /// Says that every service is ready.
    pub async fn set_all_ready(&self) {
        self.change(|state| state.services.values_mut().for_each(|it| it.ready = true)).await;
    }

    /// Asks all services once, at the same time, and says what they answer. Takes no longer than the patience with one.
    pub async fn look(&self, probes: &Arc<[Probe]>) {
        let mut asked = JoinSet::new();
        for index in 0..probes.len() {
            let probes = Arc::clone(probes);
            // A task each: one that panics is not ready, and keeps no other from being asked.
            asked.spawn(async move {
                let Some(probe) = probes.get(index) else { return (index, Ok(())) };
                let late = |_| Err(format!("no answer within {} ms", PATIENCE.as_millis()));
                (index, timeout(PATIENCE, (probe.check)()).await.unwrap_or_else(late))
            });
        }
        let failed = || Err("the look at it failed".to_owned());
        let mut answers: Vec<_> = probes.iter().map(|_| failed()).collect();
        while let Some(joined) = asked.join_next().await {
            if let Ok((index, answer)) = joined
                && let Some(place) = answers.get_mut(index)
            {
                *place = answer;
            }
        }
        self.change(|state| {
            for (probe, answer) in probes.iter().zip(&answers) {
                state.note(probe, answer);
            }
        })
        .await;
    }

    /// Asks all services once a second, until `stop`.
    pub async fn watch(self, probes: Arc<[Probe]>, stop: CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watching = async {
            loop {
                ticks.tick().await;
                self.look(&probes).await;
            }
        };
        stop.run_until_cancelled(watching).await;
    }

    /// Says that nothing is ready any more, for good.
    pub(crate) async fn stop(&self) {
        self.change(|state| state.stopping = true).await;
    }

    async fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().await;
        change(&mut state);
        let now = state.now();
        for (name, ready) in &now {
            // Those who watch are told of changes alone.
            if state.told.get(name) != Some(ready) {
                self.report(name, *ready).await;
            }
        }
        state.told = now;
    }

    async fn report(&self, service: &str, ready: bool) {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status(service, status).await;
    }
}
