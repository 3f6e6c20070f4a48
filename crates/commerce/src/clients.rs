//! A shop from outside: where its services are, their clients over TCP, and the patience that a client needs.

use api::checkout::v1::checkout_service_client::CheckoutServiceClient;
use api::coupon::v1::coupon_admin_service_client::CouponAdminServiceClient;
use api::coupon::v1::coupon_service_client::CouponServiceClient;
use api::order::v1::order_service_client::OrderServiceClient;
use api::product::v1::product_admin_service_client::ProductAdminServiceClient;
use api::product::v1::product_service_client::ProductServiceClient;
use api::ranking::v1::ranking_service_client::RankingServiceClient;
use api::wallet::v1::wallet_service_client::WalletServiceClient;
use api::{Reason, Refusal};
use platform::Transport;
use platform::transport::{self, remote};
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Code, Response, Status};

/// Pauses between attempts: from this, doubled …
const LEAST_PAUSE_MS: u64 = 10;
/// … up to this.
const MOST_PAUSE_MS: u64 = 1_000;

/// The admin listener's port where none is named.
const ADMIN_PORT: u16 = 50053;

/// Where the services of a shop are, each as `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// `WalletService`.
    pub wallet: String,
    /// `ProductService`.
    pub product: String,
    /// `CouponService`.
    pub coupon: String,
    /// `OrderService`.
    pub order: String,
    /// `RankingService`.
    pub ranking: String,
    /// `CheckoutService`.
    pub orchestrator: String,
    /// `ProductAdminService`.
    pub product_admin: String,
    /// `CouponAdminService`.
    pub coupon_admin: String,
}

/// An address that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "--connect {0}: must be HOST:PORT, or SERVICE=HOST:PORT with one of wallet, product, coupon, order, ranking, \
    orchestrator, product-admin, coupon-admin, admin"
)]
pub struct NoAddress(String);

impl Addresses {
    /// All public services behind one address, and those for the back office behind another.
    pub fn at(public: impl Into<String>, admin: impl Into<String>) -> Self {
        let (public, admin) = (public.into(), admin.into());
        Self {
            wallet: public.clone(),
            product: public.clone(),
            coupon: public.clone(),
            order: public.clone(),
            ranking: public.clone(),
            orchestrator: public,
            product_admin: admin.clone(),
            coupon_admin: admin,
        }
    }

    /// From `HOST:PORT` for all services and `SERVICE=HOST:PORT` for one, `admin=HOST:PORT` for those of the back office;
    /// later ones win. Without an address of their own they are at port 50053 of the host. `None` when nothing is given.
    ///
    /// # Errors
    /// [`NoAddress`].
    pub fn parse(given: &[String]) -> Result<Option<Self>, NoAddress> {
        let mut addresses: Option<Self> = None;
        for text in given {
            let refuse = || NoAddress(text.clone());
            let (service, address) =
                text.split_once('=').map_or((None, text.as_str()), |(s, a)| (Some(s), a));
            let address = address.strip_prefix("http://").unwrap_or(address);
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() {
                return Err(refuse());
            }
            let of_host = || {
                let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
                Self::at(address, format!("{host}:{ADMIN_PORT}"))
            };
            let all = addresses.get_or_insert_with(of_host);
            match service {
                None => *all = of_host(),
                Some("admin") => {
                    address.clone_into(&mut all.product_admin);
                    address.clone_into(&mut all.coupon_admin);
                }
                Some(name) => address.clone_into(all.service(name).ok_or_else(refuse)?),
            }
        }
        Ok(addresses)
    }

    /// Each of them, once.
    pub fn distinct(&self) -> BTreeSet<&str> {
        let Self { wallet, product, coupon, order, ranking, orchestrator, .. } = self;
        let Self { product_admin, coupon_admin, .. } = self;
        let all =
            [wallet, product, coupon, order, ranking, orchestrator, product_admin, coupon_admin];
        all.map(String::as_str).into()
    }

    /// The address of a service: the name of its role, of the back office's with `-admin`.
    pub fn service(&mut self, name: &str) -> Option<&mut String> {
        match name {
            "wallet" => Some(&mut self.wallet),
            "product" => Some(&mut self.product),
            "coupon" => Some(&mut self.coupon),
            "order" => Some(&mut self.order),
            "ranking" => Some(&mut self.ranking),
            "orchestrator" => Some(&mut self.orchestrator),
            "product-admin" => Some(&mut self.product_admin),
            "coupon-admin" => Some(&mut self.coupon_admin),
            _ => None,
        }
    }
}

/// Clients of the services. Cheap to clone.
#[derive(Clone)]
pub struct Clients {
    /// Wallets.
    pub wallets: WalletServiceClient<Transport>,
    /// Products.
    pub products: ProductServiceClient<Transport>,
    /// Coupons.
    pub coupons: CouponServiceClient<Transport>,
    /// Orders.
    pub orders: OrderServiceClient<Transport>,
    /// Best sellers.
    pub ranking: RankingServiceClient<Transport>,
    /// Checkouts.
    pub checkout: CheckoutServiceClient<Transport>,
    /// Products, for the back office.
    pub product_admin: ProductAdminServiceClient<Transport>,
    /// Coupons, for the back office.
    pub coupon_admin: CouponAdminServiceClient<Transport>,
}

