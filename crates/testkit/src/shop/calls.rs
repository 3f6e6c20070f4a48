//! Calling the shop over TCP.

use super::Shop;
use crate::request_id;
use api::checkout::v1::checkout_service_client::CheckoutServiceClient;
use api::checkout::v1::{CheckoutLine, CheckoutState, PlaceOrderRequest, PlacedOrder};
use api::coupon::v1::coupon_admin_service_client::CouponAdminServiceClient;
use api::coupon::v1::coupon_service_client::CouponServiceClient;
use api::coupon::v1::{IssueCouponRequest, IssuedCoupon};
use api::events::v1::event_service_client::EventServiceClient;
use api::order::v1::order_service_client::OrderServiceClient;
use api::product::v1::product_admin_service_client::ProductAdminServiceClient;
use api::product::v1::product_service_client::ProductServiceClient;
use api::ranking::v1::ranking_admin_service_client::RankingAdminServiceClient;
use api::ranking::v1::ranking_service_client::RankingServiceClient;
use api::saga::v1::saga_admin_service_client::SagaAdminServiceClient;
use api::saga::v1::saga_participant_service_client::SagaParticipantServiceClient;
use api::wallet::v1::wallet_service_client::WalletServiceClient;
use api::{Reason, Refusal};
use commerce::clients::backoff;
use futures_util::future::join_all;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::Barrier;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

/// How long a call is repeated before the test gives up.
const PATIENCE: Duration = Duration::from_mins(1);
/// Connections that are used at once at most.
const CONNECTIONS: usize = 256;

