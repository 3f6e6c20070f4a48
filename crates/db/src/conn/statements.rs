//! Prepared statements that a connection keeps.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Result, Statement};
use std::collections::HashMap;

/// The server has room for 16,382 statements of all its sessions; those beyond this are prepared each time.
const MOST: usize = 256;

/// By their text. One that is not kept is closed before the next is prepared: closing has no answer, so nobody waits for it.
#[derive(Default)]
pub(super) struct Statements {
    kept: HashMap<String, Statement>,
    to_close: Vec<Statement>,
}

impl Statements {
    pub(super) async fn get(
        &mut self,
        driver: &mut Conn,
        sql: &str,
        is_kept: bool,
    ) -> Result<Statement> {
        while let Some(statement) = self.to_close.pop() {
            driver.close(statement).await?;
        }
        if let Some(statement) = self.kept.get(sql) {
            return Ok(statement.clone());
        }
        let statement = driver.prep(sql).await?;
        if is_kept && self.kept.len() < MOST {
            self.kept.insert(sql.to_owned(), statement.clone());
        } else {
            self.to_close.push(statement.clone());
        }
        Ok(statement)
    }
}
