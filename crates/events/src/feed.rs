//! Reading an outbox by its numbers, as those do who follow it without a bus.

use crate::bus::Message;
use crate::numbering;
use crate::{PerShard, Shard};
use db::{Conn, Result};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, TinyInt};
use diesel_async::RunQueryDsl;
use std::collections::BTreeMap;

/// Which rows of a shard there are: without gaps from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// The first position that is retained, if any is.
    pub first: Option<i64>,
    /// The last position that was given, 0 for none; retained or not.
    pub last: i64,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = TinyInt)]
    shard: i8,
    #[diesel(sql_type = Nullable<BigInt>)]
    first: Option<i64>,
    #[diesel(sql_type = BigInt)]
    last: i64,
}

/// What the outbox has.
///
/// # Errors
/// Those of the database.
pub async fn extents(conn: &mut Conn) -> Result<PerShard<Extent>> {
    // A MIN would read all rows of every shard.
    const SQL: &str = "SELECT s.shard, s.last_position AS `last`, \
        (SELECT o.position FROM outbox o WHERE o.shard = s.shard AND o.position > 0 \
        ORDER BY o.position LIMIT 1) AS `first` FROM outbox_shard s";
    let rows: Vec<Row> = diesel::sql_query(SQL).load(conn).await?;
    let mut extents = PerShard::default();
    for Row { shard, first, last } in rows {
        extents[Shard::from_column(shard)?] = Extent { first, last };
    }
    Ok(extents)
}

/// The rows of shards above a position each, in order, up to `max` a shard.
///
/// # Errors
/// Those of the database.
pub async fn messages(
    conn: &mut Conn,
    above: &[(Shard, i64)],
    max: u16,
) -> Result<BTreeMap<Shard, Vec<Message>>> {
    let wanted: Vec<_> =
        above.iter().map(|(shard, above)| (*shard, *above, i64::from(max))).collect();
    numbering::numbered(conn, &wanted).await
}
