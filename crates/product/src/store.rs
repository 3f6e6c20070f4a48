//! The SQL of products and their stock movements.

use crate::domain::{Cause, Movement, OrderId, Product, ProductId, Shelf};
use ::participant::SagaId;
use chrono::NaiveDateTime;
use db::{Bytes16, CHUNK, Conn, Error, LockWait, Result, Script, any_of, for_update, values};
use diesel::dsl::DuplicatedKeys;
use diesel::mysql::Mysql;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::collections::BTreeSet;

mod list;

pub(crate) use list::{page, search};

diesel::table! {
    product (id) {
        id -> BigInt,
        name -> VarChar,
        price -> BigInt,
        stock -> Integer,
        movements -> BigInt,
        version -> BigInt,
        created_at -> Datetime,
        updated_at -> Datetime,
    }
}

diesel::table! {
    stock_movement (product_id, seq) {
        product_id -> BigInt,
        seq -> BigInt,
        kind -> TinyInt,
        delta -> Integer,
        stock_after -> Integer,
        order_id -> Nullable<BigInt>,
        saga_id -> Nullable<Binary>,
        reason -> Nullable<VarChar>,
        created_at -> Datetime,
    }
}

/// A movement with the saga that made it.
#[derive(Debug, Clone)]
pub(crate) struct Moved {
    pub(crate) movement: Movement,
    pub(crate) saga: Option<SagaId>,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = product, check_for_backend(Mysql))]
struct ProductRow {
    id: i64,
    name: String,
    price: i64,
    stock: i32,
    movements: i64,
    version: i64,
    created_at: NaiveDateTime,
    updated_at: NaiveDateTime,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = stock_movement, check_for_backend(Mysql))]
struct MovementRow {
    product_id: i64,
    seq: i64,
    kind: i8,
    delta: i32,
    stock_after: i32,
    order_id: Option<i64>,
    saga_id: Option<Bytes16>,
    reason: Option<String>,
    created_at: NaiveDateTime,
}

/// The products of these that exist, by ascending id, unlocked.
pub(crate) async fn find(conn: &mut Conn, ids: BTreeSet<ProductId>) -> Result<Shelf> {
    let rows: Vec<ProductRow> = product::table
        .filter(any_of(product::id, ids.iter().map(|id| id.0)))
        .select(ProductRow::as_select())
        .load(conn)
        .await?;
    let is_asked = |row: &ProductRow| ids.contains(&ProductId(row.id));
    let rows = conn.asked_for("product", rows, is_asked)?;
    Ok(rows.into_iter().map(|row| (ProductId(row.id), row.into())).collect())
}

/// The products of these that exist, locked to the end of the transaction.
pub(crate) async fn lock(
    conn: &mut Conn,
    ids: BTreeSet<ProductId>,
    wait: LockWait,
) -> Result<Shelf> {
    let ids: Vec<i64> = ids.into_iter().map(|id| id.0).collect();
    let mut shelf = Shelf::new();
    for chunk in ids.chunks(CHUNK) {
        let products = product::table
            .filter(any_of(product::id, chunk.iter().copied()))
            .order(product::id)
            .select(ProductRow::as_select());
        let rows: Vec<ProductRow> = for_update(products, wait).load(conn).await?;
        let is_asked = |row: &ProductRow| chunk.contains(&row.id);
        let rows = conn.asked_for("product", rows, is_asked)?;
        shelf.extend(rows.into_iter().map(|row| (ProductId(row.id), row.into())));
    }
    Ok(shelf)
}

/// A product's movements below `before`, newest first.
pub(crate) async fn movements(
    conn: &mut Conn,
    id: ProductId,
    before: i64,
    rows: usize,
) -> Result<Vec<Movement>> {
    let rows: Vec<MovementRow> = stock_movement::table
        .filter(stock_movement::product_id.eq(id.0))
        .filter(stock_movement::seq.lt(before))
        .order(stock_movement::seq.desc())
        .limit(i64::try_from(rows).unwrap_or(i64::MAX))
        .select(MovementRow::as_select())
        .load(conn)
        .await?;
    let is_asked = |row: &MovementRow| row.product_id == id.0;
    let rows = conn.asked_for("stock_movement", rows, is_asked)?;
    rows.into_iter().map(Movement::try_from).collect()
}

