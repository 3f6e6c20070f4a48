//! The tables, and what their rows mean.

use super::Booked;
use crate::domain::{Cause, Entry, Kind, Wallet, Won};
use chrono::NaiveDateTime;
use db::{Bytes16, Error, Result};
use diesel::mysql::Mysql;
use diesel::prelude::*;

diesel::table! {
    wallet (user_id) {
        user_id -> BigInt,
        balance -> BigInt,
        version -> BigInt,
        created_at -> Datetime,
    }
}

diesel::table! {
    ledger (user_id, seq) {
        user_id -> BigInt,
        seq -> BigInt,
        kind -> TinyInt,
        amount -> BigInt,
        balance_after -> BigInt,
        order_id -> Nullable<BigInt>,
        saga_id -> Nullable<Binary>,
        created_at -> Datetime,
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = wallet, check_for_backend(Mysql))]
pub(super) struct WalletRow {
    pub(super) user_id: i64,
    balance: i64,
    version: i64,
    created_at: NaiveDateTime,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = ledger, check_for_backend(Mysql))]
pub(super) struct EntryRow {
    pub(super) user_id: i64,
    seq: i64,
    kind: i8,
    amount: i64,
    balance_after: i64,
    order_id: Option<i64>,
    saga_id: Option<Bytes16>,
    created_at: NaiveDateTime,
}

impl TryFrom<WalletRow> for Wallet {
    type Error = Error;

    fn try_from(row: WalletRow) -> Result<Self> {
        let corrupt = || Error::Corrupt(format!("wallet {} has {} won", row.user_id, row.balance));
        Ok(Self {
            user_id: row.user_id,
            balance: Won::new(row.balance).ok_or_else(corrupt)?,
            version: row.version,
            created_at: db::from_db(row.created_at),
        })
    }
}

impl From<&Wallet> for WalletRow {
    fn from(wallet: &Wallet) -> Self {
        Self {
            user_id: wallet.user_id,
            balance: wallet.balance.get(),
            version: wallet.version,
            created_at: db::to_db(wallet.created_at),
        }
    }
}

impl TryFrom<EntryRow> for Entry {
    type Error = Error;

    fn try_from(row: EntryRow) -> Result<Self> {
        let corrupt = || Error::Corrupt(format!("ledger entry {} of {}", row.seq, row.user_id));
        Ok(Self {
            user_id: row.user_id,
            seq: row.seq,
            cause: cause(row.kind, row.order_id).ok_or_else(corrupt)?,
            change: row.amount,
            balance_after: Won::new(row.balance_after).ok_or_else(corrupt)?,
            at: db::from_db(row.created_at),
        })
    }
}

impl From<Booked> for EntryRow {
    fn from(Booked { entry, saga }: Booked) -> Self {
        Self {
            user_id: entry.user_id,
            seq: entry.seq,
            kind: column(entry.cause.kind()),
            amount: entry.change,
            balance_after: entry.balance_after.get(),
            order_id: entry.cause.order_id(),
            saga_id: saga.map(|saga| Bytes16(saga.0)),
            created_at: db::to_db(entry.at),
        }
    }
}

/// The code in the column `kind`.
pub(super) fn column(kind: Kind) -> i8 {
    match kind {
        Kind::Charge => 1,
        Kind::Debit => 2,
        Kind::UndoDebit => 3,
        Kind::Refund => 4,
    }
}

fn cause(kind: i8, order_id: Option<i64>) -> Option<Cause> {
    match (kind, order_id) {
        (1, None) => Some(Cause::Charge),
        (2, Some(order_id)) => Some(Cause::Debit { order_id }),
        (3, Some(order_id)) => Some(Cause::UndoDebit { order_id }),
        (4, Some(order_id)) => Some(Cause::Refund { order_id }),
        _ => None,
    }
}
