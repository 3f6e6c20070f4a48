//! What a row of the log says, and which days have a partition: pure rules, no I/O.

use chrono::{DateTime, Days, NaiveDate, Utc};
use std::time::Duration;

/// Days before today that have a partition of their own from the first day on: the outbox holds events of so many days.
const BACK: Days = Days::new(4);
/// Days after today that have one.
const AHEAD: Days = Days::new(3);

/// Whose events are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Wallets: opened, charged, used, given back to.
    Wallet,
    /// Orders: placed, cancelled.
    Order,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A user got a wallet.
    Wallet,
    /// A user added money.
    Charge,
    /// An order was paid.
    Use,
    /// A payment came back: its checkout failed.
    Undo,
    /// A payment came back: its order was cancelled.
    Refund,
    /// An order was placed.
    Order,
    /// An order was cancelled.
    Cancel,
    /// An event of a type that this version does not know: kept, so that nothing is lost.
    Other,
}

/// One event, as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When the change was made, by its service's clock, to the microsecond.
    pub occurred_at: DateTime<Utc>,
    /// The event's id.
    pub event_id: [u8; 16],
    /// Whose event it is.
    pub source: Source,
    /// The full name of the event's type, such as `commerce.wallet.v1.WalletCharged`; at most 128 bytes.
    pub event_type: String,
    /// What happened.
    pub kind: Kind,
    /// Of the wallet or the order after the change.
    pub version: i64,
    /// Whose money or order it is; unknown for [`Kind::Other`].
    pub user_id: Option<i64>,
    /// The order; for all but [`Kind::Wallet`], [`Kind::Charge`] and [`Kind::Other`].
    pub order_id: Option<i64>,
    /// Won into the wallet, negative out of it, as in the ledger; for changes of a balance.
    pub amount: Option<i64>,
    /// Won in the wallet afterwards; for changes of a balance.
    pub balance_after: Option<i64>,
    /// Won for the lines; for [`Kind::Order`].
    pub total: Option<i64>,
    /// Won that were paid, the coupon's discount taken off; for [`Kind::Order`].
    pub paid: Option<i64>,
    /// The `x-trace-id` of the call that made the change; empty when there was none. At most 64 bytes.
    pub trace_id: String,
    /// The event's payload as it came.
    pub payload: Vec<u8>,
}

/// What is to be done to the days that have a partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Days that need one, ascending, all after the days there are.
    pub add: Vec<NaiveDate>,
    /// Days of which nothing is to be kept.
    pub drop: Vec<NaiveDate>,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Wallet, Self::Order];

    /// The name of the schema whose bus it is, and of the kind of aggregate.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wallet => "wallet",
            Self::Order => "order",
        }
    }
}

impl Kind {
    /// The word in the column `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wallet => "WALLET",
            Self::Charge => "CHARGE",
            Self::Use => "USE",
            Self::Undo => "UNDO",
            Self::Refund => "REFUND",
            Self::Order => "ORDER",
            Self::Cancel => "CANCEL",
            Self::Other => "OTHER",
        }
    }
}

impl Plan {
    /// For the days that have a partition, ascending, and for rows to be kept for `retention`.
    ///
    /// Whole days: one goes when its last instant is older than the retention. The newest stays, so that there always is
    /// one.
    pub fn new(days: &[NaiveDate], now: DateTime<Utc>, retention: Duration) -> Self {
        let today = now.date_naive();
        let first = match days.last() {
            Some(last) => last.succ_opt(),
            None => today.checked_sub_days(BACK),
        };
        let last = today.checked_add_days(AHEAD);
        let add = match (first, last) {
            (Some(first), Some(last)) => first.iter_days().take_while(|day| *day <= last).collect(),
            _ => Vec::new(),
        };
        let retention = chrono::TimeDelta::from_std(retention).unwrap_or(chrono::TimeDelta::MAX);
        let kept_from = now.checked_sub_signed(retention).map(|at| at.date_naive());
        let is_old = |day: &&NaiveDate| kept_from.is_some_and(|from| **day < from);
        let older = days.split_last().map_or(days, |(_, older)| older);
        Self { add, drop: older.iter().take_while(is_old).copied().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn days(from: &str, count: usize) -> Vec<NaiveDate> {
        from.parse::<NaiveDate>().unwrap().iter_days().take(count).collect()
    }

    #[test]
    fn the_first_days_reach_from_what_an_outbox_holds_to_some_days_ahead() {
        let plan = Plan::new(&[], at("2026-11-26T10:00:00Z"), 90 * DAY);
        assert_eq!(plan, Plan { add: days("2026-11-22", 8), drop: vec![] });
    }

    #[test]
    fn each_day_adds_one_and_drops_the_one_whose_last_instant_is_too_old() {
        let there = days("2026-11-22", 8);
        let before = Plan::new(&there, at("2026-11-26T23:59:59Z"), 4 * DAY);
        assert_eq!(before, Plan::default());
        // On the 27th at midnight the 22nd ended four days ago.
        let after = Plan::new(&there, at("2026-11-27T00:00:00Z"), 4 * DAY);
        assert_eq!(after, Plan { add: days("2026-11-30", 1), drop: days("2026-11-22", 1) });
    }

    #[test]
    fn days_that_were_missed_are_made_up_for_without_a_hole() {
        let there = days("2026-11-22", 8);
        let plan = Plan::new(&there, at("2026-12-10T12:00:00Z"), 3 * DAY);
        assert_eq!(plan, Plan { add: days("2026-11-30", 14), drop: days("2026-11-22", 7) });
    }
}