macro_rules! clients {
    ($($(#[$doc:meta])+ $on:ident, $by:ident: $client:ident, $listener:ident;)+) => {
        $($(#[$doc])+
        pub fn $on(channel: Channel) -> $client<Channel> {
            $client::new(channel)
        })+

        impl Shop {
            $($(#[$doc])+
            pub fn $by(&self) -> $client<Channel> {
                $on(lazy(self.listening.$listener))
            })+
        }
    };
}

clients! {
    /// `WalletService`.
    wallets_on, wallets: WalletServiceClient, public;
    /// `ProductService`.
    products_on, products: ProductServiceClient, public;
    /// `CouponService`.
    coupons_on, coupons: CouponServiceClient, public;
    /// `OrderService`.
    orders_on, orders: OrderServiceClient, public;
    /// `RankingService`.
    ranking_on, ranking: RankingServiceClient, public;
    /// `CheckoutService`.
    checkout_on, checkout: CheckoutServiceClient, public;
    /// `ProductAdminService`.
    product_admin_on, product_admin: ProductAdminServiceClient, admin;
    /// `CouponAdminService`.
    coupon_admin_on, coupon_admin: CouponAdminServiceClient, admin;
    /// `RankingAdminService`.
    ranking_admin_on, ranking_admin: RankingAdminServiceClient, admin;
    /// `EventService`.
    events_on, events: EventServiceClient, admin;
}

impl Shop {
    /// `SagaAdminService`.
    pub fn saga_admin(&self) -> SagaAdminServiceClient<Channel> {
        SagaAdminServiceClient::new(lazy(self.listening.admin))
    }

    /// The service that all participants have.
    pub fn participants(&self) -> SagaParticipantServiceClient<Channel> {
        SagaParticipantServiceClient::new(lazy(self.participant()))
    }

    /// A new connection to the public listener.
    pub async fn channel(&self) -> Channel {
        connect(self.listening.public).await
    }

    /// A new connection to the participant listener.
    pub async fn participant_channel(&self) -> Channel {
        connect(self.participant()).await
    }

    /// A new connection to the admin listener.
    pub async fn admin_channel(&self) -> Channel {
        connect(self.listening.admin).await
    }

    fn participant(&self) -> SocketAddr {
        self.listening.participant.expect("every shop has steps")
    }

    /// Orders products (id, quantity) for a user, under a fresh request id.
    ///
    /// # Errors
    /// The reason for which there is no order.
    pub async fn order(&self, user_id: i64, lines: &[(i64, i32)]) -> Result<PlacedOrder, Status> {
        let line = |&(product_id, quantity): &(i64, i32)| CheckoutLine { product_id, quantity };
        let request = PlaceOrderRequest {
            request_id: request_id(),
            user_id,
            lines: lines.iter().map(line).collect(),
            coupon_id: None,
            expected_total_won: None,
        };
        place(lazy(self.listening.public), request).await
    }
}

/// Places an order, repeating the request until it is decided.
///
/// # Errors
/// The reason for which there is no order.
pub async fn place(channel: Channel, request: PlaceOrderRequest) -> Result<PlacedOrder, Status> {
    let until = Instant::now() + PATIENCE;
    for attempt in 0.. {
        let answer =
            patiently(async || checkout_on(channel.clone()).place_order(request.clone()).await);
        let answer = answer.await?.into_inner();
        if let (CheckoutState::Succeeded, Some(order)) = (answer.state(), answer.order) {
            return Ok(order);
        }
        assert!(Instant::now() < until, "the order is not decided");
        tokio::time::sleep(backoff(attempt)).await;
    }
    unreachable!("attempts do not end")
}

/// Issues a coupon, repeating the request until it is decided.
///
/// # Errors
/// The reason for which none is issued.
pub async fn issue(channel: Channel, request: IssueCouponRequest) -> Result<IssuedCoupon, Status> {
    let issued =
        patiently(async || coupons_on(channel.clone()).issue_coupon(request.clone()).await);
    Ok(issued.await?.into_inner().issued_coupon.expect("the answer names it"))
}

/// Repeats a call while its outcome is unknown: OVERLOADED, UNAVAILABLE, a deadline that passed, or no connection. The call must
/// be idempotent.
///
/// # Errors
/// The first other answer.
pub async fn patiently<T>(
    mut call: impl AsyncFnMut() -> Result<Response<T>, Status>,
) -> Result<Response<T>, Status> {
    let until = Instant::now() + PATIENCE;
    for attempt in 0.. {
        let status = match call().await {
            Ok(response) => return Ok(response),
            Err(status) => status,
        };
        let pause = match Refusal::from_status(&status) {
            Some(refusal) if refusal.reason == Reason::Overloaded => {
                let millis = refusal.metadata.get("retry_after_ms");
                let millis = millis.and_then(|text| text.parse().ok()).unwrap_or_default();
                Duration::from_millis(millis) + backoff(attempt)
            }
            _ if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) => {
                backoff(attempt)
            }
            _ => return Err(status),
        };
        assert!(Instant::now() < until, "still unavailable: {status:?}");
        tokio::time::sleep(pause).await;
    }
    unreachable!("attempts do not end")
}

/// Sends all requests at once: each on a connection of its own (above 256, these in turn), all released by one barrier.
/// The answers stand in the order of the requests.
pub async fn at_once<R, T>(
    shop: &Shop,
    requests: Vec<R>,
    call: impl AsyncFn(Channel, R) -> T,
) -> Vec<T> {
    let connections = requests.len().clamp(1, CONNECTIONS);
    let channels = join_all((0..connections).map(|_| shop.channel())).await;
    let barrier = Barrier::new(requests.len().max(1));
    let (barrier, call) = (&barrier, &call);
    let calls = requests.into_iter().zip(channels.iter().cycle()).map(|(request, channel)| {
        let channel = channel.clone();
        async move {
            barrier.wait().await;
            call(channel, request).await
        }
    });
    join_all(calls).await
}

/// The reason of an error of the shop.
pub fn reason(status: &Status) -> Reason {
    match Refusal::from_status(status) {
        Some(refusal) => refusal.reason,
        None => super::panic_with(status),
    }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}"))
        .expect("an address is a URI")
        .tcp_nodelay(true)
}

fn lazy(address: SocketAddr) -> Channel {
    endpoint(address).connect_lazy()
}

async fn connect(address: SocketAddr) -> Channel {
    endpoint(address).connect().await.expect("the shop listens")
}
