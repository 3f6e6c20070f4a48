//! The SQL of wallets and their ledger.

mod rows;

use crate::domain::{Entry, Kind, Wallet};
use chrono::{DateTime, Utc};
use db::{Conn, LockWait, Result, Script, any_of, for_update, values};
use diesel::dsl::DuplicatedKeys;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use participant::SagaId;
use rows::{EntryRow, WalletRow, ledger, wallet};
use std::collections::{BTreeMap, BTreeSet};

/// Bounds the entries that one page of a list looks at: few of them may fit its filter.
const MOST_LOOKED_AT: i64 = 10_000;

/// An entry with the saga that made it.
#[derive(Debug, Clone)]
pub(crate) struct Booked {
    pub(crate) entry: Entry,
    pub(crate) saga: Option<SagaId>,
}

/// Selects the entries that a list shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter {
    pub(crate) user_id: i64,
    pub(crate) kind: Option<Kind>,
    /// Made at or after.
    pub(crate) from: Option<DateTime<Utc>>,
    /// Made before.
    pub(crate) to: Option<DateTime<Utc>>,
}

/// Holds what a page of a list found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// The newest first.
    pub(crate) entries: Vec<Entry>,
    /// The lowest number that was looked at; `None` if that is the oldest entry.
    pub(crate) floor: Option<i64>,
}

/// One wallet, unlocked.
pub(crate) async fn find(conn: &mut Conn, user_id: i64) -> Result<Option<Wallet>> {
    let row = wallet::table.find(user_id).select(WalletRow::as_select()).first(conn).await;
    let row =
        conn.asked_for("wallet", row.optional()?, |row: &WalletRow| row.user_id == user_id)?;
    row.map(Wallet::try_from).transpose()
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
        .filter(any_of(wallet::user_id, user_ids.iter().copied()))
        .order(wallet::user_id)
        .select(WalletRow::as_select());
    let rows: Vec<WalletRow> = for_update(wallets, wait).load(conn).await?;
    let rows = conn.asked_for("wallet", rows, |row: &WalletRow| user_ids.contains(&row.user_id))?;
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

/// Reads the newest entries of a ledger that fit a filter and have numbers below `before`.
///
/// It compares the time of every entry, because a clock that is put back dates a later entry earlier. A ledger has no gaps,
/// so a range of numbers bounds how many entries it looks at.
pub(crate) async fn entries(
    conn: &mut Conn,
    filter: Filter,
    before: i64,
    limit: usize,
) -> Result<Found> {
    let Filter { user_id, kind, from, to } = filter;
    let floor = before.saturating_sub(MOST_LOOKED_AT);
    let mut query = ledger::table
        .filter(ledger::user_id.eq(user_id))
        .filter(ledger::seq.lt(before))
        .filter(ledger::seq.ge(floor))
        .order(ledger::seq.desc())
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select(EntryRow::as_select())
        .into_boxed();
    if let Some(kind) = kind {
        query = query.filter(ledger::kind.eq(rows::column(kind)));
    }
    if let Some(from) = from {
        query = query.filter(ledger::created_at.ge(db::to_db(from)));
    }
    if let Some(to) = to {
        query = query.filter(ledger::created_at.lt(db::to_db(to)));
    }
    let found: Vec<EntryRow> = query.load(conn).await?;
    let found = conn.asked_for("ledger", found, |row: &EntryRow| row.user_id == user_id)?;
    let entries = found.into_iter().map(Entry::try_from).collect::<Result<_>>()?;
    Ok(Found { entries, floor: (floor > 1).then_some(floor) })
}
