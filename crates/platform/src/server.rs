//! The listeners of a process: their sockets, what is on each of them, and how they end.

use std::{io, net::SocketAddr, time::Duration};

use tokio::task::{JoinError, JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tower::Layer;

use crate::{
    Chassis, Health, Limits, Services,
    incoming::Incoming,
    serving::{self, Protocol, Terms},
    web::{Origins, Web},
};

/// What every listener offers besides its services.
const COMMON: [&str; 2] = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"];

/// A port and the services on it.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name, such as `public`, `participant` or `admin`.
    pub name: &'static str,
    /// Where it listens; port 0 takes a free one, which [`Server::address`] tells.
    pub address: SocketAddr,
    /// What it offers, besides health and reflection.
    pub services: Services,
    /// What describes those services and nothing else: an encoded `google.protobuf.FileDescriptorSet`, for reflection.
    pub descriptors: Vec<u8>,
    /// The origins whose pages may call it by gRPC-Web, over HTTP/1.1 and HTTP/2; `None` speaks plain gRPC over HTTP/2 only.
    pub web: Option<Origins>,
}

/// How the listeners behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What each listener bears.
    pub limits: Limits,
    /// Connections of each listener; one more is closed as soon as it is there. 10,000.
    pub max_connections: usize,
    /// How long a new connection may take to say that it speaks HTTP/2, and one of HTTP/1 to send the headers of its next
    /// request. 5 s.
    pub greeting: Duration,
    /// Calls at once on one connection; one more waits at the client. 256.
    pub max_streams: u32,
    /// When a connection is asked to close, so that clients find new instances. 10 min. One that goes on all the same ends
    /// after twice this time and the longest deadline.
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
    incoming: Incoming,
    routes: Routes,
    web: Option<Origins>,
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
    /// A listener broke down.
    #[error("a listener failed")]
    Serve(#[source] JoinError),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            max_connections: 10_000,
            greeting: Duration::from_secs(5),
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
    /// # Errors
    /// [`Error::Bind`] and [`Error::Reflection`].
    pub async fn bind(
        settings: Settings,
        listeners: impl IntoIterator<Item = Listener>,
    ) -> Result<Self, Error> {
        let listeners: Vec<_> = listeners.into_iter().collect();
        let names = listeners.iter().flat_map(|listener| listener.services.names().iter().copied());
        let health = Health::new(names).await;
        let open = |listener| Open::new(listener, settings, &health);
        let open = listeners.into_iter().map(open);
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
        let served = tokio::select! {
            () = shutdown => Ok(()),
            Some(ended) = serving.join_next() => ended.map_err(Error::Serve),
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
        served
    }
}

impl Open {
    fn new(listener: Listener, settings: Settings, health: &Health) -> Result<Self, Error> {
        let Listener { name, address, services, descriptors, web } = listener;
        let configured = || {
            let builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(&descriptors)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
            let names = services.names().iter().chain(&COMMON);
            names.fold(builder, |builder, name| builder.with_service_name(*name))
        };
        let failed = |source| Error::Reflection { name, source };
        let reflection = crate::served!(configured().build_v1().map_err(failed)?);
        // Many tools know only the version before the first.
        let for_older_tools = crate::served!(configured().build_v1alpha().map_err(failed)?);
        let bind = |source| Error::Bind { name, address, source };
        let incoming = Incoming::bind(name, address, settings.max_connections, settings.greeting)
            .map_err(bind)?;
        let address = incoming.address().map_err(bind)?;
        let routes =
            services.clone().with(health.server()).with(reflection).with(for_older_tools).into();
        Ok(Self { name, address, incoming, routes, web })
    }

    async fn serve(self, settings: Settings, chassis: Chassis, stop: CancellationToken) {
        let Self { name, address, incoming, routes, web } = self;
        tracing::info!(listener = name, %address, web = web.is_some(), "listening");
        let calls = chassis.layer(routes);
        match web {
            Some(origins) => {
                let calls = Web::new(origins).layer(calls);
                serving::serve(incoming, Terms::new(Protocol::Any, settings), calls, stop).await;
            }
            None => {
                serving::serve(incoming, Terms::new(Protocol::Http2, settings), calls, stop).await;
            }
        }
    }
}
