//! The SQL of campaigns and of the coupons in users' hands.

mod lists;
mod rows;

use crate::domain::{Coupon, CouponId, Issued, IssuedId, UserId};
use db::{CHUNK, Conn, LockWait, Result, Script, any_of, for_update, values};
use diesel::dsl::DuplicatedKeys;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
pub(crate) use lists::{Filter, page, page_of};
pub(crate) use rows::StateCode;
use rows::{CouponRow, IssuedRow, coupon, issued_coupon};
use std::collections::{BTreeMap, BTreeSet};

/// Whose coupon of which campaign: an issued coupon's key.
pub(crate) type Owner = (CouponId, UserId);

/// One campaign, unlocked.
pub(crate) async fn find(conn: &mut Conn, id: CouponId) -> Result<Option<Coupon>> {
    let row = coupon::table.find(id.0).select(CouponRow::as_select()).first(conn).await;
    let row = conn.asked_for("coupon", row.optional()?, |row: &CouponRow| row.id == id.0)?;
    row.map(Coupon::try_from).transpose()
}

/// The campaigns of these that exist, unlocked: good for their terms, which never change.
pub(crate) async fn find_all(
    conn: &mut Conn,
    ids: BTreeSet<CouponId>,
) -> Result<BTreeMap<CouponId, Coupon>> {
    let ids: Vec<i64> = ids.into_iter().map(|id| id.0).collect();
    let mut found = BTreeMap::new();
    for chunk in ids.chunks(CHUNK) {
        let rows: Vec<CouponRow> = coupon::table
            .filter(any_of(coupon::id, chunk.iter().copied()))
            .select(CouponRow::as_select())
            .load(conn)
            .await?;
        let rows = conn.asked_for("coupon", rows, |row: &CouponRow| chunk.contains(&row.id))?;
        collect(rows, &mut found)?;
    }
    Ok(found)
}

/// The campaigns of these that exist, locked to the end of the transaction.
pub(crate) async fn lock(
    conn: &mut Conn,
    ids: BTreeSet<CouponId>,
    wait: LockWait,
) -> Result<BTreeMap<CouponId, Coupon>> {
    let ids: Vec<i64> = ids.into_iter().map(|id| id.0).collect();
    let mut locked = BTreeMap::new();
    for chunk in ids.chunks(CHUNK) {
        let coupons = coupon::table
            .filter(any_of(coupon::id, chunk.iter().copied()))
            .order(coupon::id)
            .select(CouponRow::as_select());
        let rows: Vec<CouponRow> = for_update(coupons, wait).load(conn).await?;
        let rows = conn.asked_for("coupon", rows, |row: &CouponRow| chunk.contains(&row.id))?;
        collect(rows, &mut locked)?;
    }
    Ok(locked)
}

fn collect(rows: Vec<CouponRow>, into: &mut BTreeMap<CouponId, Coupon>) -> Result<()> {
    for row in rows {
        into.insert(CouponId(row.id), row.try_into()?);
    }
    Ok(())
}

/// Writes a campaign that is not there yet.
pub(crate) fn insert(writes: &mut Script, new: &Coupon) -> Result<()> {
    writes.insert(coupon::table, vec![CouponRow::from(new)])
}

/// Writes how many are issued of campaigns that this transaction has locked, in the order of their keys.
pub(crate) fn update(writes: &mut Script, changed: &[&Coupon]) -> Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    let rows: Vec<CouponRow> = changed.iter().copied().map(CouponRow::from).collect();
    let update = diesel::insert_into(coupon::table)
        .values(rows)
        .on_conflict(DuplicatedKeys)
        .do_update()
        .set(coupon::issued.eq(values(coupon::issued)));
    writes.push(&update)
}

/// One issued coupon, unlocked.
pub(crate) async fn find_issued(conn: &mut Conn, id: IssuedId) -> Result<Option<Issued>> {
    let row = issued_coupon::table
        .filter(issued_coupon::id.eq(id.0))
        .select(IssuedRow::as_select())
        .first(conn)
        .await;
    let row = conn.asked_for("issued_coupon", row.optional()?, |row: &IssuedRow| row.id == id.0)?;
    row.map(Issued::try_from).transpose()
}

/// The keys of issued coupons; they never change.
pub(crate) async fn owners(
    conn: &mut Conn,
    ids: BTreeSet<IssuedId>,
) -> Result<BTreeMap<IssuedId, Owner>> {
    let ids: Vec<i64> = ids.into_iter().map(|id| id.0).collect();
    let mut owners = BTreeMap::new();
    for chunk in ids.chunks(CHUNK) {
        let rows: Vec<(i64, i64, i64)> = issued_coupon::table
            .filter(any_of(issued_coupon::id, chunk.iter().copied()))
            .select((issued_coupon::id, issued_coupon::coupon_id, issued_coupon::user_id))
            .load(conn)
            .await?;
        let is_asked = |(id, ..): &(i64, i64, i64)| chunk.contains(id);
        let rows = conn.asked_for("issued_coupon", rows, is_asked)?.into_iter();
        owners.extend(
            rows.map(|(id, coupon, user)| (IssuedId(id), (CouponId(coupon), UserId(user)))),
        );
    }
    Ok(owners)
}

/// The issued coupons of these owners that exist, locked to the end of the transaction.
pub(crate) async fn lock_issued(
    conn: &mut Conn,
    owners: &BTreeSet<Owner>,
    wait: LockWait,
) -> Result<BTreeMap<Owner, Issued>> {
    let mut users: BTreeMap<CouponId, Vec<i64>> = BTreeMap::new();
    for (coupon, user) in owners {
        users.entry(*coupon).or_default().push(user.0);
    }
    let mut locked = BTreeMap::new();
    // A list of pairs would be scanned for, not looked up, by some of the servers.
    for (coupon, users) in users {
        for chunk in users.chunks(CHUNK) {
            let issued = issued_coupon::table
                .filter(issued_coupon::coupon_id.eq(coupon.0))
                .filter(any_of(issued_coupon::user_id, chunk.iter().copied()))
                .order(issued_coupon::user_id)
                .select(IssuedRow::as_select());
            let rows: Vec<IssuedRow> = for_update(issued, wait).load(conn).await?;
            let is_asked =
                |row: &IssuedRow| row.coupon_id == coupon.0 && chunk.contains(&row.user_id);
            for row in conn.asked_for("issued_coupon", rows, is_asked)? {
                locked.insert((coupon, UserId(row.user_id)), row.try_into()?);
            }
        }
    }
    Ok(locked)
}

/// Writes coupons that are not there yet, whose campaigns this transaction has locked.
pub(crate) fn insert_issued(writes: &mut Script, new: &[&Issued]) -> Result<()> {
    let rows: Vec<IssuedRow> = new.iter().copied().map(IssuedRow::from).collect();
    writes.insert(issued_coupon::table, rows)
}

/// Writes the states of coupons that this transaction has locked, in the order of their keys.
pub(crate) fn update_issued(writes: &mut Script, changed: &[&Issued]) -> Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    let rows: Vec<IssuedRow> = changed.iter().copied().map(IssuedRow::from).collect();
    let update = diesel::insert_into(issued_coupon::table)
        .values(rows)
        .on_conflict(DuplicatedKeys)
        .do_update()
        .set((
            issued_coupon::state.eq(values(issued_coupon::state)),
            issued_coupon::order_id.eq(values(issued_coupon::order_id)),
            issued_coupon::version.eq(values(issued_coupon::version)),
        ));
    writes.push(&update)
}
