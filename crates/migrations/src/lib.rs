//! The schemas' migrations: those of the crates whose tables a schema has, and its own, which stand in `migrations/`, one
//! folder a schema.

use db::Migration;

// By folder: WALLET, PRODUCT and so on, each a list of migrations, oldest first.
include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// A schema of the system: its own database, its own user, its own tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Schema {
    /// Wallets and their ledger.
    Wallet,
    /// Products and their stock movements.
    Product,
    /// Orders.
    Order,
    /// Coupons.
    Coupon,
    /// The activity log.
    Activity,
    /// The sagas' journal.
    Orchestrator,
}

impl Schema {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Wallet,
        Self::Product,
        Self::Order,
        Self::Coupon,
        Self::Activity,
        Self::Orchestrator,
    ];

    /// The name of the room and of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wallet => "wallet",
            Self::Product => "product",
            Self::Order => "order",
            Self::Coupon => "coupon",
            Self::Activity => "activity",
            Self::Orchestrator => "orchestrator",
        }
    }

    /// Its migrations, oldest first.
    pub fn migrations(self) -> Vec<Migration> {
        let participant = [participant::MIGRATIONS, events::MIGRATIONS];
        let (own, shared) = match self {
            Self::Wallet => (WALLET, &participant[..]),
            Self::Product => (PRODUCT, &participant[..]),
            Self::Order => (ORDER, &participant[..]),
            Self::Coupon => (COUPON, &participant[..]),
            Self::Activity => (ACTIVITY, &[][..]),
            Self::Orchestrator => (ORCHESTRATOR, &[saga::journal::MIGRATIONS][..]),
        };
        let lists = shared.iter().copied().chain([own, db::MIGRATIONS]);
        let mut all: Vec<Migration> = lists.flatten().copied().collect();
        all.sort_by_key(|migration| migration.name);
        all
    }
}

/// Brings one schema up to date; returns the versions that were applied.
///
/// # Errors
/// See [`db::migrate`].
pub async fn run(schema: Schema, url: &str) -> db::Result<Vec<String>> {
    db::migrate(url, &schema.migrations()).await
}

/// The names of the migrations that a schema lacks. Changes nothing.
///
/// # Errors
/// See [`db::pending`].
pub async fn pending(schema: Schema, url: &str) -> db::Result<Vec<&'static str>> {
    db::pending(url, &schema.migrations()).await
}
