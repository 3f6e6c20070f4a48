//! A service whose handler is a closure, and the ways to it.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use api::{
    Refusal,
    ranking::v1::{
        ListTopProductsRequest, ListTopProductsResponse, TopProduct,
        ranking_service_client::RankingServiceClient,
        ranking_service_server::{RankingService, RankingServiceServer},
    },
};
use http::{HeaderValue, Request};
use hyper_util::{client::legacy, rt::TokioExecutor};
use platform::{
    Chassis, Limits, Listener, Origins, Server, Services, Transport,
    server::Settings,
    transport::{local, over, remote},
};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tonic::{Response, Status, body::Body};
use tonic_types::{ErrorDetail, StatusExt};
use tonic_web::GrpcWebClientLayer;
use tower::{Layer, ServiceExt};

pub(crate) const METHOD: &str = "/commerce.ranking.v1.RankingService/ListTopProducts";

/// Where pages are that may call.
pub(crate) const ORIGIN: &str = "https://shop.example";

pub(crate) type Client = RankingServiceClient<Transport>;
pub(crate) type Answer = Result<Response<ListTopProductsResponse>, Status>;

type Handler = dyn Fn() -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync;

/// The service; only `ListTopProducts` has a handler.
#[derive(Clone)]
pub(crate) struct Stub(Arc<Handler>);

/// A handler that waits to be let go.
pub(crate) struct Gate {
    begun: Semaphore,
    open: Semaphore,
    ended: Semaphore,
}

impl Stub {
    pub(crate) fn new<F>(handler: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(handler())))
    }

    pub(crate) fn services(&self) -> Services {
        let server = platform::served!(RankingServiceServer::new(self.clone()));
        Services::default().with(server)
    }

    /// In process.
    pub(crate) fn local(&self, max_calls: usize) -> Transport {
        local(self.services(), &Chassis::new(limits(max_calls), TaskTracker::new()))
    }

    /// Over a socket.
    pub(crate) async fn remote(&self, max_calls: usize) -> Transport {
        let limits = limits(max_calls);
        let server = bind(Settings { limits, ..Settings::default() }, self.services()).await;
        let transport = to(server.address("public").unwrap());
        tokio::spawn(server.serve(std::future::pending()));
        transport
    }

    /// Over a socket, as a page calls.
    async fn web(&self, max_calls: usize) -> Transport {
        let settings = Settings { limits: limits(max_calls), ..Settings::default() };
        page(serve_web(settings, self).await, ORIGIN)
    }

    /// Both ways, with their names.
    pub(crate) async fn both(&self, max_calls: usize) -> [(&'static str, Transport); 2] {
        [("in process", self.local(max_calls)), ("remote", self.remote(max_calls).await)]
    }

    /// All ways, with their names.
    pub(crate) async fn ways(&self, max_calls: usize) -> [(&'static str, Transport); 3] {
        let [local, remote] = self.both(max_calls).await;
        [local, remote, ("gRPC-Web", self.web(max_calls).await)]
    }
}

#[tonic::async_trait]
impl RankingService for Stub {
    async fn list_top_products(&self, _: tonic::Request<ListTopProductsRequest>) -> Answer {
        (self.0)().await
    }
}

impl Gate {
    pub(crate) fn new() -> Arc<Self> {
        let closed = || Semaphore::new(0);
        Arc::new(Self { begun: closed(), open: closed(), ended: closed() })
    }

    /// A service whose handler waits here.
    pub(crate) fn stub(self: &Arc<Self>) -> Stub {
        let gate = Arc::clone(self);
        Stub::new(move || {
            let gate = Arc::clone(&gate);
            async move {
                gate.begun.add_permits(1);
                gate.open.acquire().await.unwrap().forget();
                gate.ended.add_permits(1);
                Ok(named(["let go"]))
            }
        })
    }

    /// Waits until one more handler has begun.
    pub(crate) async fn begun(&self) {
        self.begun.acquire().await.unwrap().forget();
    }

    /// Lets one handler go.
    pub(crate) fn open(&self) {
        self.open.add_permits(1);
    }

    /// Waits until one more handler has ended.
    pub(crate) async fn ended(&self) {
        self.ended.acquire().await.unwrap().forget();
    }
}

/// A stub that answers.
pub(crate) fn answering() -> Stub {
    Stub::new(|| async { Ok(named(["here"])) })
}

/// A stub that counts how often it ran.
pub(crate) fn counting() -> (Stub, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let stub = Stub::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok(named(["here"])) }
    });
    (stub, count)
}

