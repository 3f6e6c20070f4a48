//! The SQL of orders and their lines.

use crate::domain::{Cost, Line, Order, State, UsedCoupon, Won};
use chrono::{DateTime, NaiveDateTime, Utc};
use db::{Bytes16, Conn, Error, LockWait, Result, Script, any_of, for_update, values};
use diesel::dsl::DuplicatedKeys;
use diesel::mysql::Mysql;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use platform::page::Place;
use std::collections::{BTreeMap, BTreeSet};

diesel::table! {
    orders (id) {
        id -> BigInt,
        user_id -> BigInt,
        state -> TinyInt,
        saga_id -> Binary,
        cancel_saga_id -> Nullable<Binary>,
        total -> BigInt,
        discount -> BigInt,
        paid -> BigInt,
        coupon_id -> Nullable<BigInt>,
        issued_coupon_id -> Nullable<BigInt>,
        version -> BigInt,
        placed_at -> Datetime,
        cancelled_at -> Nullable<Datetime>,
    }
}

diesel::table! {
    order_line (order_id, product_id) {
        order_id -> BigInt,
        product_id -> BigInt,
        line -> TinyInt,
        quantity -> Integer,
        unit_price -> BigInt,
    }
}

/// Which orders a list has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter {
    pub(crate) user_id: i64,
    pub(crate) state: Option<StateCode>,
    /// Placed at or after.
    pub(crate) from: Option<DateTime<Utc>>,
    /// Placed before.
    pub(crate) to: Option<DateTime<Utc>>,
    /// Older than this.
    pub(crate) before: Place,
}

/// The code in the column `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateCode {
    Confirmed,
    Cancelling,
    Cancelled,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = orders, check_for_backend(Mysql))]
struct OrderRow {
    id: i64,
    user_id: i64,
    state: i8,
    saga_id: Bytes16,
    cancel_saga_id: Option<Bytes16>,
    total: i64,
    discount: i64,
    paid: i64,
    coupon_id: Option<i64>,
    issued_coupon_id: Option<i64>,
    version: i64,
    placed_at: NaiveDateTime,
    cancelled_at: Option<NaiveDateTime>,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = order_line, check_for_backend(Mysql))]
struct LineRow {
    order_id: i64,
    product_id: i64,
    line: i8,
    quantity: i32,
    unit_price: i64,
}

/// A user's order, unlocked.
pub(crate) async fn find(conn: &mut Conn, id: i64, user_id: i64) -> Result<Option<Order>> {
    let rows: Vec<OrderRow> = orders::table
        .filter(orders::id.eq(id))
        .filter(orders::user_id.eq(user_id))
        .select(OrderRow::as_select())
        .load(conn)
        .await?;
    let is_asked = |row: &OrderRow| row.id == id && row.user_id == user_id;
    let rows = conn.asked_for("orders", rows, is_asked)?;
    Ok(with_lines(conn, rows).await?.pop())
}

/// Orders, newest first: by the instant of their placing, for ids come from a block of each replica.
pub(crate) async fn list(conn: &mut Conn, filter: Filter, limit: usize) -> Result<Vec<Order>> {
    let Place { at, id } = filter.before;
    let at = db::to_db(at);
    let mut query = orders::table
        .filter(orders::user_id.eq(filter.user_id))
        .filter(orders::placed_at.lt(at).or(orders::placed_at.eq(at).and(orders::id.lt(id))))
        .order((orders::placed_at.desc(), orders::id.desc()))
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select(OrderRow::as_select())
        .into_boxed();
    if let Some(state) = filter.state {
        query = query.filter(orders::state.eq(state.column()));
    }
    if let Some(from) = filter.from {
        query = query.filter(orders::placed_at.ge(db::to_db(from)));
    }
    if let Some(to) = filter.to {
        query = query.filter(orders::placed_at.lt(db::to_db(to)));
    }
    let rows: Vec<OrderRow> = query.load(conn).await?;
    let is_asked = |row: &OrderRow| row.user_id == filter.user_id;
    let rows = conn.asked_for("orders", rows, is_asked)?;
    with_lines(conn, rows).await
}

/// These orders, where they exist, locked to the end of the transaction.
pub(crate) async fn lock(
    conn: &mut Conn,
    ids: BTreeSet<i64>,
    wait: LockWait,
) -> Result<BTreeMap<i64, Order>> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let orders = orders::table
        .filter(any_of(orders::id, ids.iter().copied()))
        .order(orders::id)
        .select(OrderRow::as_select());
    let rows: Vec<OrderRow> = for_update(orders, wait).load(conn).await?;
    let rows = conn.asked_for("orders", rows, |row: &OrderRow| ids.contains(&row.id))?;
    let orders = with_lines(conn, rows).await?;
    Ok(orders.into_iter().map(|order| (order.id, order)).collect())
}

/// Writes orders that are not there yet, in the order of their keys.
pub(crate) fn insert(writes: &mut Script, new: &[&Order]) -> Result<()> {
    let rows: Vec<OrderRow> = new.iter().copied().map(OrderRow::from).collect();
    writes.insert(orders::table, rows)?;
    let mut lines = Vec::new();
    for order in new {
        lines.extend(line_rows(order)?);
    }
    writes.insert(order_line::table, lines)
}

