//! The listeners of a process: their sockets, what is on each of them, and how they end.

use std::{io, net::SocketAddr, time::Duration};

use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    service::Routes,
    transport::{self, server::TcpIncoming},
};

use crate::{
    Chassis, Health, Limits, Services,
    transport::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT},
};

/// What every listener offers besides its services.
const COMMON: [&str; 2] = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"];

/// What describes the details of errors, so that tools can print them.
const ERROR_DETAILS: &[u8] = tonic_types::pb::FILE_DESCRIPTOR_SET;

/// A port and the services on it.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name, such as `public`, `participant` or `admin`.
    pub name: &'static str,
    /// Where it listens; port 0 takes a free one, which [`Server::address`] tells.
    pub address: SocketAddr,
    /// What it offers, besides health and reflection.
    pub services: Services,
}

/// How the listeners behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What each listener bears.
    pub limits: Limits,
    /// Calls at once on one connection. 256.
    pub max_streams: u32,
    /// When a connection is asked to close, so that clients find new instances. 10 min.
    pub max_connection_age: Duration,
    /// How long calls in flight may take at the end. 10 s.
    pub drain: Duration,
}

/// Listeners with their sockets open.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    listeners: Vec<Open>,
    health: Health,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Open {
    name: &'static str,
    address: SocketAddr,
    incoming: TcpIncoming,
    routes: Routes,
}

/// Why a listener does not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({name})")]
    Bind {
        /// The listener.
        name: &'static str,
        /// Its address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The descriptors do not describe the services.
    #[error("cannot offer reflection on {name}")]
    Reflection {
        /// The listener.
        name: &'static str,
        /// Why.
        source: tonic_reflection::server::Error,
    },
    /// The listener broke down.
    #[error("listener {name} failed")]
    Serve {
        /// The listener.
        name: &'static str,
        /// Why.
        source: transport::Error,
    },
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            max_streams: 256,
            max_connection_age: Duration::from_mins(10),
            drain: Duration::from_secs(10),
        }
    }
}

impl Server {
    /// Opens the sockets, in a tokio runtime. Clients may connect; they are answered once
    /// [`Server::serve`] runs.
    ///
    /// `descriptors` is the encoded `FileDescriptorSet` of all services, for reflection.
    ///
    /// # Errors
    /// [`Error::Bind`] and [`Error::Reflection`].
    pub async fn bind(
        settings: Settings,
        listeners: impl IntoIterator<Item = Listener>,
        descriptors: &[u8],
    ) -> Result<Self, Error> {
        let listeners: Vec<_> = listeners.into_iter().collect();
        let names = listeners.iter().flat_map(|listener| listener.services.names().iter().copied());
        let health = Health::new(names).await;
        let open = listeners.into_iter().map(|listener| Open::new(listener, &health, descriptors));
        let listeners = open.collect::<Result<_, _>>()?;
        Ok(Self { settings, listeners, health, tasks: TaskTracker::new() })
    }

    /// Where a listener is.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.listeners.iter().find(|listener| listener.name == name).map(|it| it.address)
    }

    /// The health that all listeners tell. Nothing is ready at first.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// The tasks that the end waits for: the handlers, and what else is spawned on them.
    pub fn tasks(&self) -> TaskTracker {
        self.tasks.clone()
    }

    /// Serves until `shutdown` is done; then nothing is ready any more, no connection is accepted,
    /// and what is in flight has [`Settings::drain`] to end.
    ///
    /// # Errors
    /// [`Error::Serve`] as soon as one listener breaks down; the others end as above.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let stop = CancellationToken::new();
        let mut serving = JoinSet::new();
        for listener in self.listeners {
            let chassis = Chassis::new(self.settings.limits, self.tasks.clone());
            serving.spawn(listener.serve(self.settings, chassis, stop.clone()));
        }
        let broken = tokio::select! {
            () = shutdown => None,
            Some(ended) = serving.join_next() => Some(ended),
        };
        tracing::info!(drain_ms = self.settings.drain.as_millis(), "stopping");
        self.health.stop().await;
        stop.cancel();
        self.tasks.close();
        let drained = async {
            while serving.join_next().await.is_some() {}
            self.tasks.wait().await;
        };
        if tokio::time::timeout(self.settings.drain, drained).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "stopped with calls in flight");
        }
        broken.and_then(Result::ok).unwrap_or(Ok(()))
    }
}

impl Open {
    fn new(listener: Listener, health: &Health, descriptors: &[u8]) -> Result<Self, Error> {
        let Listener { name, address, services } = listener;
        let configured = || {
            let builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(descriptors)
                .register_encoded_file_descriptor_set(ERROR_DETAILS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
            let names = services.names().iter().chain(&COMMON);
            names.fold(builder, |builder, name| builder.with_service_name(*name))
        };
        let failed = |source| Error::Reflection { name, source };
        let reflection = configured().build_v1().map_err(failed)?;
        // Many tools know only the version before the first.
        let for_older_tools = configured().build_v1alpha().map_err(failed)?;
        let bind = |source| Error::Bind { name, address, source };
        let incoming = TcpIncoming::bind(address).map_err(bind)?.with_nodelay(Some(true));
        let address = incoming.local_addr().map_err(bind)?;
        let routes =
            services.clone().with(health.server()).with(reflection).with(for_older_tools).into();
        Ok(Self { name, address, incoming, routes })
    }

    async fn serve(
        self,
        settings: Settings,
        chassis: Chassis,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let Self { name, address, incoming, routes } = self;
        tracing::info!(listener = name, %address, "listening");
        // Without a grace: with one, tonic cuts the connection in place of asking it to close.
        transport::Server::builder()
            .max_concurrent_streams(settings.max_streams)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_connection_age(settings.max_connection_age)
            .layer(chassis)
            .serve_with_incoming_shutdown(routes, incoming, stop.cancelled_owned())
            .await
            .map_err(|source| Error::Serve { name, source })
    }
}
