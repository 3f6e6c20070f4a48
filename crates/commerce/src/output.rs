//! What the program says on standard output: tables for people, JSON for programs.

use chrono::{SecondsFormat, Utc};
use serde::Serialize;
use serde_json::json;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether standard error, which has the log, is for programs: then each line of it is a JSON object.
static JSON_NOTES: AtomicBool = AtomicBool::new(false);

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// For people.
    Human,
    /// One JSON value a line.
    Json,
}

impl Output {
    /// JSON if asked for.
    pub fn new(json: bool) -> Self {
        if json { Self::Json } else { Self::Human }
    }

    /// Writes a result in the form that was asked for.
    ///
    /// # Errors
    /// Those of standard output.
    pub fn result(self, result: &(impl Serialize + fmt::Display)) -> io::Result<()> {
        match self {
            Self::Human => line(result),
            Self::Json => line(serde_json::to_string(result)?),
        }
    }
}

/// The reader of standard output is gone, as `head` is when it has seen enough. Nothing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads standard output any more")]
pub struct ReaderGone;

impl ReaderGone {
    /// Whether this is what an error says.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Self>)
    }
}

/// Writes a line and flushes it: the reader may be a program that waits for it.
///
/// # Errors
/// Those of standard output; [`ReaderGone`] within where its reader is gone.
pub fn line(text: impl fmt::Display) -> io::Result<()> {
    write(|out| writeln!(out, "{text}"))
}

/// Writes bytes as they are.
///
/// # Errors
/// Those of [`line()`].
pub fn bytes(bytes: &[u8]) -> io::Result<()> {
    write(|out| out.write_all(bytes))
}

fn write(what: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let written = what(&mut out).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(error.kind(), ReaderGone),
        _ => error,
    })
}

/// Writes a line that a server goes on without, if nobody reads it.
///
/// # Errors
/// Those of standard output.
pub fn announce(text: impl fmt::Display) -> io::Result<()> {
    line(text).or_else(|error| if ReaderGone::is(&error) { Ok(()) } else { Err(error) })
}

/// From now on standard error has JSON objects, one a line, as the log of that format has.
pub fn notes_as_json() {
    JSON_NOTES.store(true, Ordering::Relaxed);
    std::panic::set_hook(Box::new(|panic| complain(panic)));
}

/// Writes a line of progress to standard error, which keeps standard output to results. Nobody to read it is no failure.
pub fn note(text: impl fmt::Display) {
    to_stderr("INFO", text);
}

/// Writes what went wrong to standard error.
pub fn complain(text: impl fmt::Display) {
    to_stderr("ERROR", text);
}

fn to_stderr(level: &str, text: impl fmt::Display) {
    let mut err = io::stderr().lock();
    let _ = if JSON_NOTES.load(Ordering::Relaxed) {
        let timestamp = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
        let message = text.to_string();
        let object = json!({
            "timestamp": timestamp, "level": level, "message": message, "target": "commerce",
        });
        writeln!(err, "{object}")
    } else {
        writeln!(err, "{text}")
    };
}

/// Whether a person watches standard error.
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// A table for people: columns as wide as their widest cell, numbers to the right.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new<S: Into<String>>(headings: impl IntoIterator<Item = S>) -> Self {
        Self { rows: vec![headings.into_iter().map(Into::into).collect()] }
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &'_ Vec<String>, column| row.get(column).cloned().unwrap_or_default();
        let mut widths = vec![0; columns];
        let mut numeric = vec![true; columns];
        for (index, row) in self.rows.iter().enumerate() {
            for (column, (width, numeric)) in widths.iter_mut().zip(&mut numeric).enumerate() {
                let text = cell(row, column);
                *width = (*width).max(text.chars().count());
                *numeric &= index == 0 || text.chars().all(|it| it.is_ascii_digit() || it == ',');
            }
        }
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, (&width, &numeric)) in widths.iter().zip(&numeric).enumerate() {
                let text = cell(row, column);
                let padded =
                    if numeric { format!("{text:>width$}") } else { format!("{text:<width$}") };
                line.push_str(&padded);
                line.push_str("  ");
            }
            let end = if index + 1 == self.rows.len() { "" } else { "\n" };
            write!(f, "{}{end}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A number with its thousands apart: `9,835`.
pub fn grouped(number: impl TryInto<i128>) -> String {
    let number = number.try_into().unwrap_or_default();
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_right() {
        let mut table = Table::new(["product", "orders"]);
        table.row(["whole milk", "2513"]);
        table.row(["soda", "17"]);
        assert_eq!(table.to_string(), "product     orders\nwhole milk    2513\nsoda            17");
    }

    #[test]
    fn thousands_are_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (-1_234_567, "-1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}
