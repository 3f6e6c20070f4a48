//! Reads that lock rows.

use diesel::mysql::Mysql;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;

/// What a locking read does where somebody else has locked a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockWait {
    /// It waits, as long as the session may.
    #[default]
    Wait,
    /// It fails at once, with [`Conflict::LockTimeout`](crate::Conflict::LockTimeout).
    Refuse,
}

/// See [`for_update`].
#[derive(Debug, Clone, Copy)]
pub struct ForUpdate<Q> {
    query: Q,
    wait: LockWait,
}

/// `query FOR UPDATE`, with NOWAIT where it shall not wait.
pub fn for_update<Q: Query>(query: Q, wait: LockWait) -> ForUpdate<Q> {
    ForUpdate { query, wait }
}

// Its text depends on a value.
impl<Q> QueryId for ForUpdate<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: Query> Query for ForUpdate<Q> {
    type SqlType = Q::SqlType;
}

impl<C, Q> diesel::RunQueryDsl<C> for ForUpdate<Q> {}

impl<Q: QueryFragment<Mysql>> QueryFragment<Mysql> for ForUpdate<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Mysql>) -> QueryResult<()> {
        self.query.walk_ast(out.reborrow())?;
        out.push_sql(match self.wait {
            LockWait::Wait => " FOR UPDATE",
            LockWait::Refuse => " FOR UPDATE NOWAIT",
        });
        Ok(())
    }
}
