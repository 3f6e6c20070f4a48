//! A server's folder: who owns it, and what lies where in it.

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use crate::Error;
use crate::process::end_left_over;

/// Temporary folders that are locked, or whose owner is dead.
const TEMPORARY: &str = "commerce-embedded-";
/// Temporary folders that are not locked yet.
const UNBORN: &str = "commerce-unborn-";
/// How much of a log an error shows.
const TAIL_LINES: usize = 25;

/// Where a server keeps its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In this folder, which is made if need be, and stays.
    Kept(PathBuf),
    /// In a new folder under the system's temporary one, removed when the handle is dropped. If the program
    /// dies before that, the next one to ask for a temporary folder removes it.
    Temporary,
}

/// A folder that we own: its lock is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    temporary: bool,
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be, locks it, and ends what a dead owner left running there.
    ///
    /// # Errors
    /// [`Error::InUse`] when a living program owns it, [`Error::Io`].
    pub(crate) fn open(place: &Place, patience: Duration) -> Result<Self, Error> {
        let Place::Kept(path) = place else {
            sweep();
            return Self::temporary();
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(Error::io("make the folder", path))?;
        let path = fs::canonicalize(path).map_err(Error::io("find the folder", path))?;
        let lock = lock(&path)?;
        end_left_over(&path, patience).map_err(Error::io("end what was left in", &path))?;
        Self { path, temporary: false, _lock: lock }.furnished()
    }

    /// Locked before it gets the name under which [`sweep`] looks for folders without an owner.
    fn temporary() -> Result<Self, Error> {
        let root = env::temp_dir();
        let make = || -> io::Result<PathBuf> {
            let unborn = tempfile::Builder::new().prefix(UNBORN).tempdir_in(&root)?.keep();
            fs::canonicalize(unborn)
        };
        let unborn = make().map_err(Error::io("make a temporary folder in", &root))?;
        let lock = lock(&unborn)?;
        let name = unborn.to_string_lossy().replace(UNBORN, TEMPORARY);
        let path = PathBuf::from(name);
        fs::rename(&unborn, &path).map_err(Error::io("rename the folder", &unborn))?;
        Self { path, temporary: true, _lock: lock }.furnished()
    }

    fn furnished(self) -> Result<Self, Error> {
        let scratch = self.scratch();
        fs::create_dir_all(&scratch).map_err(Error::io("make the folder", &scratch))?;
        Ok(self)
    }

    /// True when the data is thrown away with the handle.
    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The server's own data. It exists only when it is whole.
    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// For the server's temporary files. It exists.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.path.join("tmp")
    }

    /// What the server says. Each start begins a new one.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// Begins a new log; the one before is kept as `server.log.old`.
    pub(crate) fn new_log(&self) -> Result<File, Error> {
        let log = self.log();
        if log.exists() {
            fs::rename(&log, self.path.join("server.log.old"))
                .map_err(Error::io("put aside", &log))?;
        }
        OpenOptions::new().create(true).append(true).open(&log).map_err(Error::io("open", &log))
    }

    /// The log's last lines.
    pub(crate) fn tail(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().count();
        text.lines().skip(lines.saturating_sub(TAIL_LINES)).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.temporary {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(folder = %self.path.display(), %error, "cannot remove a temporary folder");
        }
    }
}

/// Takes the folder's lock, which the kernel releases when we die, and writes our process id into it for the
/// one that comes second.
fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(Error::io("read", &path))?;
            let pid = pid.split_whitespace().next().unwrap_or("unknown").to_owned();
            return Err(Error::InUse { folder: folder.to_owned(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
    }
    let mut sign = || -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", process::id())
    };
    sign().map_err(Error::io("write", &path))?;
    Ok(file)
}

/// Removes the temporary folders of programs that died. A convenience: what it cannot do it leaves.
fn sweep() {
    let Ok(entries) = fs::read_dir(env::temp_dir()) else { return };
    let us = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let ours = entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == us);
        if !ours || !entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            continue;
        }
        let Ok(path) = fs::canonicalize(entry.path()) else { continue };
        let Ok(_lock) = lock(&path) else { continue };
        if end_left_over(&path, Duration::ZERO).is_ok() {
            drop(fs::remove_dir_all(&path));
        }
    }
}
