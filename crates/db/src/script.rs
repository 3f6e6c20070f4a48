//! Writes that go to the server in one message.
//!
//! A prepared statement pays off when its text comes again. A batch of rows has another text for each number of rows, so
//! that Diesel prepares, executes and closes it: two round trips, and on the way back a description of every
//! placeholder. Here the values stand in the text, any number of statements make one message, and COMMIT can be the last
//! of them.

use crate::{Conn, Error, Result};
use diesel::deserialize::FromSql;
use diesel::mysql::data_types::MysqlTime;
use diesel::mysql::{Mysql, MysqlQueryBuilder, MysqlType, MysqlValue};
use diesel::query_builder::bind_collector::RawBytesBindCollector;
use diesel::query_builder::{InsertStatement, QueryBuilder, QueryFragment};
use diesel::sql_types::Datetime;
use diesel::{Insertable, Table};
use diesel_async::SimpleAsyncConnection;
use std::fmt::Display;
use std::io::Write;

/// Statements to be run in order, each only if those before it succeeded.
///
/// Their counts of rows are not told: a write that relies on how many rows it matched is no part of a script.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Script {
    text: Vec<u8>,
}

impl Script {
    /// Adds a statement of Diesel's.
    ///
    /// # Errors
    /// [`Error::Server`] where Diesel cannot write it; [`Error::Corrupt`] for a value of a type that no table has.
    pub fn push(&mut self, statement: &impl QueryFragment<Mysql>) -> Result<()> {
        let mut values = RawBytesBindCollector::<Mysql>::new();
        statement.collect_binds(&mut values, &mut (), &Mysql)?;
        let mut builder = MysqlQueryBuilder::new();
        statement.to_sql(&mut builder, &Mysql)?;
        let sql = builder.finish();
        let mut values = values.metadata.into_iter().zip(values.binds);
        if !self.text.is_empty() {
            self.text.push(b';');
        }
        // A question mark stands for a value and for nothing else: no name of ours has one, and Diesel writes no literals.
        for (index, part) in sql.split('?').enumerate() {
            if index > 0 {
                let (kind, bytes) = values.next().ok_or_else(misfit)?;
                self.literal(kind, bytes.as_deref())?;
            }
            self.text.extend_from_slice(part.as_bytes());
        }
        if values.next().is_some() {
            return Err(misfit());
        }
        Ok(())
    }

    /// Adds the insertion of new rows, if there are any: plain, so that a key that is there already fails it.
    ///
    /// # Errors
    /// See [`Script::push`].
    pub fn insert<T, R>(&mut self, table: T, rows: Vec<R>) -> Result<()>
    where
        T: Table,
        Vec<R>: Insertable<T>,
        InsertStatement<T, <Vec<R> as Insertable<T>>::Values>: QueryFragment<Mysql>,
    {
        if rows.is_empty() {
            return Ok(());
        }
        self.push(&diesel::insert_into(table).values(rows))
    }

    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Runs it within the open transaction.
    ///
    /// # Errors
    /// That of the first statement that fails; none after it was run.
    pub async fn run(self, conn: &mut Conn) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        Ok(conn.batch_execute(&text(self.text)?).await?)
    }

    /// The text that runs it and then commits.
    pub(crate) fn and_commit(mut self) -> Result<String> {
        self.text.extend_from_slice(if self.is_empty() { b"COMMIT" } else { b";COMMIT" });
        text(self.text)
    }

    fn literal(&mut self, kind: MysqlType, bytes: Option<&[u8]>) -> Result<()> {
        let Some(bytes) = bytes else {
            self.text.extend_from_slice(b"NULL");
            return Ok(());
        };
        match kind {
            // Diesel hands a boolean over as four bytes, the least one first.
            MysqlType::Tiny => self.number(bytes.first().ok_or_else(misfit)?.cast_signed()),
            MysqlType::Short => self.number(i16::from_ne_bytes(sized(bytes)?)),
            MysqlType::Long => self.number(i32::from_ne_bytes(sized(bytes)?)),
            MysqlType::LongLong => self.number(i64::from_ne_bytes(sized(bytes)?)),
            MysqlType::UnsignedLongLong => self.number(u64::from_ne_bytes(sized(bytes)?)),
            MysqlType::Date | MysqlType::DateTime | MysqlType::Timestamp => {
                self.time(kind, bytes)?;
            }
            MysqlType::String if bytes.iter().all(|byte| plain(*byte)) => self.quoted(bytes),
            // In hexadecimal nothing has to be escaped, whatever the server's mode and the bytes.
            MysqlType::String => self.hexadecimal(b"_utf8mb4 X'", bytes),
            MysqlType::Blob => self.hexadecimal(b"X'", bytes),
            other => return Err(Error::Corrupt(format!("no literal for {other:?}"))),
        }
        Ok(())
    }

    fn number(&mut self, number: impl Display) {
        // Writing to memory cannot fail.
        let _ = write!(self.text, "{number}");
    }

    fn time(&mut self, kind: MysqlType, bytes: &[u8]) -> Result<()> {
        let value = MysqlValue::new(bytes, kind);
        let time = <MysqlTime as FromSql<Datetime, Mysql>>::from_sql(value)
            .map_err(|error| Error::Corrupt(error.to_string()))?;
        let MysqlTime { year, month, day, hour, minute, second, second_part, .. } = time;
        let _ = write!(self.text, "'{year:04}-{month:02}-{day:02}");
        if kind != MysqlType::Date {
            let _ = write!(self.text, " {hour:02}:{minute:02}:{second:02}.{second_part:06}");
        }
        self.text.push(b'\'');
        Ok(())
    }

    fn quoted(&mut self, plain: &[u8]) {
        self.text.push(b'\'');
        self.text.extend_from_slice(plain);
        self.text.push(b'\'');
    }

    fn hexadecimal(&mut self, opening: &[u8], bytes: &[u8]) {
        self.text.extend_from_slice(opening);
        self.text.extend(bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit));
        self.text.push(b'\'');
    }
}

/// Whether a byte stands for itself between single quotes: printable ASCII but the quote and the
/// escape.
fn plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'\'' && byte != b'\\'
}

/// The hexadecimal digit of a number below 16.
fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' - 10 + value }
}

fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| misfit())
}

fn sized<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| misfit())
}

fn misfit() -> Error {
    Error::Corrupt("a statement and its values do not fit".to_owned())
}
