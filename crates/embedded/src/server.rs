//! What MariaDB and Redis have in common: a folder, an endpoint, a process, and waiting until it answers.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::Rng as _;
use tempfile::TempDir;

use crate::folder::Folder;
use crate::process::Process;
use crate::{Error, Place};

/// How long a server may take to end before it is killed: it writes out what memory holds.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// How long a server may take to answer: recovery after a crash is part of it.
const READY: Duration = Duration::from_mins(3);
/// Time between two looks at a server that does not answer yet.
const LOOK: Duration = Duration::from_millis(20);
/// How long a server that let us in may take to say a word.
const WORD: Duration = Duration::from_secs(1);
/// Below the system's range for outgoing connections (32768 and up), so that nobody's client is given our port
/// while the server restarts.
const PORTS: std::ops::Range<u16> = 12_000..32_000;
/// How often another port is tried when somebody was faster.
pub(crate) const PORT_TRIALS: u32 = 20;
/// The longest path of a unix socket is 107 bytes; the rest is for what servers append (`.lock`).
const SOCKET_PATH: usize = 100;

/// Where a server listens, besides its unix socket, which only this user can open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Listen {
    /// Nowhere else.
    #[default]
    Socket,
    /// On a free TCP port of 127.0.0.1, which every user of this machine can reach. It stays the same over
    /// restarts of one handle.
    Tcp,
}

/// Where a running server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) socket: PathBuf,
    pub(crate) port: Option<u16>,
}

/// What tells one kind of server from another.
pub(crate) trait Engine: Send + Sync + 'static {
    /// The program to run.
    fn program(&self) -> &Path;
    /// Its arguments.
    fn arguments(&self, folder: &Folder, endpoint: &Endpoint) -> Vec<OsString>;
    /// What it finds in its environment besides ours.
    fn environment(&self) -> &[(String, String)] {
        &[]
    }
    /// True when the server at the other end is ready for work.
    fn is_ready(stream: &mut UnixStream) -> io::Result<bool>;
}

/// A server that runs, or ran and may be started again. Every call blocks; see [`blocking`].
pub(crate) struct Server<E: Engine> {
    engine: E,
    endpoint: Endpoint,
    process: Mutex<Option<Process>>,
    folder: Folder,
    /// Holds the socket where the folder's own path is too long for one.
    _short: Option<TempDir>,
}

impl<E: Engine> Server<E> {
    /// Starts it on a folder that holds whole data, and waits until it answers.
    pub(crate) fn start(engine: E, folder: Folder, listen: Listen) -> Result<Self, Error> {
        let (socket, short) = socket_path(&folder)?;
        let mut trials = 0;
        loop {
            let port = match listen {
                Listen::Socket => None,
                Listen::Tcp => Some(free_port()?),
            };
            let endpoint = Endpoint { socket: socket.clone(), port };
            match launch(&engine, &folder, &endpoint) {
                Ok(process) => {
                    let process = Mutex::new(Some(process));
                    return Ok(Self { engine, endpoint, process, folder, _short: short });
                }
                Err(Error::Ended { .. }) if trials < PORT_TRIALS && port.is_some_and(is_taken) => {
                    trials += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it is reached, running or not.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process id while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let running = process.as_ref()?;
        matches!(running.ended_within(Duration::ZERO), Ok(None)).then(|| running.pid())
    }

    /// Ends it in good order. Nothing to do when it does not run.
    pub(crate) fn stop(&self) -> Result<(), Error> {
        self.finish(|process| process.end(PATIENCE))
    }

    /// Kills it, as a crash would. Nothing to do when it does not run.
    pub(crate) fn kill(&self) -> Result<(), Error> {
        self.finish(Process::kill)
    }

    /// Stops it if it runs, and starts it on the same data and endpoint.
    pub(crate) fn restart(&self) -> Result<(), Error> {
        self.stop()?;
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        *process = Some(launch(&self.engine, &self.folder, &self.endpoint)?);
        Ok(())
    }

    /// Waits until the process has ended that runs now; `None` where none does.
    fn end(&self) -> Option<impl Future<Output = ()> + use<E>> {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.as_ref().map(Process::end_of)
    }

    /// An error when it has ended and nobody here has ended it.
    fn check(&self) -> Result<(), Error> {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = process.as_ref() else { return Ok(()) };
        let program = self.engine.program();
        let status = running.ended_within(Duration::ZERO).map_err(Error::io("watch", program))?;
        status.map_or(Ok(()), |status| Err(ended(program, status, &self.folder)))
    }

    fn finish(&self, how: impl FnOnce(Process) -> io::Result<()>) -> Result<(), Error> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = process.take() else { return Ok(()) };
        how(running).map_err(Error::io("end", self.engine.program()))
    }
}

impl<E: Engine> Drop for Server<E> {
    fn drop(&mut self) {
        let ended = if self.folder.is_temporary() { self.kill() } else { self.stop() };
        if let Err(error) = ended {
            tracing::warn!(%error, "cannot end a server");
        }
    }
}

/// Runs work that blocks off the runtime's own threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Interrupted),
        },
    }
}

