//! Clients' requests against the rows that they made.
//!
//! Both sides are kept as a few numbers a row, for what a request made stands in its encoded answer, which no index
//! knows.

use crate::findings::Findings;
use crate::invariant::Invariant;
use crate::snapshot::Snapshot;
use anyhow::Result;
use api::Refusal;
use db::Bytes16;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Bool, Text};
use participant::Name;
use std::fmt;
use uuid::Uuid;

/// What a request made, by the numbers that tell it from all others and by its amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, QueryableByName)]
pub(crate) struct Made {
    /// The call's number in the schema's idempotency rows.
    #[diesel(sql_type = BigInt)]
    pub(crate) method: i64,
    /// Whose: the wallet, the product, the coupon.
    #[diesel(sql_type = BigInt)]
    pub(crate) id: i64,
    /// Which of its parts: the entry, the version, the issued coupon; 0 for the whole.
    #[diesel(sql_type = BigInt)]
    pub(crate) part: i64,
    /// How much; 0 where that can change.
    #[diesel(sql_type = BigInt)]
    pub(crate) amount: i64,
}

/// A schema's requests.
pub(crate) struct Requests {
    pub(crate) invariant: Invariant,
    /// What an owner is called: `wallet`.
    pub(crate) owner: &'static str,
    /// Selects what stands in the tables as [`Made`]; none where no client writes.
    pub(crate) made: &'static str,
    /// Reads what an answer says was made: `None` for what no version answered.
    pub(crate) told: fn(method: i64, reply: &[u8]) -> Option<Made>,
    /// The call of which a row of `made` stands for all parts from 2 through its own.
    pub(crate) through: Option<i64>,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Binary)]
    request_id: Bytes16,
    #[diesel(sql_type = Text)]
    subject: Name,
    #[diesel(sql_type = BigInt)]
    method: i64,
    #[diesel(sql_type = Bool)]
    refused: bool,
    #[diesel(sql_type = Binary)]
    reply: Vec<u8>,
}

impl Requests {
    /// Checks that what was told is what stands, once each.
    pub(crate) async fn check(
        &self,
        snapshot: &mut Snapshot,
        findings: &mut Findings,
    ) -> Result<()> {
        const ROWS: &str = "SELECT request_id, subject, method, refused, reply FROM idempotency";
        let invariant = &self.invariant;
        let mut told = Vec::new();
        snapshot
            .each(ROWS, |row: Row| {
                findings.row(invariant);
                match (self.told)(row.method, &row.reply) {
                    _ if row.refused => {
                        if Refusal::decode(&row.reply).is_err() {
                            findings.offend(invariant, &row);
                        }
                    }
                    Some(made) => told.push(made),
                    None => findings.offend(invariant, &row),
                }
            })
            .await?;
        if self.made.is_empty() {
            return Ok(());
        }
        let told_count = i64::try_from(told.len()).unwrap_or(i64::MAX).saturating_add(2);
        let mut made = Vec::new();
        snapshot
            .each(self.made, |row: Made| match self.through {
                Some(method) if method == row.method => {
                    // One more than was told is enough to tell that some are missing.
                    let parts = 2..=row.part.min(told_count);
                    made.extend(parts.map(|part| Made { part, ..row }));
                }
                _ => made.push(row),
            })
            .await?;
        told.sort_unstable();
        made.sort_unstable();
        for unmatched in unmatched(&told, &made) {
            let Made { id, part, method, .. } = unmatched;
            let owner = self.owner;
            findings.offend(invariant, format!("{owner} {id} part {part} call {method}"));
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, method, .. } = self;
        let subject = match subject.as_str() {
            "" => "nobody".to_owned(),
            user => format!("user {user}"),
        };
        write!(f, "request {} of {subject} call {method}", Uuid::from(self.request_id))
    }
}

/// What two sorted lists do not share.
fn unmatched<T: Ord + Copy>(left: &[T], right: &[T]) -> Vec<T> {
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    let mut alone = Vec::new();
    loop {
        match (left.peek(), right.peek()) {
            (None, None) => return alone,
            (Some(one), Some(other)) if one == other => {
                left.next();
                right.next();
            }
            (Some(one), other) if other.is_none_or(|other| one < other) => {
                alone.extend(left.next());
            }
            _ => alone.extend(right.next()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_one_side_has_is_named_as_often_as_it_is_too_many() {
        assert_eq!(unmatched(&[1, 2, 2, 4], &[1, 2, 3]), [2, 3, 4]);
        assert_eq!(unmatched(&[], &[5, 5]), [5, 5]);
        assert_eq!(unmatched(&[7], &[]), [7]);
        assert!(unmatched(&[1, 1, 9], &[1, 1, 9]).is_empty());
    }
}