impl Clients {
    /// Clients over `connections` connections to each service, opened when first needed.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(addresses: &Addresses, connections: usize) -> Result<Self, transport::Error> {
        let to = |address: &str| remote(&[format!("http://{address}")], connections);
        Ok(Self {
            wallets: WalletServiceClient::new(to(&addresses.wallet)?),
            products: ProductServiceClient::new(to(&addresses.product)?),
            coupons: CouponServiceClient::new(to(&addresses.coupon)?),
            orders: OrderServiceClient::new(to(&addresses.order)?),
            ranking: RankingServiceClient::new(to(&addresses.ranking)?),
            checkout: CheckoutServiceClient::new(to(&addresses.orchestrator)?),
            product_admin: ProductAdminServiceClient::new(to(&addresses.product_admin)?),
            coupon_admin: CouponAdminServiceClient::new(to(&addresses.coupon_admin)?),
        })
    }
}

/// What a client does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It is the answer.
    Answer,
    /// Ask again, with the same request id.
    Again,
    /// Ask again after this long.
    After(Duration),
}

/// Calls until there is an answer that repeating does not change, for `patience` at most. The call must be the same each
/// time, request id included.
///
/// # Errors
/// The answer, or what was said last.
pub async fn patiently<T>(
    patience: Duration,
    mut call: impl AsyncFnMut() -> Result<Response<T>, Status>,
) -> Result<Response<T>, Status> {
    let until = Instant::now() + patience;
    for attempt in 0_u32.. {
        let status = match call().await {
            Ok(response) => return Ok(response),
            Err(status) => status,
        };
        let pause = match then(&status) {
            Then::Answer => return Err(status),
            Then::Again => backoff(attempt),
            Then::After(least) => least + backoff(attempt),
        };
        if Instant::now() + pause > until {
            return Err(status);
        }
        tokio::time::sleep(pause).await;
    }
    Err(Status::cancelled("out of patience"))
}

/// A pause that grows with the attempts, jittered so that many callers do not come back together.
pub fn backoff(attempt: u32) -> Duration {
    let most = LEAST_PAUSE_MS.saturating_mul(2_u64.saturating_pow(attempt)).min(MOST_PAUSE_MS);
    Duration::from_millis(rand::rng().random_range(LEAST_PAUSE_MS / 2..=most))
}

fn then(status: &Status) -> Then {
    match Refusal::from_status(status) {
        Some(refusal) => match refusal.reason {
            Reason::Overloaded => {
                let millis = refusal.metadata.get("retry_after_ms").and_then(|it| it.parse().ok());
                Then::After(Duration::from_millis(millis.unwrap_or(LEAST_PAUSE_MS)))
            }
            Reason::Unavailable
            | Reason::StreamEnded
            | Reason::DeadlineExceeded
            | Reason::Cancelled => Then::Again,
            _ => Then::Answer,
        },
        // An error that no service of ours made: a connection that broke, a proxy in between.
        None => match status.code() {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::ResourceExhausted
            | Code::Unknown
            | Code::Internal => Then::Again,
            _ => Then::Answer,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_serves_all_and_a_service_may_have_its_own() {
        let given = ["shop:50051".to_owned(), "wallet=bank:1".to_owned()];
        let addresses = Addresses::parse(&given).unwrap().unwrap();
        assert_eq!(addresses.wallet, "bank:1");
        assert_eq!(addresses.orchestrator, "shop:50051");
        assert_eq!(addresses.product_admin, "shop:50053");
        let given = ["shop:50051".to_owned(), "admin=office:2".to_owned()];
        let addresses = Addresses::parse(&given).unwrap().unwrap();
        assert_eq!(
            (addresses.coupon_admin.as_str(), addresses.coupon.as_str()),
            ("office:2", "shop:50051")
        );
        assert_eq!(Addresses::parse(&[]).unwrap(), None);
        for bad in ["shop", "cellar=shop:1", "shop:http"] {
            assert!(Addresses::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_repeating_may_change_is_repeated() {
        let refusal = |reason| Status::from(Refusal::new(reason));
        assert_eq!(then(&refusal(Reason::Unavailable)), Then::Again);
        assert_eq!(then(&refusal(Reason::InsufficientStock)), Then::Answer);
        assert_eq!(then(&refusal(Reason::SagaAborted)), Then::Answer);
        assert_eq!(then(&refusal(Reason::Internal)), Then::Answer);
        assert_eq!(then(&Status::unknown("transport error")), Then::Again);
        assert_eq!(then(&Status::unimplemented("no such call")), Then::Answer);
        let overloaded = Refusal::overloaded(Duration::from_millis(70)).into();
        assert_eq!(then(&overloaded), Then::After(Duration::from_millis(70)));
    }
}
