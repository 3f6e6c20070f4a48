//! Whether anybody listens at an address: a mistyped, an unknown and a dead one need three different cures.

use crate::clients::Addresses;
use anyhow::{Error, Result};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};

/// How long a name or a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// An address that cannot be called, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreachable {
    /// It is none. The command line or the configuration is to be changed.
    #[error("{origin} {address}: must be HOST:PORT, such as 127.0.0.1:{example}")]
    Malformed {
        /// Where the address comes from.
        origin: String,
        /// The address.
        address: String,
        /// A port that would do.
        example: u16,
    },
    /// Nobody knows the host.
    #[error(
        "{origin} {address}: no host has the name {host}: check its spelling, or give its IP address ({why})"
    )]
    Unknown {
        /// Where the address comes from.
        origin: String,
        /// The address.
        address: String,
        /// Its host.
        host: String,
        /// What the resolver says.
        why: String,
    },
    /// The host is there, and nobody listens.
    #[error(
        "{origin} {address}: nothing listens there: start the shop with `commerce up`, or name where it is with {flag}"
    )]
    Refused {
        /// Where the address comes from.
        origin: String,
        /// The address.
        address: String,
        /// The flag that names another one.
        flag: &'static str,
    },
    /// Nothing comes back.
    #[error(
        "{origin} {address}: no answer within {PATIENCE:?}: check that the host is up and that no firewall is in between ({why})"
    )]
    Silent {
        /// Where the address comes from.
        origin: String,
        /// The address.
        address: String,
        /// What is known of it.
        why: String,
    },
}

/// Where an address comes from, and the flag that names another one.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) origin: String,
    pub(super) flag: &'static str,
    /// A port that would do.
    pub(super) example: u16,
}

impl Source {
    /// Where `demo` and `replay` find a shop.
    pub(super) fn of_shop(origin: &str) -> Self {
        Self { origin: origin.to_owned(), flag: "--connect", example: 50051 }
    }

    /// Sees that something listens at every address of a shop.
    ///
    /// # Errors
    /// [`Unreachable`] for the first that is not.
    pub(super) async fn check_all(&self, addresses: &Addresses) -> Result<()> {
        for address in addresses.distinct() {
            self.check(address).await?;
        }
        Ok(())
    }

    /// Sees that something listens at `HOST:PORT`, and returns the address without a scheme.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub(super) async fn check(&self, address: &str) -> Result<String> {
        let text = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
        let origin = || self.origin.clone();
        let address = || text.to_owned();
        let malformed = || Unreachable::Malformed {
            origin: origin(),
            address: address(),
            example: self.example,
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(malformed)?;
        let is_host = !host.is_empty() && !host.contains(['/', '@', ' ']);
        let port: u16 = port.parse().map_err(|_| malformed())?;
        if !is_host || port == 0 {
            return Err(malformed().into());
        }
        let unknown = |why: String| Unreachable::Unknown {
            origin: origin(),
            address: address(),
            host: host.trim_matches(['[', ']']).to_owned(),
            why,
        };
        let silent =
            |why: String| Unreachable::Silent { origin: origin(), address: address(), why };
        let found = tokio::time::timeout(PATIENCE, lookup_host(text)).await;
        let found = found.map_err(|_| unknown("the name service does not answer".to_owned()))?;
        let found: Vec<SocketAddr> = found.map_err(|error| unknown(error.to_string()))?.collect();
        if found.is_empty() {
            return Err(unknown("it has no address".to_owned()).into());
        }
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(found.as_slice())).await;
        match connected {
            Ok(Ok(_)) => Ok(text.to_owned()),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Err(Error::new(Unreachable::Refused {
                    origin: origin(),
                    address: address(),
                    flag: self.flag,
                }))
            }
            Ok(Err(error)) => Err(silent(error.to_string()).into()),
            Err(_) => Err(silent("the connection does not come up".to_owned()).into()),
        }
    }
}
