//! The kinds of statements that can be run again after a run that was cut off. All others are refused before any is run.

use super::token::{Token, split, text_of, tokens};

/// A statement, by how it is run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    /// Only where the table is missing; one that is there must have all that the definition says.
    CreateTable { table: String, definition: String, sql: String },
    /// Only where the table is there.
    DropTable { table: String, sql: String },
    /// Of its changes those that are not made yet.
    Alter { table: String, changes: Vec<Change> },
    /// As it stands: it changes nothing the second time.
    Run(String),
}

/// A change of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Only where the part is missing; one that is there must be the same.
    Add { part: Part, sql: String },
    /// Only where the part is there.
    Drop { part: Part, sql: String },
    /// Always: it says how something is to be, whatever it was.
    Set { sql: String },
}

/// A part of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Column(String),
    Key(String),
}

impl Change {
    pub(super) fn sql(&self) -> &str {
        match self {
            Self::Add { sql, .. } | Self::Drop { sql, .. } | Self::Set { sql } => sql,
        }
    }
}

impl Part {
    /// As ALTER TABLE names it.
    pub(super) fn sql(&self) -> String {
        match self {
            Self::Column(name) => format!("COLUMN `{name}`"),
            Self::Key(name) => format!("KEY `{name}`"),
        }
    }
}

const ALLOWED: &str = "migrations consist of CREATE TABLE, DROP TABLE, ALTER TABLE with ADD or DROP of a COLUMN or a named \
    KEY or with MODIFY COLUMN, INSERT with its columns named that overwrites nothing, and UPDATE or DELETE with a WHERE";

impl Statement {
    /// The statements of a text.
    ///
    /// # Errors
    /// The first one that cannot be run again, and what can.
    pub(super) fn all(sql: &str) -> Result<Vec<Self>, String> {
        let tokens = tokens(sql);
        let parse = |tokens: &[Token<'_>]| {
            let refuse = || format!("{:?} cannot be run again: {ALLOWED}", text_of(sql, tokens));
            Self::parse(sql, tokens).ok_or_else(refuse)
        };
        split(&tokens, ";").into_iter().map(parse).collect()
    }

