//! The SQL of lists, newest first.

use super::rows::{CouponRow, IssuedRow, StateCode, coupon, issued_coupon};
use crate::domain::{Coupon, Issued, UserId};
use chrono::NaiveDateTime;
use db::{Conn, Result};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform::page::Place;

/// Bounds the coupons of a user that one page looks at: few of them may be in the wanted state.
const MOST_LOOKED_AT: i64 = 10_000;

/// Selects the issued coupons that a list shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter {
    pub(crate) user: UserId,
    pub(crate) state: Option<StateCode>,
}

/// Holds what a page of a list of issued coupons found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// The newest first.
    pub(crate) issued: Vec<Issued>,
    /// A place below every coupon that was looked at; `None` unless older ones were left out.
    pub(crate) floor: Option<Place>,
}

/// Reads campaigns below a place, newest first.
pub(crate) async fn page(conn: &mut Conn, before: Place, limit: usize) -> Result<Vec<Coupon>> {
    let Place { at, id } = before;
    let at = db::to_db(at);
    let older = coupon::created_at.lt(at).or(coupon::created_at.eq(at).and(coupon::id.lt(id)));
    let rows: Vec<CouponRow> = coupon::table
        .filter(older)
        .order((coupon::created_at.desc(), coupon::id.desc()))
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select(CouponRow::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(Coupon::try_from).collect()
}

/// Reads the newest of a user's coupons that fit a filter and are below `before`.
pub(crate) async fn page_of(
    conn: &mut Conn,
    filter: Filter,
    before: Place,
    limit: usize,
) -> Result<Found> {
    let Filter { user, state } = filter;
    let floor = match state {
        Some(_) => floor(conn, user, before).await?,
        None => None,
    };
    let Place { at, id } = before;
    let at = db::to_db(at);
    let (issued_at, issued_id) = (issued_coupon::issued_at, issued_coupon::id);
    let mut query = issued_coupon::table
        .filter(issued_coupon::user_id.eq(user.0))
        .filter(issued_at.lt(at).or(issued_at.eq(at).and(issued_id.lt(id))))
        .order((issued_at.desc(), issued_id.desc()))
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select(IssuedRow::as_select())
        .into_boxed();
    if let Some(state) = state {
        query = query.filter(issued_coupon::state.eq(state.column()));
    }
    if let Some(floor) = floor {
        query = query.filter(issued_at.ge(floor));
    }
    let rows: Vec<IssuedRow> = query.load(conn).await?;
    let is_asked = |row: &IssuedRow| row.user_id == user.0;
    let rows = conn.asked_for("issued_coupon", rows, is_asked)?;
    let issued = rows.into_iter().map(Issued::try_from).collect::<Result<_>>()?;
    // No id is as low as 0, so that what was issued at this instant is not looked at again.
    let floor = floor.map(|at| Place { at: db::from_db(at), id: 0 });
    Ok(Found { issued, floor })
}

/// Reads when the last coupon was issued that a page looks at; `None` if it looks at all below `before`.
async fn floor(conn: &mut Conn, user: UserId, before: Place) -> Result<Option<NaiveDateTime>> {
    let Place { at, id } = before;
    let at = db::to_db(at);
    let (issued_at, issued_id) = (issued_coupon::issued_at, issued_coupon::id);
    let row: Option<(i64, NaiveDateTime)> = issued_coupon::table
        .filter(issued_coupon::user_id.eq(user.0))
        .filter(issued_at.lt(at).or(issued_at.eq(at).and(issued_id.lt(id))))
        .order((issued_at.desc(), issued_id.desc()))
        .limit(1)
        .offset(MOST_LOOKED_AT - 1)
        .select((issued_coupon::user_id, issued_at))
        .first(conn)
        .await
        .optional()?;
    let is_asked = |(owner, _): &(i64, NaiveDateTime)| *owner == user.0;
    let row = conn.asked_for("issued_coupon", row, is_asked)?;
    Ok(row.map(|(_, at)| at))
}
