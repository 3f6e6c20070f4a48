//! The rules of wallets: what may be charged, paid and given back, and the ledger that tells of it.
//!
//! Every change of a balance makes exactly one [`Entry`]; a wallet's version is the number of its entries, so a ledger
//! without gaps and a balance that is its sum are the same statement.

use chrono::{DateTime, Utc};

/// A balance stays below this by charges, in won. What comes back from a failed or cancelled order is never refused, so
/// a balance may pass it by as much as was out of the wallet meanwhile.
pub const BALANCE_LIMIT: i64 = 1_000_000_000_000_000;

/// Money that rests in a wallet or changes hands: 0 won or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Won(i64);

/// What one charge may add: 1,000 to 1,000,000,000 won.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge(Won);

/// A user's money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wallet {
    /// The owner, and the wallet's key.
    pub user_id: i64,
    /// The sum of the ledger.
    pub balance: Won,
    /// How many entries the ledger has.
    pub version: i64,
    /// When the wallet was made.
    pub created_at: DateTime<Utc>,
}

/// Why a balance changed, and for which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The user added money.
    Charge,
    /// An order was paid.
    Debit {
        /// The order.
        order_id: i64,
    },
    /// A payment came back: its checkout failed.
    UndoDebit {
        /// The order that did not come about.
        order_id: i64,
    },
    /// A payment came back: its order was cancelled.
    Refund {
        /// The cancelled order.
        order_id: i64,
    },
}

/// Why a balance changed, whatever the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The user added money.
    Charge,
    /// An order was paid.
    Debit,
    /// A payment came back: its checkout failed.
    UndoDebit,
    /// A payment came back: its order was cancelled.
    Refund,
}

/// One line of a wallet's ledger; never changed or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The wallet.
    pub user_id: i64,
    /// 1, 2, 3 … without gaps.
    pub seq: i64,
    /// Why.
    pub cause: Cause,
    /// Won, signed: positive into the wallet.
    pub change: i64,
    /// The balance with this entry.
    pub balance_after: Won,
    /// When it was made.
    pub at: DateTime<Utc>,
}

/// Why a wallet's rules refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The user has no wallet.
    NotFound {
        /// The user.
        user_id: i64,
    },
    /// The user has a wallet already.
    AlreadyExists {
        /// The user.
        user_id: i64,
    },
    /// A charge below [`Charge::MINIMUM`].
    ChargeTooSmall,
    /// A charge above [`Charge::MAXIMUM`].
    ChargeTooLarge,
    /// The balance would reach [`BALANCE_LIMIT`].
    BalanceLimit,
    /// Less in the wallet than is to be paid.
    InsufficientBalance {
        /// What there is.
        available: Won,
        /// What was asked for.
        required: Won,
    },
}

impl Won {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount; `None` below 0.
    pub fn new(amount: i64) -> Option<Self> {
        (amount >= 0).then_some(Self(amount))
    }

    /// The number of won.
    pub fn get(self) -> i64 {
        self.0
    }

    fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    fn minus(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).and_then(Self::new)
    }
}

impl Charge {
    /// The least charge, in won.
    pub const MINIMUM: i64 = 1_000;
    /// The greatest charge, in won.
    pub const MAXIMUM: i64 = 1_000_000_000;

    /// A charge of this many won.
    ///
    /// # Errors
    /// [`Refused::ChargeTooSmall`], [`Refused::ChargeTooLarge`].
    pub fn new(amount: i64) -> Result<Self, Refused> {
        match amount {
            ..Self::MINIMUM => Err(Refused::ChargeTooSmall),
            Self::MINIMUM..=Self::MAXIMUM => Ok(Self(Won(amount))),
            _ => Err(Refused::ChargeTooLarge),
        }
    }
}

impl Cause {
    /// The cause without its order.
    pub fn kind(self) -> Kind {
        match self {
            Self::Charge => Kind::Charge,
            Self::Debit { .. } => Kind::Debit,
            Self::UndoDebit { .. } => Kind::UndoDebit,
            Self::Refund { .. } => Kind::Refund,
        }
    }

    /// The order that was paid or came back; a charge has none.
    pub fn order_id(self) -> Option<i64> {
        match self {
            Self::Charge => None,
            Self::Debit { order_id } | Self::UndoDebit { order_id } | Self::Refund { order_id } => {
                Some(order_id)
            }
        }
    }
}

impl Wallet {
    /// A new wallet, empty.
    pub fn open(user_id: i64, at: DateTime<Utc>) -> Self {
        Self { user_id, balance: Won::ZERO, version: 0, created_at: at }
    }

    /// Adds money.
    ///
    /// # Errors
    /// [`Refused::BalanceLimit`].
    pub fn charge(&mut self, charge: Charge, at: DateTime<Utc>) -> Result<Entry, Refused> {
        let balance = self
            .balance
            .plus(charge.0)
            .filter(|balance| balance.0 < BALANCE_LIMIT)
            .ok_or(Refused::BalanceLimit)?;
        Ok(self.book(Cause::Charge, charge.0.0, balance, at))
    }

