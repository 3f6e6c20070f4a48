//! The SQL of wallets and their ledger.

use crate::domain::{Cause, Entry, Wallet, Won};
use chrono::NaiveDateTime;
use db::{Bytes16, Conn, Error, LockWait, Result, Script, any_of, for_update, values};
use diesel::dsl::DuplicatedKeys;
use diesel::mysql::Mysql;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use participant::SagaId;
use std::collections::{BTreeMap, BTreeSet};

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

/// An entry with the saga that made it.
#[derive(Debug, Clone)]
pub(crate) struct Booked {
    pub(crate) entry: Entry,
    pub(crate) saga: Option<SagaId>,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = wallet, check_for_backend(Mysql))]
struct WalletRow {
    user_id: i64,
    balance: i64,
    version: i64,
    created_at: NaiveDateTime,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = ledger, check_for_backend(Mysql))]
struct EntryRow {
    user_id: i64,
    seq: i64,
    kind: i8,
    amount: i64,
    balance_after: i64,
    order_id: Option<i64>,
    saga_id: Option<Bytes16>,
    created_at: NaiveDateTime,
}

/// One wallet, unlocked.
pub(crate) async fn find(conn: &mut Conn, user_id: i64) -> Result<Option<Wallet>> {
    let row = wallet::table.find(user_id).select(WalletRow::as_select()).first(conn).await;
    row.optional()?.map(Wallet::try_from).transpose()
}

/// The wallets of these users that exist, locked to the end of the transaction.
pub(crate) async fn lock(
    conn: &mut Conn,
    user_ids: BTreeSet<i64>,
    wait: LockWait,
) -> Result<BTreeMap<i64, Wallet>> {
    if user_ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let wallets = wallet::table
        .filter(any_of(wallet::user_id, user_ids))
        .order(wallet::user_id)
        .select(WalletRow::as_select());
    let rows: Vec<WalletRow> = for_update(wallets, wait).load(conn).await?;
    rows.into_iter().map(|row| Ok((row.user_id, row.try_into()?))).collect()
}

/// Writes a wallet that is not there yet.
pub(crate) fn insert(writes: &mut Script, new: &Wallet) -> Result<()> {
    writes.insert(wallet::table, vec![WalletRow::from(new)])
}

/// Writes the balances of wallets that this transaction has locked, in the order of their keys.
pub(crate) fn update<'a>(
    writes: &mut Script,
    wallets: impl Iterator<Item = &'a Wallet>,
) -> Result<()> {
    let rows: Vec<WalletRow> = wallets.map(WalletRow::from).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let update = diesel::insert_into(wallet::table)
        .values(rows)
        .on_conflict(DuplicatedKeys)
        .do_update()
        .set((
            wallet::balance.eq(values(wallet::balance)),
            wallet::version.eq(values(wallet::version)),
        ));
    writes.push(&update)
}

/// Appends to the ledgers of wallets that this transaction has locked.
pub(crate) fn append(writes: &mut Script, mut booked: Vec<Booked>) -> Result<()> {
    booked.sort_unstable_by_key(|Booked { entry, .. }| (entry.user_id, entry.seq));
    let rows: Vec<EntryRow> = booked.into_iter().map(EntryRow::from).collect();
    writes.insert(ledger::table, rows)
}

/// The newest entries of a wallet's ledger, newest first; only those below `before` where it is given.
pub(crate) async fn entries(
    conn: &mut Conn,
    user_id: i64,
    before: Option<i64>,
    limit: usize,
) -> Result<Vec<Entry>> {
    let rows: Vec<EntryRow> = ledger::table
        .filter(ledger::user_id.eq(user_id))
        .filter(ledger::seq.lt(before.unwrap_or(i64::MAX)))
        .order(ledger::seq.desc())
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select(EntryRow::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(Entry::try_from).collect()
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
            kind: kind(entry.cause),
            amount: entry.change,
            balance_after: entry.balance_after.get(),
            order_id: entry.cause.order_id(),
            saga_id: saga.map(|saga| Bytes16(saga.0)),
            created_at: db::to_db(entry.at),
        }
    }
}

/// The code in the column `kind`.
fn kind(cause: Cause) -> i8 {
    match cause {
        Cause::Charge => 1,
        Cause::Debit { .. } => 2,
        Cause::UndoDebit { .. } => 3,
        Cause::Refund { .. } => 4,
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
