//! A private Redis.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::folder::Folder;
use crate::program::Wanted;
use crate::server::{
    self, Endpoint, Engine, Listen, Server, blocking, on, percent_encoded, until_ended,
};
use crate::{Error, Place};

const REDIS: Wanted = Wanted { names: &["redis-server", "valkey-server"], package: "redis-server" };

/// How a private Redis is to run.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// Where its data lies.
    pub place: Place,
    /// Where it listens, besides its unix socket. Default: nowhere.
    pub listen: Listen,
    /// Writes to its append-only file, flushed to disk every second. Default: true.
    pub durable: bool,
    /// The server program. Default: `redis-server` or `valkey-server`, where distributions put them.
    pub program: Option<PathBuf>,
    /// Further arguments, after our own.
    pub arguments: Vec<String>,
    /// Variables of its environment, besides ours: for tests that give it another clock.
    pub environment: Vec<(String, String)>,
}

/// A private Redis that ends with this handle, at the latest with this program. Clones share it.
///
/// It never evicts a key: what is in it counts.
#[derive(Clone)]
pub struct Redis {
    server: Arc<Server<Installed>>,
}

struct Installed {
    program: PathBuf,
    durable: bool,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl RedisOptions {
    /// Data that stays, in this folder.
    pub fn kept(folder: impl Into<PathBuf>) -> Self {
        Self::at(Place::Kept(folder.into()))
    }

    /// Data that is thrown away with the handle.
    pub fn temporary() -> Self {
        Self::at(Place::Temporary)
    }

    fn at(place: Place) -> Self {
        let listen = Listen::default();
        Self {
            place,
            listen,
            durable: true,
            program: None,
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }
}

impl Redis {
    /// Starts it, and returns when it answers.
    ///
    /// # Errors
    /// [`Error::Missing`] when it is not installed, [`Error::InUse`] when another program owns the folder,
    /// [`Error::Ended`] and [`Error::Silent`] with the end of its log when it does not come up.
    pub async fn start(options: RedisOptions) -> Result<Self, Error> {
        let server = blocking(move || {
            let program = REDIS.find(options.program.as_deref())?;
            let folder = server::open(&options.place)?;
            std::fs::create_dir_all(folder.data())
                .map_err(Error::io("make the folder", &folder.data()))?;
            let RedisOptions { durable, arguments, environment, listen, .. } = options;
            Server::start(Installed { program, durable, arguments, environment }, folder, listen)
        });
        Ok(Self { server: Arc::new(server.await?) })
    }

    /// The URL for clients: `redis://127.0.0.1:PORT`, or `redis+unix:///PATH` where it does not listen on TCP.
    pub fn url(&self) -> String {
        let Endpoint { socket, port } = self.server.endpoint();
        port.map_or_else(
            || format!("redis+unix://{}", percent_encoded(socket)),
            |port| format!("redis://127.0.0.1:{port}"),
        )
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.server.folder()
    }

    /// Its process id, or `None` when it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// Ends it in good order (killed after 60 s). Nothing to do when it does not run.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be ended.
    pub async fn stop(&self) -> Result<(), Error> {
        on(&self.server, Server::stop).await
    }

    /// Kills it as a crash would: up to a second of writes is lost. Nothing to do when it does not run.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be killed.
    pub async fn kill(&self) -> Result<(), Error> {
        on(&self.server, Server::kill).await
    }

    /// Waits until it ends. Nothing to wait for when it does not run.
    ///
    /// # Errors
    /// [`Error::Ended`] with the end of its log when it ended by itself, or a stranger ended it; [`Error::Io`] when it
    /// cannot be watched.
    pub async fn ended(&self) -> Result<(), Error> {
        until_ended(&self.server).await
    }

    /// Stops it if it runs, and starts it again on the same data, socket and port.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub async fn restart(&self) -> Result<(), Error> {
        on(&self.server, Server::restart).await
    }
}

impl Engine for Installed {
    fn program(&self) -> &Path {
        &self.program
    }

    fn arguments(&self, folder: &Folder, endpoint: &Endpoint) -> Vec<OsString> {
        let append_only = if self.durable { "yes" } else { "no" };
        let mut arguments: Vec<OsString> = Vec::new();
        let mut set =
            |name: &str, value: OsString| arguments.extend([format!("--{name}").into(), value]);
        set("dir", folder.data().into());
        set("bind", "127.0.0.1".into());
        // Port 0: no TCP at all.
        set("port", endpoint.port.unwrap_or(0).to_string().into());
        set("unixsocket", endpoint.socket.clone().into());
        set("unixsocketperm", "700".into());
        set("daemonize", "no".into());
        set("appendonly", append_only.into());
        set("appendfsync", "everysec".into());
        // The append-only file is the truth; snapshots beside it would only cost forks.
        set("save", "".into());
        set("maxmemory-policy", "noeviction".into());
        arguments.extend(self.arguments.iter().map(OsString::from));
        arguments
    }

    fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// It answers `-LOADING` while it reads its append-only file.
    fn is_ready(stream: &mut UnixStream) -> io::Result<bool> {
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"+PONG")
    }
}
