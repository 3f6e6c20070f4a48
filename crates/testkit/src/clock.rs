//! The wall clock of one process, moved while it runs.
//!
//! A small library is compiled by `cc`, which Rust needs for linking anyway, and loaded into the process by `LD_PRELOAD`.
//! It moves `CLOCK_REALTIME` by what a file says; monotonic clocks stay as they are, so that timers do.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// A wall clock for one process or several, right at first.
pub struct Clock {
    folder: TempDir,
}

impl Clock {
    /// A clock that no process has yet.
    ///
    /// # Panics
    /// Where there is no `cc`.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let source = folder.path().join("clock.c");
        fs::write(&source, include_str!("clock.c")).expect("the source is written");
        let mut compile = Command::new("cc");
        compile.args(["-O1", "-shared", "-fPIC", "-o"]).arg(folder.path().join("clock.so"));
        let compiled = compile.arg(source).arg("-ldl").output().expect("cc runs");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let clock = Self { folder };
        clock.set_ms(0);
        clock
    }

    /// The environment of a process that has this clock.
    pub fn variables(&self) -> [(String, String); 2] {
        let library = self.folder.path().join("clock.so");
        let [library, file] = [library, self.file()].map(|path| path.display().to_string());
        [("LD_PRELOAD".to_owned(), library), ("CLOCK_OFFSET_FILE".to_owned(), file)]
    }

    /// Moves it to this many milliseconds ahead of the right time; negative: behind. Its processes see it at once.
    pub fn set_ms(&self, milliseconds: i64) {
        // Renamed into place, so that nobody reads half of it.
        let new = self.folder.path().join("offset.new");
        fs::write(&new, milliseconds.to_string()).expect("the offset is written");
        fs::rename(new, self.file()).expect("the offset is in place");
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_sees_its_clock_move_and_no_other_does() {
        let clock = Clock::new();
        let now = |variables: &[(String, String)]| {
            let mut date = Command::new("date");
            let told = date.arg("+%s").envs(variables.iter().cloned()).output().unwrap();
            String::from_utf8(told.stdout).unwrap().trim().parse::<i64>().unwrap()
        };
        let variables = clock.variables();
        let (right, moved) = (now(&[]), now(&variables));
        assert!((right - moved).abs() < 30, "right at first");
        clock.set_ms(864_000_000);
        assert!((now(&variables) - now(&[]) - 864_000).abs() < 30, "ten days ahead");
        clock.set_ms(-3_600_000);
        assert!((now(&variables) - now(&[]) + 3_600).abs() < 30, "an hour behind");
    }
}
