//! The log: one line an event on standard error, for people or for programs.
//!
//! Lines written while a call is handled carry its `trace_id`, from the span around it.

use std::{
    io::{self, IsTerminal},
    str::FromStr,
};

use tracing_subscriber::{
    EnvFilter, filter,
    fmt::MakeWriter,
    util::{SubscriberInitExt, TryInitError},
};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people; coloured on a terminal.
    Human,
    /// For programs: an object a line.
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The filter is not one, such as `info,platform=debug`.
    #[error("not a log filter such as info,platform=debug: {filter:?}")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: filter::ParseError,
    },
    /// There is a log already.
    #[error("there is a log already")]
    Twice(#[source] TryInitError),
    /// Neither `human` nor `json`.
    #[error("a log format is human or json, not {0:?}")]
    Format(String),
}

/// Starts the log of the process. The filter says what is logged: a level, and others for modules,
/// such as `info,platform=debug`.
///
/// # Errors
/// [`Error::Filter`] and [`Error::Twice`].
pub fn init(format: Format, filter: &str) -> Result<(), Error> {
    let ansi = io::stderr().is_terminal();
    match format {
        Format::Human => human(filter, ansi, io::stderr)?.try_init(),
        Format::Json => json(filter, io::stderr)?.try_init(),
    }
    .map_err(Error::Twice)
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => Err(Error::Format(other.to_owned())),
        }
    }
}

fn human<W>(
    filter: &str,
    ansi: bool,
    writer: W,
) -> Result<impl tracing::Subscriber + Send + Sync + 'static, Error>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(parse(filter)?)
        .with_ansi(ansi)
        .with_writer(writer);
    Ok(subscriber.finish())
}

fn json<W>(
    filter: &str,
    writer: W,
) -> Result<impl tracing::Subscriber + Send + Sync + 'static, Error>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(parse(filter)?)
        .with_writer(writer)
        .json()
        .flatten_event(true)
        .with_span_list(false);
    Ok(subscriber.finish())
}

fn parse(filter: &str) -> Result<EnvFilter, Error> {
    let parsed = EnvFilter::builder().parse(filter);
    parsed.map_err(|source| Error::Filter { filter: filter.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn written(json_lines: bool) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = {
            let lines = Arc::clone(&lines);
            move || Lines(Arc::clone(&lines))
        };
        let work = || {
            let call = tracing::info_span!("call", trace_id = %"mine");
            call.in_scope(|| tracing::info!(amount = 7, "charged"));
        };
        if json_lines {
            tracing::subscriber::with_default(json("info", writer).unwrap(), work);
        } else {
            tracing::subscriber::with_default(human("info", false, writer).unwrap(), work);
        }
        let bytes = lines.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_of_a_call_carries_its_trace_id_in_either_format() {
        let human = written(false);
        assert!(human.contains("trace_id=mine") && human.contains("charged"), "{human}");
        let json = written(true);
        assert!(json.contains(r#""trace_id":"mine""#) && json.contains(r#""amount":7"#), "{json}");
        assert_eq!(json.lines().count(), 1);
    }

    #[test]
    fn a_bad_filter_and_a_bad_format_are_errors_that_name_them() {
        let filter = human("info,=[", false, io::sink).err().unwrap();
        assert!(filter.to_string().contains("info,=["));
        assert!("xml".parse::<Format>().unwrap_err().to_string().contains("xml"));
        assert_eq!("json".parse::<Format>().unwrap(), Format::Json);
    }
}
