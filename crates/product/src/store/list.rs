//! Lists of products, oldest first: by the instant of creation and, within it, by id, for ids come from a block of each
//! replica.

use super::{ProductRow, product};
use crate::domain::Product;
use chrono::NaiveDateTime;
use db::{Conn, Result};
use diesel::dsl::auto_type;
use diesel::prelude::*;
use diesel::sql_types::VarChar;
use diesel_async::RunQueryDsl;
use platform::page::Place;

/// The most products that one page of a search looks at: some ten milliseconds of the database's time.
const LOOKED_AT: i64 = 10_000;

/// Products of a list, and how far the list was read.
pub(crate) struct Found {
    pub(crate) products: Vec<Product>,
    /// Where a search stopped looking; none where it came to the last product.
    pub(crate) looked_up_to: Option<Place>,
}

diesel::define_sql_function! {
    /// The place of a text in another, from 1; 0 where it is not in it.
    fn locate(text: VarChar, within: VarChar) -> Integer;
}

diesel::define_sql_function! {
    /// A text in capital letters.
    fn upper(text: VarChar) -> VarChar;
}

diesel::postfix_operator!(ByBytes, " COLLATE utf8mb4_bin", VarChar, backend: diesel::mysql::Mysql);

/// The products made after a place.
pub(crate) async fn page(conn: &mut Conn, after: Place, rows: usize) -> Result<Found> {
    let rows: Vec<ProductRow> = product::table
        .filter(newer(db::to_db(after.at), after.id))
        .order((product::created_at, product::id))
        .limit(i64::try_from(rows).unwrap_or(i64::MAX))
        .select(ProductRow::as_select())
        .load(conn)
        .await?;
    Ok(Found { products: rows.into_iter().map(Product::from).collect(), looked_up_to: None })
}

/// The products made after a place whose names contain a text, whatever the case of its letters, among the next
/// [`LOOKED_AT`].
///
/// Both sides are compared byte for byte, in capital letters. The collations that ignore case, and that all servers have,
/// ignore accents too, and take one emoji for another.
pub(crate) async fn search(
    conn: &mut Conn,
    after: Place,
    text: &str,
    rows: usize,
) -> Result<Found> {
    let looked_up_to = end_of_search(conn, after).await?;
    let end = looked_up_to.unwrap_or_else(Place::newest);
    let text = ByBytes { expr: text.into_sql::<VarChar>() };
    let rows: Vec<ProductRow> = product::table
        .filter(newer(db::to_db(after.at), after.id))
        .filter(up_to(db::to_db(end.at), end.id))
        .filter(locate(upper(text), upper(product::name)).gt(0))
        .order((product::created_at, product::id))
        .limit(i64::try_from(rows).unwrap_or(i64::MAX))
        .select(ProductRow::as_select())
        .load(conn)
        .await?;
    Ok(Found { products: rows.into_iter().map(Product::from).collect(), looked_up_to })
}

/// The place of the last product that a search looks at; none where there are fewer. It takes the index alone to find it.
async fn end_of_search(conn: &mut Conn, after: Place) -> Result<Option<Place>> {
    let found: Option<(NaiveDateTime, i64)> = product::table
        .filter(newer(db::to_db(after.at), after.id))
        .order((product::created_at, product::id))
        .offset(LOOKED_AT - 1)
        .select((product::created_at, product::id))
        .first(conn)
        .await
        .optional()?;
    Ok(found.map(|(at, id)| Place { at: db::from_db(at), id }))
}

#[auto_type(no_type_alias)]
fn newer(at: NaiveDateTime, id: i64) -> _ {
    product::created_at.gt(at).or(product::created_at.eq(at).and(product::id.gt(id)))
}

#[auto_type(no_type_alias)]
fn up_to(at: NaiveDateTime, id: i64) -> _ {
    product::created_at.lt(at).or(product::created_at.eq(at).and(product::id.le(id)))
}
