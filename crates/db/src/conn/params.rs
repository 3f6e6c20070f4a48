//! Values of a statement, from Diesel's bytes to the driver's values.

use diesel::QueryResult;
use diesel::deserialize::FromSql;
use diesel::mysql::data_types::MysqlTime;
use diesel::mysql::{Mysql, MysqlType, MysqlValue};
use diesel::result::Error as Diesel;
use diesel::sql_types::{Time, Timestamp};
use mysql_async::{Params, Value};

pub(super) fn params(kinds: Vec<MysqlType>, values: Vec<Option<Vec<u8>>>) -> QueryResult<Params> {
    if kinds.is_empty() {
        return Ok(Params::Empty);
    }
    let values = kinds.into_iter().zip(values).map(|(kind, bytes)| match bytes {
        None => Ok(Value::NULL),
        Some(bytes) => value(kind, bytes),
    });
    Ok(Params::Positional(values.collect::<QueryResult<_>>()?))
}

fn value(kind: MysqlType, bytes: Vec<u8>) -> QueryResult<Value> {
    Ok(match kind {
        // Diesel hands a boolean over as four bytes, the least one first.
        MysqlType::Tiny => Value::Int(first(&bytes)?.cast_signed().into()),
        MysqlType::Short => Value::Int(i16::from_ne_bytes(sized(&bytes)?).into()),
        MysqlType::Long => Value::Int(i32::from_ne_bytes(sized(&bytes)?).into()),
        MysqlType::LongLong => Value::Int(i64::from_ne_bytes(sized(&bytes)?)),
        MysqlType::UnsignedTiny => Value::UInt(first(&bytes)?.into()),
        MysqlType::UnsignedShort => Value::UInt(u16::from_ne_bytes(sized(&bytes)?).into()),
        MysqlType::UnsignedLong => Value::UInt(u32::from_ne_bytes(sized(&bytes)?).into()),
        MysqlType::UnsignedLongLong => Value::UInt(u64::from_ne_bytes(sized(&bytes)?)),
        MysqlType::Float => Value::Float(f32::from_ne_bytes(sized(&bytes)?)),
        MysqlType::Double => Value::Double(f64::from_ne_bytes(sized(&bytes)?)),
        MysqlType::Time => {
            let time = <MysqlTime as FromSql<Time, Mysql>>::from_sql(MysqlValue::new(&bytes, kind))
                .map_err(Diesel::SerializationError)?;
            let part = |part: u32| u8::try_from(part).map_err(misfit);
            let (hour, minute, second) = (part(time.hour)?, part(time.minute)?, part(time.second)?);
            let micros = u32::try_from(time.second_part).map_err(misfit)?;
            Value::Time(time.neg, time.day, hour, minute, second, micros)
        }
        MysqlType::Date | MysqlType::DateTime | MysqlType::Timestamp => {
            let at =
                <MysqlTime as FromSql<Timestamp, Mysql>>::from_sql(MysqlValue::new(&bytes, kind))
                    .map_err(Diesel::SerializationError)?;
            let part = |part: u32| u8::try_from(part).map_err(misfit);
            let year = u16::try_from(at.year).map_err(misfit)?;
            let (month, day) = (part(at.month)?, part(at.day)?);
            let (hour, minute, second) = (part(at.hour)?, part(at.minute)?, part(at.second)?);
            let micros = u32::try_from(at.second_part).map_err(misfit)?;
            Value::Date(year, month, day, hour, minute, second, micros)
        }
        MysqlType::Numeric
        | MysqlType::Set
        | MysqlType::Enum
        | MysqlType::String
        | MysqlType::Blob => Value::Bytes(bytes),
        other => return Err(misfit(format!("no value of the kind {other:?}"))),
    })
}

fn first(bytes: &[u8]) -> QueryResult<u8> {
    bytes.first().copied().ok_or_else(|| misfit("a value without bytes"))
}

fn sized<const N: usize>(bytes: &[u8]) -> QueryResult<[u8; N]> {
    bytes.try_into().map_err(misfit)
}

fn misfit(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Diesel {
    Diesel::SerializationError(what.into())
}
