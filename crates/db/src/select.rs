//! What Diesel's words lack for reads that are run again and again.

use diesel::backend::Backend;
use diesel::expression::{
    AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate,
};
use diesel::mysql::Mysql;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::serialize::ToSql;
use diesel::sql_types::{Bool, HasSqlType, SqlType};

/// See [`any_of`].
#[derive(Debug, Clone)]
pub struct AnyOf<C, T> {
    column: C,
    values: Vec<T>,
}

/// `column IN (values)`, as a statement that the connection keeps.
///
/// Diesel's `eq_any` is prepared anew each time. Here the list is filled up to a power of two with its last value, so that
/// few texts are ever prepared. Lists beyond 512 values belong in chunks ([`CHUNK`]); an empty one finds nothing.
pub fn any_of<C, T>(column: C, values: impl IntoIterator<Item = T>) -> AnyOf<C, T>
where
    C: Expression,
    C::SqlType: SqlType,
    T: ToSql<C::SqlType, Mysql> + Clone,
    Mysql: HasSqlType<C::SqlType>,
{
    let mut values: Vec<T> = values.into_iter().collect();
    if let Some(last) = values.last().cloned() {
        values.resize(values.len().next_power_of_two(), last);
    }
    AnyOf { column, values }
}

/// The longest list of one statement: MariaDB turns an IN list of 1,000 and more into a join, whose locks are others.
pub const CHUNK: usize = 512;

impl<C: Expression, T> Expression for AnyOf<C, T> {
    type SqlType = Bool;
}

impl<C: AppearsOnTable<QS>, T, QS> AppearsOnTable<QS> for AnyOf<C, T> {}

impl<C: SelectableExpression<QS>, T, QS> SelectableExpression<QS> for AnyOf<C, T> {}

impl<C, T> ValidGrouping<()> for AnyOf<C, T> {
    type IsAggregate = is_aggregate::No;
}

// Its text depends on how many values there are, so the text is the key under which the statement is kept.
impl<C, T> QueryId for AnyOf<C, T> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<C, T> QueryFragment<Mysql> for AnyOf<C, T>
where
    C: Expression + QueryFragment<Mysql>,
    C::SqlType: SqlType,
    T: ToSql<C::SqlType, Mysql>,
    Mysql: Backend + HasSqlType<C::SqlType>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Mysql>) -> QueryResult<()> {
        self.column.walk_ast(out.reborrow())?;
        if self.values.is_empty() {
            out.push_sql(" IN (NULL)");
            return Ok(());
        }
        out.push_sql(" IN (");
        for (index, value) in self.values.iter().enumerate() {
            if index > 0 {
                out.push_sql(",");
            }
            out.push_bind_param::<C::SqlType, T>(value)?;
        }
        out.push_sql(")");
        Ok(())
    }
}
