//! What a table is like, as `information_schema` tells it: so that "already there" means "already as intended".

use super::statement::Part;
use crate::{Conn, Error, Result};
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use std::collections::BTreeMap;

/// A table that lives only while two shapes are compared. One that a killed run left is dropped by the next that needs it.
pub(super) const SCRATCH: &str = "commerce_migrate_scratch";

/// Parts of a table by kind and name (`column b`, `key c`), and what each is like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shapes(BTreeMap<String, String>);

/// A table as it is; nothing where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape(Shapes);

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    part: String,
    #[diesel(sql_type = Text)]
    shape: String,
}

const COLUMNS: &str = "SELECT CONCAT('column ', column_name) AS part, \
    CONCAT_WS(' ', column_type, IF(is_nullable = 'YES', 'NULL', 'NOT NULL'), \
        CONCAT('DEFAULT ', column_default), NULLIF(extra, ''), CONCAT('COLLATE ', collation_name)) AS shape \
    FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ?";

const KEYS: &str = "SELECT CONCAT('key ', index_name) AS part, \
    CONCAT(IF(MAX(non_unique) = 0, 'UNIQUE (', '('), \
        GROUP_CONCAT(CONCAT(column_name, IFNULL(CONCAT('(', sub_part, ')'), '')) ORDER BY seq_in_index), \
        ')') AS shape \
    FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = ? GROUP BY index_name";

const TABLE: &str = "SELECT 'engine' AS part, CONCAT_WS(' ', engine, table_collation) AS shape \
    FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?";

const CHECKS: &str = "SELECT 'checks' AS part, CAST(COUNT(*) AS CHAR) AS shape \
    FROM information_schema.table_constraints \
    WHERE table_schema = DATABASE() AND table_name = ? AND constraint_type = 'CHECK' HAVING COUNT(*) > 0";

impl Shape {
    pub(super) async fn of(conn: &mut Conn, table: &str) -> Result<Self> {
        let mut parts = BTreeMap::new();
        for query in [TABLE, COLUMNS, KEYS, CHECKS] {
            let rows: Vec<Row> = sql_query(query).bind::<Text, _>(table).load(conn).await?;
            parts.extend(rows.into_iter().map(|row| (row.part, row.shape)));
        }
        Ok(Self(Shapes(parts)))
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.0.0.is_empty()
    }

    pub(super) fn has(&self, part: &Part) -> bool {
        self.0.0.contains_key(&key(part))
    }

    pub(super) fn into_parts(self) -> Shapes {
        self.0
    }

    /// Refuses a table that lacks something of what was intended, or has it otherwise. More than that may be there.
    pub(super) fn check(&self, table: &str, intended: &Shapes) -> Result<()> {
        for (part, shape) in &intended.0 {
            let found = self.0.0.get(part);
            if found != Some(shape) {
                let found = found.map_or("missing", String::as_str);
                return Err(Error::Server(format!(
                    "the table {table} is there already, but its {part} is {found}, not {shape}: \
                     change it to that or drop the table, and run `commerce migrate` again"
                )));
            }
        }
        Ok(())
    }
}

impl Shapes {
    /// Of all only this part.
    pub(super) fn only(mut self, part: &Part) -> Self {
        self.0.retain(|name, _| *name == key(part));
        self
    }
}

fn key(part: &Part) -> String {
    match part {
        Part::Column(name) => format!("column {name}"),
        Part::Key(name) => format!("key {name}"),
    }
}