    /// Pays for an order. One that costs nothing has an entry too.
    ///
    /// # Errors
    /// [`Refused::InsufficientBalance`].
    pub fn debit(
        &mut self,
        amount: Won,
        order_id: i64,
        at: DateTime<Utc>,
    ) -> Result<Entry, Refused> {
        let short = Refused::InsufficientBalance { available: self.balance, required: amount };
        let balance = self.balance.minus(amount).ok_or(short)?;
        Ok(self.book(Cause::Debit { order_id }, -amount.0, balance, at))
    }

    /// Gives a payment back whose checkout failed. No limit refuses it; `None` where the sum is no 64-bit number.
    pub fn undo_debit(&mut self, amount: Won, order_id: i64, at: DateTime<Utc>) -> Option<Entry> {
        self.give_back(Cause::UndoDebit { order_id }, amount, at)
    }

    /// Gives a payment back whose order was cancelled. No limit refuses it; `None` where the sum is no 64-bit number.
    pub fn refund(&mut self, amount: Won, order_id: i64, at: DateTime<Utc>) -> Option<Entry> {
        self.give_back(Cause::Refund { order_id }, amount, at)
    }

    fn give_back(&mut self, cause: Cause, amount: Won, at: DateTime<Utc>) -> Option<Entry> {
        let balance = self.balance.plus(amount)?;
        Some(self.book(cause, amount.0, balance, at))
    }

    fn book(&mut self, cause: Cause, change: i64, balance: Won, at: DateTime<Utc>) -> Entry {
        self.version += 1;
        self.balance = balance;
        Entry {
            user_id: self.user_id,
            seq: self.version,
            cause,
            change,
            balance_after: balance,
            at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn wallet(balance: i64) -> Wallet {
        Wallet { balance: won(balance), ..Wallet::open(1, AT) }
    }

    fn won(amount: i64) -> Won {
        Won::new(amount).unwrap()
    }

    #[test]
    fn money_is_never_negative() {
        assert_eq!(Won::new(-1), None);
        assert_eq!(Won::new(0), Some(Won::ZERO));
    }

    #[test]
    fn a_charge_is_1_000_to_10_to_the_9_won() {
        assert_eq!(Charge::new(999), Err(Refused::ChargeTooSmall));
        assert_eq!(Charge::new(i64::MIN), Err(Refused::ChargeTooSmall));
        assert!(Charge::new(1_000).is_ok());
        assert!(Charge::new(1_000_000_000).is_ok());
        assert_eq!(Charge::new(1_000_000_001), Err(Refused::ChargeTooLarge));
    }

    #[test]
    fn a_charge_keeps_the_balance_below_the_limit() {
        let charge = Charge::new(1_000).unwrap();
        let mut full = wallet(BALANCE_LIMIT - 1_000);
        assert_eq!(full.charge(charge, AT), Err(Refused::BalanceLimit));
        assert_eq!(full, wallet(BALANCE_LIMIT - 1_000));
        let entry = wallet(BALANCE_LIMIT - 1_001).charge(charge, AT).unwrap();
        assert_eq!(entry.balance_after, won(BALANCE_LIMIT - 1));
    }

    #[test]
    fn a_debit_takes_everything_but_not_more() {
        let mut wallet = wallet(500);
        let short = Refused::InsufficientBalance { available: won(500), required: won(501) };
        assert_eq!(wallet.debit(won(501), 9, AT), Err(short));
        let entry = wallet.debit(won(500), 9, AT).unwrap();
        assert_eq!((entry.change, entry.balance_after), (-500, Won::ZERO));
        assert_eq!(entry.cause.order_id(), Some(9));
    }

    #[test]
    fn every_change_has_the_next_number_of_the_ledger_even_one_of_nothing() {
        let mut wallet = wallet(0);
        let charged = wallet.charge(Charge::new(2_000).unwrap(), AT).unwrap();
        let debited = wallet.debit(Won::ZERO, 9, AT).unwrap();
        let undone = wallet.undo_debit(Won::ZERO, 9, AT).unwrap();
        let refunded = wallet.refund(won(7), 8, AT).unwrap();
        let seqs = [charged.seq, debited.seq, undone.seq, refunded.seq];
        assert_eq!(seqs, [1, 2, 3, 4]);
        assert_eq!((wallet.version, wallet.balance), (4, won(2_007)));
    }

    #[test]
    fn no_limit_keeps_money_from_coming_back() {
        let mut full = wallet(BALANCE_LIMIT - 1);
        let entry = full.undo_debit(won(5_000), 9, AT).unwrap();
        assert_eq!(entry.balance_after, won(BALANCE_LIMIT + 4_999));
        assert_eq!(wallet(i64::MAX).refund(won(1), 9, AT), None);
    }
}
