//! The listeners' ports, looked at before anything is started: a taken one is the most common mistake, and the cheapest.

use crate::config::{Config, Problem};
use crate::roles::{Role, Roles};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Opens every listener of these roles once, and closes it again.
///
/// # Errors
/// [`Problem::Listener`] naming the first that cannot be opened, and the key to change.
pub(super) fn check(config: &Config, roles: &Roles) -> Result<(), Problem> {
    let listen = config.listen;
    let mut wanted = vec![("public", listen.public), ("admin", listen.admin)];
    if roles.iter().any(Role::is_participant) {
        wanted.push(("participant", listen.participant));
    }
    let mut open = Vec::new();
    for (name, address) in wanted {
        // All of them at once, so that two with one port are found.
        open.push(TcpListener::bind(address).map_err(|error| refuse(name, address, &error))?);
    }
    Ok(())
}

/// What to do about a listener that cannot be opened.
pub(super) fn refuse(name: &str, address: SocketAddr, error: &io::Error) -> Problem {
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => format!("port {} is taken by another program", address.port()),
        io::ErrorKind::AddrNotAvailable => {
            format!("{} is no address of this machine", address.ip())
        }
        _ => format!("listening on {address} fails: {error}"),
    };
    Problem::Listener { key: format!("listen.{name}"), address: address.to_string(), why }
}
