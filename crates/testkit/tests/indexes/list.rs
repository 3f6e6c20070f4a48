//! What is listed.

use migrations::Schema;
use std::fs;
use std::path::Path;

/// Above a statement whose plan may have a fault: why.
const ALLOWED: &str = "-- allowed:";

/// A statement of the services.
pub(crate) struct Query {
    /// An example of it.
    pub(crate) sql: String,
    /// Why its plan may have a fault.
    pub(crate) allowed: Option<String>,
}

/// The schemas of the saga's participants, which have outbox, barrier and request ids alike.
const PARTICIPANTS: [Schema; 4] = [Schema::Wallet, Schema::Product, Schema::Coupon, Schema::Order];
/// The list of what those have alike.
const ALIKE: &str = "participants";
/// The list of what all schemas have alike.
const OF_ALL: &str = "clock";

/// What fills a schema.
pub(crate) fn bulk(schema: Schema) -> String {
    read("bulk", schema.name())
}

/// What the services send to a schema.
pub(crate) fn queries(schema: Schema) -> Vec<Query> {
    let mut text = read("queries", schema.name()) + &read("queries", OF_ALL);
    if PARTICIPANTS.contains(&schema) {
        text.push_str(&read("queries", ALIKE));
    }
    let statements = text.split(";\n").map(str::trim).filter(|statement| !statement.is_empty());
    statements.map(Query::parse).collect()
}

fn read(folder: &str, name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/indexes").join(folder);
    let path = root.join(format!("{name}.sql"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Query {
    fn parse(statement: &str) -> Self {
        let (comments, sql): (Vec<&str>, Vec<&str>) =
            statement.lines().map(str::trim).partition(|line| line.starts_with("--"));
        let allowed = comments.iter().find_map(|line| line.strip_prefix(ALLOWED));
        let allowed = allowed.map(|reason| reason.trim().to_owned());
        assert_ne!(allowed.as_deref(), Some(""), "a reason is missing above {sql:?}");
        Self { sql: sql.join(" "), allowed }
    }
}
