//! The ways from service to service: in process where both are here, over the wire where not.

use crate::config::{Config, Peer, Problem};
use crate::roles::{Role, Roles};
use anyhow::Result;
use platform::{Chassis, Services, Transport, transport};

/// Which of a service's two listeners.
#[derive(Debug, Clone, Copy)]
enum Side {
    Public,
    Participant,
}

/// What each role calls.
const LINKS: [(Role, Role, Side); 6] = [
    (Role::Coupon, Role::Wallet, Side::Public),
    (Role::Ranking, Role::Product, Side::Public),
    (Role::Orchestrator, Role::Product, Side::Participant),
    (Role::Orchestrator, Role::Coupon, Side::Participant),
    (Role::Orchestrator, Role::Wallet, Side::Participant),
    (Role::Orchestrator, Role::Order, Side::Participant),
];

/// Refuses a role that calls a service of which nobody knows where it is.
pub(super) fn check(config: &Config, roles: &Roles) -> Result<(), Problem> {
    for (caller, callee, side) in LINKS {
        let is_apart = roles.has(caller) && !roles.has(callee);
        if is_apart && address(config, callee, side).is_none() {
            return Err(Problem::needed(key(callee, side), caller.name()));
        }
    }
    Ok(())
}

/// The way to a service's public calls.
pub(super) fn to_public(
    config: &Config,
    chassis: &Chassis,
    callee: Role,
    here: Option<Services>,
) -> Result<Transport> {
    match here {
        Some(services) => Ok(transport::local(services, chassis)),
        None => remote(config, callee, Side::Public),
    }
}

/// The way to the steps of a service that is in another process.
pub(super) fn to_participant(config: &Config, callee: Role) -> Result<Transport> {
    remote(config, callee, Side::Participant)
}

fn remote(config: &Config, callee: Role, side: Side) -> Result<Transport> {
    let needed = || Problem::needed(key(callee, side), "another role of this process");
    let address = address(config, callee, side).ok_or_else(needed)?;
    Ok(transport::remote(&[address], config.peers.connections)?)
}

fn address(config: &Config, callee: Role, side: Side) -> Option<&str> {
    let Peer { public, participant } = match callee {
        Role::Wallet => &config.peers.wallet,
        Role::Product => &config.peers.product,
        Role::Coupon => &config.peers.coupon,
        Role::Order => &config.peers.order,
        Role::Ranking | Role::Activity | Role::Orchestrator => return None,
    };
    match side {
        Side::Public => public.as_deref(),
        Side::Participant => participant.as_deref(),
    }
}

fn key(callee: Role, side: Side) -> &'static str {
    match (callee, side) {
        (Role::Wallet, Side::Public) => "peers.wallet.public",
        (Role::Wallet, Side::Participant) => "peers.wallet.participant",
        (Role::Product, Side::Public) => "peers.product.public",
        (Role::Product, Side::Participant) => "peers.product.participant",
        (Role::Coupon, _) => "peers.coupon.participant",
        (Role::Order, _) => "peers.order.participant",
        (Role::Ranking | Role::Activity | Role::Orchestrator, _) => "peers",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::Key;

    #[test]
    fn every_link_has_a_key_of_the_configuration() {
        for (caller, callee, side) in LINKS {
            assert!(Key::find(key(callee, side)).is_some(), "{caller:?} to {callee:?}");
        }
    }

    #[test]
    fn a_role_that_is_apart_from_what_it_calls_needs_to_know_where_that_is() {
        let alone = Config::with([]).unwrap();
        let told = Config::with([("peers.wallet.public", "http://bank:50051".to_owned())]).unwrap();
        let refused = |config, roles: &str| {
            check(config, &roles.parse().unwrap()).err().map(|problem| problem.to_string())
        };
        let line = refused(&alone, "coupon").unwrap();
        assert!(line.starts_with("peers.wallet.public: must be http://HOST:PORT"), "{line}");
        assert_eq!(refused(&told, "coupon"), None);
        assert_eq!(refused(&alone, "coupon,wallet"), None);
        assert_eq!(refused(&alone, "all"), None);
        assert!(refused(&told, "orchestrator,wallet").unwrap().starts_with("peers.product"));
    }
}