/// Limits that differ in the number of calls.
pub(crate) fn limits(max_calls: usize) -> Limits {
    Limits { max_calls, ..Limits::default() }
}

/// An answer that consists of texts.
pub(crate) fn named<const N: usize>(names: [&str; N]) -> Response<ListTopProductsResponse> {
    let products = names.map(|name| TopProduct { name: name.to_owned(), ..Default::default() });
    Response::new(ListTopProductsResponse { products: products.into(), ..Default::default() })
}

/// The texts of an answer.
pub(crate) fn names(answer: Answer) -> Vec<String> {
    answer.unwrap().into_inner().products.into_iter().map(|product| product.name).collect()
}

pub(crate) fn client(transport: &Transport) -> Client {
    Client::new(transport.clone())
}

pub(crate) fn request(budget: Duration) -> tonic::Request<ListTopProductsRequest> {
    let mut request = tonic::Request::new(ListTopProductsRequest::default());
    request.set_timeout(budget);
    request
}

pub(crate) async fn list(transport: &Transport) -> Answer {
    client(transport).list_top_products(request(Duration::from_mins(1))).await
}

pub(crate) async fn bind(settings: Settings, services: Services) -> Server {
    Server::bind(settings, [listener("public", services, None)]).await.unwrap()
}

/// The same, for pages of [`ORIGIN`] too.
pub(crate) async fn bind_web(settings: Settings, services: Services) -> Server {
    let origins = Some(ORIGIN.parse().unwrap());
    Server::bind(settings, [listener("public", services, origins)]).await.unwrap()
}

/// A server of this stub that pages may call, and where it is.
pub(crate) async fn serve_web(settings: Settings, stub: &Stub) -> SocketAddr {
    let server = bind_web(settings, stub.services()).await;
    let address = server.address("public").unwrap();
    tokio::spawn(server.serve(std::future::pending()));
    address
}

/// A listener on a free port.
pub(crate) fn listener(name: &'static str, services: Services, web: Option<Origins>) -> Listener {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let descriptors = api::FILE_DESCRIPTOR_SET.to_vec();
    Listener { name, address, services, descriptors, web }
}

/// gRPC-Web over HTTP/1.1, from a page of this origin.
pub(crate) fn page(address: SocketAddr, origin: &'static str) -> Transport {
    let client = legacy::Client::builder(TokioExecutor::new()).build_http();
    let service = GrpcWebClientLayer::new().layer(client);
    let service = service.map_request(move |mut request: Request<Body>| {
        let uri = format!("http://{address}{}", request.uri().path());
        *request.uri_mut() = uri.parse().unwrap();
        request.headers_mut().insert("origin", HeaderValue::from_static(origin));
        request
    });
    over(service.map_response(|response| response.map(Body::new)))
}

/// What is awaited comes long before this, or never.
pub(crate) async fn soon<F: Future>(awaited: F) -> F::Output {
    tokio::time::timeout(Duration::from_mins(1), awaited).await.expect("it comes in time")
}

pub(crate) fn to(address: SocketAddr) -> Transport {
    remote(&[format!("http://{address}")], 2).unwrap()
}

/// The refusal that an error tells, after checking that it has exactly one error info.
pub(crate) fn refusal(status: &Status) -> Refusal {
    let details = status.get_error_details_vec();
    let infos = details.iter().filter(|detail| matches!(detail, ErrorDetail::ErrorInfo(_)));
    assert_eq!(infos.count(), 1, "{status:?}");
    Refusal::from_status(status).unwrap()
}
