//! Fixed-size binary columns. Diesel has no `Uuid` for MySQL, and ids compare bytewise here anyway.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::mysql::Mysql;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Binary;
use std::io::Write;

macro_rules! fixed {
    ($(#[$doc:meta])* $name:ident, $size:literal) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, AsExpression, FromSqlRow,
        )]
        #[diesel(sql_type = Binary)]
        pub struct $name(pub [u8; $size]);

        impl ToSql<Binary, Mysql> for $name {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Mysql>) -> serialize::Result {
                out.write_all(&self.0)?;
                Ok(serialize::IsNull::No)
            }
        }

        impl FromSql<Binary, Mysql> for $name {
            fn from_sql(raw: <Mysql as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
                let bytes = <Vec<u8> as FromSql<Binary, Mysql>>::from_sql(raw)?;
                Ok(Self(bytes.as_slice().try_into()?))
            }
        }
    };
}

fixed!(
    /// A `BINARY(16)` column: saga ids, request ids, event ids.
    Bytes16, 16
);
fixed!(
    /// A `BINARY(8)` column: digests of requests.
    Bytes8, 8
);

impl From<uuid::Uuid> for Bytes16 {
    fn from(id: uuid::Uuid) -> Self {
        Self(id.into_bytes())
    }
}

impl From<Bytes16> for uuid::Uuid {
    fn from(bytes: Bytes16) -> Self {
        Self::from_bytes(bytes.0)
    }
}
