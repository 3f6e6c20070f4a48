//! `VALUES(column)` for `ON DUPLICATE KEY UPDATE`, the one spelling that MySQL and MariaDB share.

use diesel::backend::Backend;
use diesel::expression::{AppearsOnTable, Expression, ValidGrouping, is_aggregate};
use diesel::mysql::Mysql;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::query_source::Column;
use diesel::result::QueryResult;

/// The value that the row at hand would have inserted into column `C`.
#[derive(Debug, Clone, Copy, QueryId)]
pub struct Values<C>(C);

/// `VALUES(column)`: use it on the right side of `.on_conflict(DuplicatedKeys).do_update().set(..)`.
///
/// Only for entity rows on their primary key, whose lock the transaction already holds, rows sorted by key; never for
/// barrier or idempotency rows.
pub fn values<C: Column>(column: C) -> Values<C> {
    Values(column)
}

impl<C: Expression> Expression for Values<C> {
    type SqlType = C::SqlType;
}

impl<C, QS> AppearsOnTable<QS> for Values<C> where Self: Expression {}

impl<C> ValidGrouping<()> for Values<C> {
    type IsAggregate = is_aggregate::No;
}

impl<C: Column> QueryFragment<Mysql> for Values<C>
where
    Mysql: Backend,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Mysql>) -> QueryResult<()> {
        out.push_sql("VALUES(");
        out.push_identifier(C::NAME)?;
        out.push_sql(")");
        Ok(())
    }
}
