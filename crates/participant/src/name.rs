//! Names that are opaque here: those of users, orders, trips.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::mysql::Mysql;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;
use std::fmt;
use std::sync::Arc;

/// A name that its owner chooses and that nothing here reads, such as a user's id: at most [`Name::MAX_BYTES`] visible
/// ASCII characters. The empty name stands for nobody and nothing.
///
/// Names are compared byte by byte. They have no spaces, because databases ignore those at the end when they compare.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct Name(Arc<str>);

/// A text is not a [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name must be at most {} visible ASCII characters", Name::MAX_BYTES)]
pub struct InvalidName;

impl Name {
    /// The most characters of a name.
    pub const MAX_BYTES: usize = 64;

    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidName`] where the text is too long, or has a space or anything else that is not visible ASCII.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_visible && text.len() <= Self::MAX_BYTES {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName)
        }
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number that this is the name of; `None` for any other text, also for another spelling such as `007`.
    pub fn number(&self) -> Option<i64> {
        let number: i64 = self.0.parse().ok()?;
        (Self::from(number) == *self).then_some(number)
    }
}

impl From<i64> for Name {
    /// The number in decimal digits.
    fn from(number: i64) -> Self {
        Self(number.to_string().into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ToSql<Text, Mysql> for Name {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Mysql>) -> serialize::Result {
        <str as ToSql<Text, Mysql>>::to_sql(&self.0, out)
    }
}

impl FromSql<Text, Mysql> for Name {
    /// Takes what is stored as it is: it was checked before, and one row that somebody damaged must not keep all others
    /// from being read.
    fn from_sql(raw: <Mysql as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        let text = <String as FromSql<Text, Mysql>>::from_sql(raw)?;
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_back_from_its_name_and_from_no_other_spelling() {
        for number in [0, 7, -1, i64::MAX, i64::MIN] {
            assert_eq!(Name::from(number).number(), Some(number));
            assert_eq!(Name::new(&number.to_string()), Ok(Name::from(number)));
        }
        for other in ["", "007", "+7", "-0", "7a", "9223372036854775808"] {
            assert_eq!(Name::new(other).unwrap().number(), None, "{other:?}");
        }
    }

    #[test]
    fn a_name_is_visible_ascii_and_not_longer_than_its_column() {
        let longest = "x".repeat(Name::MAX_BYTES);
        for good in ["", "kim", "a'b\\c", &longest] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
        let too_long = "x".repeat(Name::MAX_BYTES + 1);
        for bad in ["kim ", "a b", "a\n", "\0", "é", "\u{7f}", &too_long] {
            assert_eq!(Name::new(bad), Err(InvalidName), "{bad:?}");
        }
    }
}