/// Writes a product that is not there yet.
pub(crate) fn insert(writes: &mut Script, new: &Product) -> Result<()> {
    writes.insert(product::table, vec![ProductRow::from(new)])
}

/// Writes products that this transaction has locked, in the order of their keys.
pub(crate) fn update(writes: &mut Script, changed: &[&Product]) -> Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    let rows: Vec<ProductRow> = changed.iter().copied().map(ProductRow::from).collect();
    let update = diesel::insert_into(product::table)
        .values(rows)
        .on_conflict(DuplicatedKeys)
        .do_update()
        .set((
            product::name.eq(values(product::name)),
            product::price.eq(values(product::price)),
            product::stock.eq(values(product::stock)),
            product::movements.eq(values(product::movements)),
            product::version.eq(values(product::version)),
            product::updated_at.eq(values(product::updated_at)),
        ));
    writes.push(&update)
}

/// Appends movements of products that this transaction has locked or made.
pub(crate) fn append(writes: &mut Script, mut moved: Vec<Moved>) -> Result<()> {
    moved.sort_unstable_by_key(|Moved { movement, .. }| (movement.product, movement.seq));
    let rows: Vec<MovementRow> = moved.iter().map(MovementRow::from).collect();
    writes.insert(stock_movement::table, rows)
}

impl From<ProductRow> for Product {
    fn from(row: ProductRow) -> Self {
        Self {
            id: ProductId(row.id),
            name: row.name,
            price: row.price,
            stock: row.stock,
            movements: row.movements,
            version: row.version,
            created_at: db::from_db(row.created_at),
            updated_at: db::from_db(row.updated_at),
        }
    }
}

impl From<&Product> for ProductRow {
    fn from(product: &Product) -> Self {
        Self {
            id: product.id.0,
            name: product.name.clone(),
            price: product.price,
            stock: product.stock,
            movements: product.movements,
            version: product.version,
            created_at: db::to_db(product.created_at),
            updated_at: db::to_db(product.updated_at),
        }
    }
}

impl TryFrom<MovementRow> for Movement {
    type Error = Error;

    fn try_from(row: MovementRow) -> Result<Self> {
        let MovementRow { product_id, seq, kind, .. } = row;
        let corrupt = || Error::Corrupt(format!("movement {seq} of product {product_id}"));
        let order = row.order_id.map(OrderId);
        Ok(Self {
            product: ProductId(product_id),
            seq,
            cause: cause(kind, order, row.reason).ok_or_else(corrupt)?,
            delta: row.delta,
            stock_after: row.stock_after,
            at: db::from_db(row.created_at),
        })
    }
}

impl From<&Moved> for MovementRow {
    fn from(Moved { movement, saga }: &Moved) -> Self {
        let reason = match &movement.cause {
            Cause::Adjust { reason } => Some(reason.clone()),
            _ => None,
        };
        Self {
            product_id: movement.product.0,
            seq: movement.seq,
            kind: kind(&movement.cause),
            delta: movement.delta,
            stock_after: movement.stock_after,
            order_id: movement.cause.order().map(|order| order.0),
            saga_id: saga.map(|saga| Bytes16(saga.0)),
            reason,
            created_at: db::to_db(movement.at),
        }
    }
}

/// The code in the column `kind`.
fn kind(cause: &Cause) -> i8 {
    match cause {
        Cause::Initial => 1,
        Cause::Adjust { .. } => 2,
        Cause::Reserve(_) => 3,
        Cause::Release(_) => 4,
        Cause::Restock(_) => 5,
    }
}

fn cause(kind: i8, order: Option<OrderId>, reason: Option<String>) -> Option<Cause> {
    match (kind, order) {
        (1, None) => Some(Cause::Initial),
        (2, None) => Some(Cause::Adjust { reason: reason? }),
        (3, Some(order)) => Some(Cause::Reserve(order)),
        (4, Some(order)) => Some(Cause::Release(order)),
        (5, Some(order)) => Some(Cause::Restock(order)),
        _ => None,
    }
}