    fn parse(sql: &str, tokens: &[Token<'_>]) -> Option<Self> {
        let whole = text_of(sql, tokens).to_owned();
        let words = |count| tokens.get(..count).into_iter().flatten();
        let begins = |begin: &[&str]| {
            tokens.len() > begin.len()
                && words(begin.len()).zip(begin).all(|(it, word)| it.is(word))
        };
        let name = |at: usize| tokens.get(at)?.name();
        if begins(&["CREATE", "TABLE"]) {
            let at = if begins(&["CREATE", "TABLE", "IF", "NOT", "EXISTS"]) { 5 } else { 2 };
            let table = name(at)?;
            let definition = text_of(sql, tokens.get(at + 1..)?).to_owned();
            // Names of constraints are the database's, not the table's: the table to compare with could not have them.
            let is_named = tokens.iter().any(|it| it.is("CONSTRAINT"));
            let is_definition = definition.starts_with('(') && !is_named;
            return is_definition.then_some(Self::CreateTable { table, definition, sql: whole });
        }
        if begins(&["DROP", "TABLE"]) {
            let at = if begins(&["DROP", "TABLE", "IF", "EXISTS"]) { 4 } else { 2 };
            let is_one = tokens.len() == at + 1;
            let table = name(at)?;
            return is_one.then_some(Self::DropTable { table, sql: whole });
        }
        if begins(&["ALTER", "TABLE"]) {
            let changes = split(tokens.get(3..)?, ",");
            let changes: Option<Vec<_>> = changes.iter().map(|it| change(sql, it)).collect();
            let changes = changes.filter(|changes| !changes.is_empty())?;
            return Some(Self::Alter { table: name(2)?, changes });
        }
        if begins(&["INSERT"]) {
            return insert(tokens).map(|keep| Self::Run(whole + &keep));
        }
        let is_change = begins(&["UPDATE"]) || begins(&["DELETE"]);
        let is_bounded = tokens.iter().any(|it| it.is("WHERE"));
        (is_change && is_bounded).then_some(Self::Run(whole))
    }
}

fn change(sql: &str, tokens: &[Token<'_>]) -> Option<Change> {
    let sql = text_of(sql, tokens).to_owned();
    let word = |at: usize| tokens.get(at).map(|it| it.text.to_ascii_uppercase());
    let name = |at: usize| {
        let token = tokens.get(at)?;
        // `IF NOT EXISTS`, which MySQL does not know, and a key without a name.
        if token.is("IF") { None } else { token.name() }
    };
    let column = |at| name(at).map(Part::Column);
    let key = |at| name(at).map(Part::Key);
    match (word(0)?.as_str(), word(1)?.as_str()) {
        ("ADD", "COLUMN") => Some(Change::Add { part: column(2)?, sql }),
        ("ADD", "KEY" | "INDEX") => Some(Change::Add { part: key(2)?, sql }),
        ("ADD", "UNIQUE") if matches!(word(2)?.as_str(), "KEY" | "INDEX") => {
            Some(Change::Add { part: key(3)?, sql })
        }
        ("DROP", "COLUMN") if tokens.len() == 3 => Some(Change::Drop { part: column(2)?, sql }),
        ("DROP", "KEY" | "INDEX") if tokens.len() == 3 => Some(Change::Drop { part: key(2)?, sql }),
        ("MODIFY", "COLUMN") => Some(Change::Set { sql }),
        _ => None,
    }
}

/// What an INSERT lacks so that it keeps the rows that are there.
fn insert(tokens: &[Token<'_>]) -> Option<String> {
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|it: &Token<'_>| it.is(word));
    let into = if is(1, "IGNORE") { 2 } else { 1 };
    let table = tokens.get(into + 1)?.name()?;
    if !is(into, "INTO") || !is(into + 2, "(") {
        return None;
    }
    let column = tokens.get(into + 3)?.name()?;
    if let Some(at) = tokens.iter().position(|it| it.is("DUPLICATE")) {
        // Only `column = column`, which says that the row stays as it is.
        let update = tokens.get(at + 3..)?;
        return match update {
            [left, sign, right] if sign.text == "=" && left.name() == right.name() => {
                Some(String::new())
            }
            _ => None,
        };
    }
    if into == 2 {
        return Some(String::new());
    }
    Some(format!(" ON DUPLICATE KEY UPDATE `{table}`.`{column}` = `{table}`.`{column}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_can_be_run_again_are_known_by_their_kind() {
        let sql = "CREATE TABLE a (b INT); DROP TABLE a; ALTER TABLE a ADD COLUMN b INT NULL, DROP KEY c; \
            ALTER TABLE `a` ADD UNIQUE KEY d (b, c); INSERT INTO a (b) VALUES (1), (2); \
            INSERT INTO a (b) VALUES (1) ON DUPLICATE KEY UPDATE b = b; UPDATE a SET b = 1 WHERE b = 2";
        let statements = Statement::all(sql).unwrap();
        let table = || "a".to_owned();
        let [create, drop, alter, unique, insert, kept, update] = statements.try_into().unwrap();
        let (definition, sql) = ("(b INT)".to_owned(), "CREATE TABLE a (b INT)".to_owned());
        assert_eq!(create, Statement::CreateTable { table: table(), definition, sql });
        assert_eq!(drop, Statement::DropTable { table: table(), sql: "DROP TABLE a".to_owned() });
        let add = Change::Add {
            part: Part::Column("b".to_owned()),
            sql: "ADD COLUMN b INT NULL".to_owned(),
        };
        let part = Part::Key("c".to_owned());
        let gone = Change::Drop { part, sql: "DROP KEY c".to_owned() };
        assert_eq!(alter, Statement::Alter { table: table(), changes: vec![add, gone] });
        let part = Part::Key("d".to_owned());
        let key = Change::Add { part, sql: "ADD UNIQUE KEY d (b, c)".to_owned() };
        assert_eq!(unique, Statement::Alter { table: table(), changes: vec![key] });
        let run = |sql: &str| Statement::Run(sql.to_owned());
        let keeps = "INSERT INTO a (b) VALUES (1), (2) ON DUPLICATE KEY UPDATE `a`.`b` = `a`.`b`";
        assert_eq!(insert, run(keeps));
        assert_eq!(kept, run("INSERT INTO a (b) VALUES (1) ON DUPLICATE KEY UPDATE b = b"));
        assert_eq!(update, run("UPDATE a SET b = 1 WHERE b = 2"));
    }

    #[test]
    fn what_cannot_be_run_again_is_refused() {
        for sql in [
            "RENAME TABLE a TO b",
            "ALTER TABLE a RENAME TO b",
            "ALTER TABLE a ADD KEY (b)",
            "ALTER TABLE a ADD COLUMN IF NOT EXISTS b INT",
            "ALTER TABLE a ADD COLUMN b INT, RENAME COLUMN c TO d",
            "CREATE TABLE a LIKE b",
            "CREATE TABLE a SELECT 1",
            "CREATE TABLE a (b INT, CONSTRAINT c CHECK (b > 0))",
            "CREATE INDEX b ON a (c)",
            "DROP TABLE a, b",
            "INSERT INTO a VALUES (1)",
            "INSERT INTO a (b) VALUES (1) ON DUPLICATE KEY UPDATE b = 2",
            "REPLACE INTO a (b) VALUES (1)",
            "UPDATE a SET b = b + 1",
            "TRUNCATE TABLE a",
        ] {
            let refusal = Statement::all(sql).unwrap_err();
            assert!(refusal.contains("cannot be run again"), "{sql}: {refusal}");
        }
    }
}
