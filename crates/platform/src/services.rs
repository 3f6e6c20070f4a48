//! The services that one listener, or one process to itself, offers.

use std::convert::Infallible;

use http::{Request, Response};
use tonic::{body::Body, server::NamedService, service::Routes};
use tower::Service;

/// Generated servers by their names: `Services::default().with(WalletServiceServer::new(…))`.
#[derive(Clone, Debug, Default)]
pub struct Services {
    routes: Routes,
    names: Vec<&'static str>,
}

impl Services {
    /// Adds a generated server.
    ///
    /// # Panics
    /// If one of the same name is there already.
    #[must_use]
    pub fn with<S>(self, server: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        let names = self.names.into_iter().chain([S::NAME]).collect();
        Self { routes: self.routes.add_service(server), names }
    }

    /// Their full names, such as `commerce.wallet.v1.WalletService`, in the order of adding.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }
}

impl From<Services> for Routes {
    fn from(services: Services) -> Self {
        services.routes.prepare()
    }
}
