//! A row of the driver as Diesel reads it.

use diesel::backend::Backend;
use diesel::mysql::data_types::{MysqlTime, MysqlTimestampType};
use diesel::mysql::{Mysql, MysqlType, MysqlValue};
use diesel::row::{Field, PartialRow, Row, RowIndex, RowSealed};
use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::{Column, Value};
use std::borrow::Cow;
use std::ops::Range;

/// One row of a reply.
#[derive(Debug)]
pub struct MysqlRow(pub(super) mysql_async::Row);

/// One value of a row.
#[derive(Debug)]
pub struct MysqlField<'a> {
    bytes: Option<Cow<'a, [u8]>>,
    kind: MysqlType,
    name: Cow<'a, str>,
}

impl RowSealed for MysqlRow {}

impl RowIndex<usize> for MysqlRow {
    fn idx(&self, index: usize) -> Option<usize> {
        (index < self.0.columns_ref().len()).then_some(index)
    }
}

impl<'a> RowIndex<&'a str> for MysqlRow {
    fn idx(&self, name: &'a str) -> Option<usize> {
        self.0.columns_ref().iter().position(|column| column.name_str() == name)
    }
}

impl<'a> Row<'a, Mysql> for MysqlRow {
    type Field<'b>
        = MysqlField<'b>
    where
        Self: 'b,
        'a: 'b;
    type InnerPartialRow = Self;

    fn field_count(&self) -> usize {
        self.0.columns_ref().len()
    }

    fn get<'b, I>(&'b self, index: I) -> Option<Self::Field<'b>>
    where
        'a: 'b,
        Self: RowIndex<I>,
    {
        let index = self.idx(index)?;
        let (value, column) = (self.0.as_ref(index)?, self.0.columns_ref().get(index)?);
        Some(MysqlField { bytes: bytes(value), kind: kind(column), name: column.name_str() })
    }

    fn partial_row(&self, range: Range<usize>) -> PartialRow<'_, Self::InnerPartialRow> {
        PartialRow::new(self, range)
    }
}

impl Field<'_, Mysql> for MysqlField<'_> {
    fn field_name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn value(&self) -> Option<<Mysql as Backend>::RawValue<'_>> {
        self.bytes.as_ref().map(|bytes| MysqlValue::new(bytes, self.kind))
    }
}

/// The bytes that Diesel takes for a value: numbers from their first byte on, times as C's `MYSQL_TIME`.
fn bytes(value: &Value) -> Option<Cow<'_, [u8]>> {
    Some(match value {
        Value::NULL => return None,
        Value::Bytes(bytes) => Cow::Borrowed(bytes),
        Value::Int(number) => Cow::Owned(number.to_ne_bytes().to_vec()),
        Value::UInt(number) => Cow::Owned(number.to_ne_bytes().to_vec()),
        Value::Float(number) => Cow::Owned(number.to_ne_bytes().to_vec()),
        Value::Double(number) => Cow::Owned(number.to_ne_bytes().to_vec()),
        &Value::Date(year, month, day, hour, minute, second, micros) => {
            let of_day = [month, day, hour, minute, second].map(u32::from);
            time(year.into(), of_day, micros, false, MysqlTimestampType::MYSQL_TIMESTAMP_DATETIME)
        }
        &Value::Time(is_negative, days, hour, minute, second, micros) => {
            let [hour, minute, second] = [hour, minute, second].map(u32::from);
            let of_day = [0, days, hour, minute, second];
            time(0, of_day, micros, is_negative, MysqlTimestampType::MYSQL_TIMESTAMP_TIME)
        }
    })
}

fn time(
    year: u32,
    [month, day, hour, minute, second]: [u32; 5],
    micros: u32,
    is_negative: bool,
    kind: MysqlTimestampType,
) -> Cow<'static, [u8]> {
    let micros = micros.into();
    let time = MysqlTime::new(year, month, day, hour, minute, second, micros, is_negative, kind, 0);
    Cow::Owned(time.serialize().to_vec())
}

/// Diesel's name for a column's type. A type that it has none for is handed over as bytes.
fn kind(column: &Column) -> MysqlType {
    let flags = column.flags();
    let sign = |signed, unsigned| {
        if flags.contains(ColumnFlags::UNSIGNED_FLAG) { unsigned } else { signed }
    };
    match column.column_type() {
        ColumnType::MYSQL_TYPE_NEWDECIMAL | ColumnType::MYSQL_TYPE_DECIMAL => MysqlType::Numeric,
        ColumnType::MYSQL_TYPE_TINY => sign(MysqlType::Tiny, MysqlType::UnsignedTiny),
        ColumnType::MYSQL_TYPE_YEAR | ColumnType::MYSQL_TYPE_SHORT => {
            sign(MysqlType::Short, MysqlType::UnsignedShort)
        }
        ColumnType::MYSQL_TYPE_INT24 | ColumnType::MYSQL_TYPE_LONG => {
            sign(MysqlType::Long, MysqlType::UnsignedLong)
        }
        ColumnType::MYSQL_TYPE_LONGLONG => sign(MysqlType::LongLong, MysqlType::UnsignedLongLong),
        ColumnType::MYSQL_TYPE_FLOAT => MysqlType::Float,
        ColumnType::MYSQL_TYPE_DOUBLE => MysqlType::Double,
        ColumnType::MYSQL_TYPE_TIMESTAMP => MysqlType::Timestamp,
        ColumnType::MYSQL_TYPE_DATE => MysqlType::Date,
        ColumnType::MYSQL_TYPE_TIME => MysqlType::Time,
        ColumnType::MYSQL_TYPE_DATETIME => MysqlType::DateTime,
        ColumnType::MYSQL_TYPE_BIT => MysqlType::Bit,
        ColumnType::MYSQL_TYPE_JSON => MysqlType::String,
        _ if flags.contains(ColumnFlags::ENUM_FLAG) => MysqlType::Enum,
        _ if flags.contains(ColumnFlags::SET_FLAG) => MysqlType::Set,
        _ if flags.contains(ColumnFlags::BINARY_FLAG) => MysqlType::Blob,
        _ => MysqlType::String,
    }
}
