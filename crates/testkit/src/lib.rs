//! What tests stand on: a private MariaDB and Redis, fresh databases, and, with the feature `shop`, a whole shop.
//!
//! One MariaDB serves all tests of a test program: it starts when first asked for, on a temporary folder, and dies with
//! the program. It commits as durably as the real one, only smaller. Tests do not disturb each other because each takes
//! databases of its own. `TEST_MYSQL_URL` names a server to use instead, of any kind and version; `EMBEDDED_MYSQLD` a
//! server program (see `embedded`).
//!
//! With the feature `kafka` also a broker: one of its own, from the jars in the folder that `EMBEDDED_KAFKA` names, or the
//! one at the `HOST:PORT` of `TEST_KAFKA_BROKERS`.
//!
//! Everything here panics when it fails: that is how a test ends. All of it needs
//! `#[tokio::test(flavor = "multi_thread")]`.
#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

mod clock;
pub mod digests;
#[cfg(feature = "kafka")]
mod kafka;
mod power;
mod proxy;
mod servers;
#[cfg(feature = "shop")]
mod shop;
mod stepper;
mod told;
mod wait;

pub use clock::Clock;
#[cfg(feature = "kafka")]
pub use kafka::{Brokers, kafka, kafka_alone};
pub use power::{power_cut, written};
pub use proxy::{AfterLoss, Proxy};
pub use servers::{Given, Server, database, fresh_database, mysql, redis, redis_url};
#[cfg(feature = "shop")]
pub use shop::{
    Builder, Coupon, Shop, at_once, checkout_on, coupon_admin_on, coupons_on, events_on, is_admin,
    issue, orders_on, patiently, place, product_admin_on, products_on, ranking_admin_on,
    ranking_on, reason, wallets_on,
};
pub use stepper::{Acted, Stepper};
pub use told::told;
pub use wait::until;

/// A fresh id for a request.
pub fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
