//! A child process that cannot outlive us, and processes that a dead program left behind.
//!
//! Processes are held by file descriptor (pidfd), so that a signal never reaches a stranger that was given the
//! same number in the meantime.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;

/// The programs that this crate starts, by the names under which they may run.
const SERVERS: [&str; 5] = ["mariadbd", "mysqld", "redis-server", "valkey-server", "java"];
/// How long a killed process may take to die: it may have much memory to give back, or hang in the kernel.
const DEATH: Duration = Duration::from_mins(1);

/// A process, ours or not, by file descriptor.
#[derive(Debug)]
pub(crate) struct Handle {
    pid: Pid,
    descriptor: OwnedFd,
}

/// A child of ours. It dies with us; dropping this does not end it.
#[derive(Debug)]
pub(crate) struct Process {
    handle: Handle,
    status: Receiver<io::Result<ExitStatus>>,
    /// Closed when it has ended.
    kept: watch::Receiver<()>,
}

impl Handle {
    fn open(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        let descriptor = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { pid, descriptor })
    }

    /// Sends a signal; one that has already ended is left in peace.
    fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.descriptor, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Waits until it has ended, at most this long; tells whether it has.
    fn ended_within(&self, limit: Duration) -> io::Result<bool> {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut watched = [PollFd::new(&self.descriptor, PollFlags::IN)];
            match poll(&mut watched, Some(&left)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Asks it to end, waits, and kills it if it has not ended by then.
    fn end(&self, patience: Duration) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        if !self.ended_within(patience)? {
            tracing::warn!(
                pid = self.pid.as_raw_pid(),
                ?patience,
                "did not end when asked to: killing it"
            );
            self.kill()?;
        }
        Ok(())
    }

    fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)?;
        if self.ended_within(DEATH)? {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("process {:?} does not die", self.pid)))
    }
}

impl Process {
    /// Starts `program` in `folder`, in a process group of its own (Ctrl-C on a terminal is for us alone: we end
    /// our servers when we no longer need them), with its output going to `output`.
    pub(crate) fn start(
        program: &Path,
        arguments: &[impl AsRef<OsStr>],
        folder: &Path,
        input: Stdio,
        output: &fs::File,
    ) -> io::Result<Self> {
        Self::start_with(&[], program, arguments, folder, input, output)
    }

    /// The same, with more in its environment than we have.
    pub(crate) fn start_with(
        environment: &[(String, String)],
        program: &Path,
        arguments: &[impl AsRef<OsStr>],
        folder: &Path,
        input: Stdio,
        output: &fs::File,
    ) -> io::Result<Self> {
        let mut command = dying_with_us(program);
        command
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdin(input)
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);

        let (started, handle) = mpsc::sync_channel(1);
        let (ended, status) = mpsc::sync_channel(1);
        // The kernel sends the death signal when the *thread* that started the child ends, so that thread must
        // live as long as the child: it waits for it.
        let (keeping, kept) = watch::channel(());
        thread::Builder::new().name("server-keeper".to_owned()).spawn(move || {
            keep(command, &started, &ended);
            drop(keeping);
        })?;
        let handle = handle.recv().map_err(io::Error::other)??;
        Ok(Self { handle, status, kept })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.handle.pid.as_raw_pid().unsigned_abs()
    }

    /// Waits until it has ended.
    pub(crate) fn end_of(&self) -> impl Future<Output = ()> + use<> {
        let mut kept = self.kept.clone();
        async move {
            // Nothing is sent: the keeper drops its side.
            while kept.changed().await.is_ok() {}
        }
    }

    /// Waits until it has ended, at most this long: how it ended, or `None` while it runs.
    pub(crate) fn ended_within(&self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        if !self.handle.ended_within(limit)? {
            return Ok(None);
        }
        self.status.recv().map_err(io::Error::other)?.map(Some)
    }

    /// Asks it to end (SIGTERM), waits at most `patience`, then kills it. It has ended on return.
    pub(crate) fn end(self, patience: Duration) -> io::Result<()> {
        self.handle.end(patience)?;
        self.bury();
        Ok(())
    }

    /// Kills it (SIGKILL). It has ended on return.
    pub(crate) fn kill(self) -> io::Result<()> {
        self.handle.kill()?;
        self.bury();
        Ok(())
    }

    /// Waits until the keeper has collected it, so that not even a zombie is left. How it ended is of no
    /// interest, and may have been told before.
    fn bury(self) {
        drop(self.status.recv());
    }
}

fn keep(
    mut command: Command,
    started: &SyncSender<io::Result<Handle>>,
    ended: &SyncSender<io::Result<ExitStatus>>,
) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return report(started, Err(error)),
    };
    match Handle::open(child.id()) {
        Ok(handle) => report(started, Ok(handle)),
        Err(error) => {
            report(started, Err(error));
            abandon(&mut child);
        }
    }
    report(ended, child.wait());
}

/// Nobody can hold a child without a descriptor, so it must not stay.
fn abandon(child: &mut Child) {
    if let Err(error) = child.kill() {
        tracing::warn!(pid = child.id(), %error, "cannot kill a child that cannot be held");
    }
}

/// Whoever dropped the handle does not care how the child ended.
fn report<T>(to: &SyncSender<T>, what: T) {
    drop(to.send(what));
}

/// A command that the kernel kills when the thread that starts it ends, which it also does when the whole
/// program is killed. Without `setpriv` it runs plainly, and is found by [`end_left_over`] at the next start.
fn dying_with_us(program: &Path) -> Command {
    static SETPRIV: OnceLock<bool> = OnceLock::new();
    // Asked by trying: busybox has a `setpriv` that cannot do it.
    let able = *SETPRIV.get_or_init(|| {
        let trial = Command::new("setpriv").args(["--pdeathsig", "KILL", "--", "true"]).output();
        trial.is_ok_and(|trial| trial.status.success())
    });
    if !able {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Ends every server that works in `folder` or below it: those of a program that died without ending them.
/// The caller holds the folder's lock, so that no living program owns them.
///
/// Process names and working folders are compared, not a pid file: it may be stale, or not written yet.
pub(crate) fn end_left_over(folder: &Path, patience: Duration) -> io::Result<()> {
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Held before it is looked at, so that what is signalled is what was looked at.
        let Ok(handle) = Handle::open(pid) else { continue };
        if is_left_over(&entry.path(), folder) {
            tracing::warn!(pid, folder = %folder.display(), "ending a server left over from a program that died");
            handle.end(patience)?;
        }
    }
    Ok(())
}

fn is_left_over(process: &Path, folder: &Path) -> bool {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    let works_in = fs::read_link(process.join("cwd")).unwrap_or_else(|_| PathBuf::new());
    SERVERS.contains(&name.trim_end()) && works_in.starts_with(folder)
}
