//! Health, as `grpc.health.v1` on every listener: readiness apart from liveness.
//!
//! - `""`: SERVING when every service of the process is ready.
//! - a service's full name: SERVING when that service is ready.
//! - `"liveness"`: SERVING as long as the process answers at all.
//!
//! Restart a process that is not live; send no calls to one that is not ready. When the process
//! begins to stop, nothing is ready any more and nothing becomes ready again.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::Mutex;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

/// The name under which a probe asks whether the process is alive.
pub const LIVENESS: &str = "liveness";

/// The name under which a probe asks whether all services are ready.
const OVERALL: &str = "";

/// Says which services are ready. Cheap to clone; all clones say the same.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    ready: BTreeMap<String, bool>,
    stopping: bool,
}

impl Health {
    /// Health of a process with these services, none of them ready.
    pub(crate) async fn new(services: impl IntoIterator<Item = &str>) -> Self {
        let reporter = HealthReporter::new();
        reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        let ready = services.into_iter().map(|name| (name.to_owned(), false)).collect();
        let state = Arc::new(Mutex::new(State { ready, stopping: false }));
        let health = Self { reporter, state };
        health.change(|_| ()).await;
        health
    }

    /// A server for a listener.
    pub(crate) fn server(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// Says whether a service, by its full name, is ready.
    pub async fn set_ready(&self, service: &str, ready: bool) {
        self.change(|state| {
            state.ready.insert(service.to_owned(), ready);
        })
        .await;
    }

    /// Says that every service is ready.
    pub async fn set_all_ready(&self) {
        self.change(|state| state.ready.values_mut().for_each(|ready| *ready = true)).await;
    }

    /// Says that nothing is ready any more, for good.
    pub(crate) async fn stop(&self) {
        self.change(|state| state.stopping = true).await;
    }

    async fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().await;
        change(&mut state);
        for (service, ready) in &state.ready {
            self.report(service, *ready && !state.stopping).await;
        }
        let all = state.ready.values().all(|ready| *ready);
        self.report(OVERALL, all && !state.stopping).await;
    }

    async fn report(&self, service: &str, ready: bool) {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status(service, status).await;
    }
}