/// Writes where orders stand that this transaction has locked, in the order of their keys.
pub(crate) fn update(writes: &mut Script, changed: &[&Order]) -> Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    let rows: Vec<OrderRow> = changed.iter().copied().map(OrderRow::from).collect();
    let update = diesel::insert_into(orders::table)
        .values(rows)
        .on_conflict(DuplicatedKeys)
        .do_update()
        .set((
            orders::state.eq(values(orders::state)),
            orders::cancel_saga_id.eq(values(orders::cancel_saga_id)),
            orders::version.eq(values(orders::version)),
            orders::cancelled_at.eq(values(orders::cancelled_at)),
        ));
    writes.push(&update)
}

/// Adds their lines to orders; keeps the rows' order.
async fn with_lines(conn: &mut Conn, rows: Vec<OrderRow>) -> Result<Vec<Order>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids: BTreeSet<i64> = rows.iter().map(|row| row.id).collect();
    let lines: Vec<LineRow> = order_line::table
        .filter(any_of(order_line::order_id, ids.iter().copied()))
        .order((order_line::order_id, order_line::line))
        .select(LineRow::as_select())
        .load(conn)
        .await?;
    let lines = conn.asked_for("order_line", lines, |row: &LineRow| ids.contains(&row.order_id))?;
    let mut by_order: BTreeMap<i64, Vec<Line>> = BTreeMap::new();
    for row in lines {
        by_order.entry(row.order_id).or_default().push(row.try_into()?);
    }
    let order = |row: OrderRow| {
        let order = by_order.remove(&row.id).and_then(|lines| read(&row, lines));
        order.ok_or_else(|| Error::Corrupt(format!("order {}", row.id)))
    };
    rows.into_iter().map(order).collect()
}

fn read(row: &OrderRow, lines: Vec<Line>) -> Option<Order> {
    let cost = Cost::new(Won::new(row.total)?, Won::new(row.discount)?, Won::new(row.paid)?);
    let coupon = match (row.coupon_id, row.issued_coupon_id) {
        (None, None) => None,
        (coupon_id, issued_coupon_id) => {
            Some(UsedCoupon { coupon_id: coupon_id?, issued_coupon_id: issued_coupon_id? })
        }
    };
    let cancel = row.cancel_saga_id.map(Into::into);
    let state = match (StateCode::read(row.state)?, cancel, row.cancelled_at) {
        (StateCode::Confirmed, None, None) => State::Confirmed,
        (StateCode::Cancelling, Some(saga), None) => State::Cancelling { saga },
        (StateCode::Cancelled, Some(saga), Some(at)) => {
            State::Cancelled { saga, at: db::from_db(at) }
        }
        _ => return None,
    };
    Some(Order {
        id: row.id,
        user_id: row.user_id,
        saga: row.saga_id.into(),
        lines,
        cost: cost.ok()?,
        coupon,
        placed_at: db::from_db(row.placed_at),
        state,
        version: row.version,
    })
}

fn line_rows(order: &Order) -> Result<Vec<LineRow>> {
    let row = |(line, number): (&Line, i8)| LineRow {
        order_id: order.id,
        product_id: line.product_id,
        line: number,
        quantity: line.quantity,
        unit_price: line.unit_price.get(),
    };
    let mut rows: Vec<LineRow> = order.lines.iter().zip(1..=i8::MAX).map(row).collect();
    if rows.len() < order.lines.len() {
        return Err(Error::Corrupt(format!("order {} has too many lines", order.id)));
    }
    rows.sort_unstable_by_key(|row| row.product_id);
    Ok(rows)
}

impl StateCode {
    fn column(self) -> i8 {
        match self {
            Self::Confirmed => 1,
            Self::Cancelling => 2,
            Self::Cancelled => 3,
        }
    }

    fn read(column: i8) -> Option<Self> {
        [Self::Confirmed, Self::Cancelling, Self::Cancelled]
            .into_iter()
            .find(|code| code.column() == column)
    }
}

impl From<State> for StateCode {
    fn from(state: State) -> Self {
        match state {
            State::Confirmed => Self::Confirmed,
            State::Cancelling { .. } => Self::Cancelling,
            State::Cancelled { .. } => Self::Cancelled,
        }
    }
}

impl From<&Order> for OrderRow {
    fn from(order: &Order) -> Self {
        let cancelled_at = match order.state {
            State::Cancelled { at, .. } => Some(db::to_db(at)),
            State::Confirmed | State::Cancelling { .. } => None,
        };
        Self {
            id: order.id,
            user_id: order.user_id,
            state: StateCode::from(order.state).column(),
            saga_id: order.saga.into(),
            cancel_saga_id: order.state.cancel().map(Bytes16::from),
            total: order.cost.total().get(),
            discount: order.cost.discount().get(),
            paid: order.cost.paid().get(),
            coupon_id: order.coupon.map(|coupon| coupon.coupon_id),
            issued_coupon_id: order.coupon.map(|coupon| coupon.issued_coupon_id),
            version: order.version,
            placed_at: db::to_db(order.placed_at),
            cancelled_at,
        }
    }
}

impl TryFrom<LineRow> for Line {
    type Error = Error;

    fn try_from(row: LineRow) -> Result<Self> {
        let corrupt = || Error::Corrupt(format!("line {} of order {}", row.line, row.order_id));
        Ok(Self {
            product_id: row.product_id,
            quantity: row.quantity,
            unit_price: Won::new(row.unit_price).ok_or_else(corrupt)?,
        })
    }
}