/// The same, for a call on a shared server.
pub(crate) async fn on<E: Engine>(
    server: &Arc<Server<E>>,
    call: impl FnOnce(&Server<E>) -> Result<(), Error> + Send + 'static,
) -> Result<(), Error> {
    let server = Arc::clone(server);
    blocking(move || call(&server)).await
}

/// Waits until it ends. An error when nobody here has ended it.
pub(crate) async fn until_ended<E: Engine>(server: &Arc<Server<E>>) -> Result<(), Error> {
    let shared = Arc::clone(server);
    let Some(end) = blocking(move || Ok(shared.end())).await? else { return Ok(()) };
    end.await;
    on(server, Server::check).await
}

/// Locks the place and ends what a dead owner left there.
pub(crate) fn open(place: &Place) -> Result<Folder, Error> {
    Folder::open(place, PATIENCE)
}

/// The error for a server that ended by itself.
pub(crate) fn ended(program: &Path, status: std::process::ExitStatus, folder: &Folder) -> Error {
    Error::Ended { program: program.to_owned(), status, log: folder.log(), tail: folder.tail() }
}

fn launch<E: Engine>(engine: &E, folder: &Folder, endpoint: &Endpoint) -> Result<Process, Error> {
    // What a killed server left would keep the next one from listening.
    for stale in [endpoint.socket.clone(), endpoint.socket.with_extension("sock.lock")] {
        match fs::remove_file(&stale) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &stale)(error));
            }
            _ => {}
        }
    }
    let program = engine.program();
    let arguments = engine.arguments(folder, endpoint);
    let log = folder.new_log()?;
    let process = Process::start_with(
        engine.environment(),
        program,
        &arguments,
        &folder.data(),
        Stdio::null(),
        &log,
    )
    .map_err(Error::io("start", program))?;
    await_ready::<E>(process, program, folder, endpoint)
}

/// Asked over the unix socket, also when it listens on TCP: a stranger may have been faster on the port, and
/// would answer in its place. Servers open the port first, so that it is open when the socket answers.
fn await_ready<E: Engine>(
    process: Process,
    program: &Path,
    folder: &Folder,
    endpoint: &Endpoint,
) -> Result<Process, Error> {
    let since = Instant::now();
    loop {
        let status = process.ended_within(LOOK).map_err(Error::io("watch", program))?;
        if let Some(status) = status {
            return Err(ended(program, status, folder));
        }
        if answers::<E>(&endpoint.socket).unwrap_or(false) {
            let (name, place) = (program.display(), folder.path().display());
            tracing::info!(program = %name, pid = process.pid(), folder = %place, "server ready");
            return Ok(process);
        }
        if since.elapsed() > READY {
            process.kill().map_err(Error::io("kill", program))?;
            return Err(Error::Silent {
                program: program.to_owned(),
                waited: READY,
                log: folder.log(),
                tail: folder.tail(),
            });
        }
    }
}

fn answers<E: Engine>(socket: &Path) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(WORD))?;
    stream.set_write_timeout(Some(WORD))?;
    E::is_ready(&mut stream)
}

/// In the folder, or in a short-named folder of its own if that path is too long for a socket.
fn socket_path(folder: &Folder) -> Result<(PathBuf, Option<TempDir>), Error> {
    let name = "server.sock";
    let inside = folder.path().join(name);
    if inside.as_os_str().as_bytes().len() <= SOCKET_PATH {
        return Ok((inside, None));
    }
    let root = Path::new("/tmp");
    let short = tempfile::Builder::new()
        .prefix("commerce-socket-")
        .tempdir_in(root)
        .map_err(Error::io("make a folder for a socket in", root))?;
    Ok((short.path().join(name), Some(short)))
}

pub(crate) fn free_port() -> Result<u16, Error> {
    let none = Error::NoPort { from: PORTS.start, to: PORTS.end };
    (0..PORT_TRIALS)
        .map(|_| rand::rng().random_range(PORTS))
        .find(|port| !is_taken(*port))
        .ok_or(none)
}

pub(crate) fn is_taken(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err()
}

/// A path as a part of a URL.
pub(crate) fn percent_encoded(path: &Path) -> String {
    let encoded = path.as_os_str().as_bytes().iter().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
            char::from(*byte).to_string()
        }
        other => format!("%{other:02X}"),
    });
    encoded.collect()
}
