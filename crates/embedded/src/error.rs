//! What can go wrong between an empty folder and a server that answers.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// Why a private server could not be started or stopped. Each text tells what to do, or where to look.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program or file that the server needs is not installed.
    #[error(
        "{what} is not installed (looked in {looked}): on Debian or Ubuntu run `apt-get install {package}`"
    )]
    Missing {
        /// What was looked for.
        what: String,
        /// Where it was looked for.
        looked: String,
        /// The Debian package that holds it.
        package: &'static str,
    },
    /// Another living program holds the folder.
    #[error("{} is in use by process {pid}: stop that program, or choose another folder", folder.display())]
    InUse {
        /// The folder that was asked for.
        folder: PathBuf,
        /// The owner's process id as it wrote it, or `unknown` if it has not written it yet.
        pid: String,
    },
    /// The server, or the laying out of its folder, ended by itself.
    #[error("{} ended ({status}); the end of {}:\n{tail}", program.display(), log.display())]
    Ended {
        /// The program that ended.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The server's log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// The server runs, but did not answer in time. It was killed.
    #[error("{} did not answer within {} s; the end of {}:\n{tail}", program.display(), waited.as_secs(), log.display())]
    Silent {
        /// The program that did not answer.
        program: PathBuf,
        /// How long was waited.
        waited: Duration,
        /// The server's log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// No free TCP port was found.
    #[error("no free TCP port on 127.0.0.1 between {from} and {to}")]
    NoPort {
        /// The lowest port that was considered.
        from: u16,
        /// The highest port that was considered.
        to: u16,
    },
    /// The runtime was shut down in the middle of the work.
    #[error("the runtime ended before the server was started or stopped")]
    Interrupted,
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file, folder or program.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Names the deed and its object in an I/O error; for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
