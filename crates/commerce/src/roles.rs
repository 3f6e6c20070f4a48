//! The roles that a process can have.

use migrations::Schema;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A role: a service, or the orchestrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Wallets.
    Wallet,
    /// Products.
    Product,
    /// Orders.
    Order,
    /// Coupons.
    Coupon,
    /// Best sellers.
    Ranking,
    /// The activity log.
    Activity,
    /// Checkouts and sagas.
    Orchestrator,
}

/// The roles of a process: at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(BTreeSet<Role>);

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no role: give all, or some of wallet, product, order, coupon, ranking, activity, orchestrator with commas between"
)]
pub struct NoRole(String);

impl Role {
    /// All roles; each may rely on those before it.
    pub const ALL: [Self; 7] = [
        Self::Wallet,
        Self::Product,
        Self::Order,
        Self::Coupon,
        Self::Ranking,
        Self::Activity,
        Self::Orchestrator,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wallet => "wallet",
            Self::Product => "product",
            Self::Order => "order",
            Self::Coupon => "coupon",
            Self::Ranking => "ranking",
            Self::Activity => "activity",
            Self::Orchestrator => "orchestrator",
        }
    }

    /// The schema that it owns.
    pub fn schema(self) -> Option<Schema> {
        match self {
            Self::Wallet => Some(Schema::Wallet),
            Self::Product => Some(Schema::Product),
            Self::Order => Some(Schema::Order),
            Self::Coupon => Some(Schema::Coupon),
            Self::Ranking => None,
            Self::Activity => Some(Schema::Activity),
            Self::Orchestrator => Some(Schema::Orchestrator),
        }
    }

    /// Whether it publishes or consumes events.
    pub fn needs_redis(self) -> bool {
        self != Self::Orchestrator
    }

    /// Whether it has steps in sagas.
    pub fn is_participant(self) -> bool {
        !matches!(self, Self::Ranking | Self::Activity | Self::Orchestrator)
    }
}

impl Roles {
    /// All roles.
    pub fn all() -> Self {
        Self(BTreeSet::from(Role::ALL))
    }

    /// Whether the role is among them.
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// The roles, each after those that it may rely on.
    pub fn iter(&self) -> impl Iterator<Item = Role> + '_ {
        self.0.iter().copied()
    }
}

impl From<Role> for Roles {
    fn from(role: Role) -> Self {
        Self(BTreeSet::from([role]))
    }
}

impl FromStr for Roles {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Self, NoRole> {
        let mut roles = BTreeSet::new();
        for word in text.split(',').map(str::trim) {
            match Role::ALL.into_iter().find(|role| role.name() == word) {
                Some(role) => drop(roles.insert(role)),
                None if word == "all" => roles.extend(Role::ALL),
                None => return Err(NoRole(word.to_owned())),
            }
        }
        Ok(Self(roles))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Role::name).collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_from_a_list() {
        assert_eq!("all".parse(), Ok(Roles::all()));
        let some: Roles = "orchestrator, wallet".parse().unwrap();
        assert_eq!(some.to_string(), "wallet,orchestrator");
        assert_eq!("".parse::<Roles>(), Err(NoRole(String::new())));
        assert_eq!("wallet,cellar".parse::<Roles>(), Err(NoRole("cellar".to_owned())));
    }
}
