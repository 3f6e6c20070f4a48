//! The rows of a long reply.

use super::mark::Mark;
use super::row::MysqlRow;
use diesel::QueryResult;
use mysql_async::{BinaryProtocol, QueryResult as Reply, Row};
use std::vec::IntoIter;

/// A reply that has more rows than were read ahead.
pub(super) struct Rest<'c> {
    pub(super) ahead: IntoIter<Row>,
    pub(super) reply: Option<Reply<'c, 'static, BinaryProtocol>>,
    pub(super) mark: &'c mut Mark,
}

impl Rest<'_> {
    pub(super) async fn next(mut self) -> QueryResult<Option<(MysqlRow, Self)>> {
        if let Some(row) = self.ahead.next() {
            return Ok(Some((MysqlRow(row), self)));
        }
        let Some(reply) = &mut self.reply else { return Ok(None) };
        if let Some(row) = self.mark.more(reply.next()).await? {
            return Ok(Some((MysqlRow(row), self)));
        }
        if let Some(reply) = self.reply.take() {
            self.mark.more(reply.drop_result()).await?;
        }
        self.mark.complete();
        Ok(None)
    }
}
