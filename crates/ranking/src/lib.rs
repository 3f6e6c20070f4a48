//! The best sellers of the last 72 hours, by the number of orders that contain a product.
//!
//! Order events are counted in Redis ([`store`]) by a [`Counter`], which an `events::Consumer` feeds. Counts that are gone,
//! or that an operator distrusts, are counted afresh from the retained events beside those that are served ([`Rebuild`]).
//! [`Service`] serves them, with names and prices of the product service.

mod counter;
pub mod domain;
mod list;
mod products;
mod rebuild;
mod requests;
mod service;
mod steady;
pub mod store;

pub use counter::{Counter, caught_up};
pub use products::Products;
pub use rebuild::{Error, Rebuild, Rebuilt, Start};
pub use service::{COPY_LIFE, Service};
pub use steady::Steady;
pub use store::Store;

/// The name under which the bus of the order events knows this consumer.
pub const CONSUMER: &str = "ranking";
