//! Where a statement is sent from.

use std::backtrace::Backtrace;
use std::env;
use std::path::Path;

/// Crates that send what others hand them: statements that only they are seen below are a service's, except in their own
/// tests.
const BETWEEN: [&str; 2] = ["db", "lane"];
/// Crates that are no services: what they send is no load of a shop. The audit reads everything by design.
const ASIDE: [&str; 5] = ["audit", "commerce", "embedded", "migrations", "testkit"];

/// False in the tests of a crate that only sends what others hand it: these others are tests there.
pub(super) fn has_services() -> bool {
    // Cargo tells a test whose it is.
    env::var("CARGO_PKG_NAME").is_ok_and(|name| !BETWEEN.contains(&name.as_str()))
}

/// The source file of a service, within the workspace, that sends what is being sent, or of the lane that sends it for a
/// service; `None` where that is neither.
pub(super) fn service() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.parent()?;
    let stack = format!("{:#}", Backtrace::force_capture());
    sender(&stack, root).filter(|file| is_service(file)).map(str::to_owned)
}

/// The innermost file of the workspace that does not only send what others hand it; where there is none, as in the task
/// of a lane, the innermost.
fn sender<'a>(stack: &'a str, root: &Path) -> Option<&'a str> {
    let files = stack.lines().filter_map(|line| line.trim_start().strip_prefix("at "));
    let own = files.filter_map(|file| {
        let file = file.strip_prefix(root.to_str()?).unwrap_or(file).trim_start_matches(['.', '/']);
        ["crates/", "orchestrator/"].iter().any(|folder| file.starts_with(folder)).then_some(file)
    });
    let mut between = None;
    for file in own.filter(|file| !file.starts_with("crates/testkit/src/digests/")) {
        let name = file.split(':').next();
        if !BETWEEN.contains(&member(file).unwrap_or_default()) {
            return name;
        }
        between = between.or(name);
    }
    between
}

fn is_service(file: &str) -> bool {
    let is_source = file.contains("/src/") && !file.ends_with("/tests.rs");
    is_source && !ASIDE.contains(&member(file).unwrap_or_default())
}

/// The crate of a file.
fn member(file: &str) -> Option<&str> {
    file.strip_prefix("crates/")?.split('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[&str]) -> Option<String> {
        let frame =
            |file: &&str| format!("  1: 0x1 - some::function\n             at {file}:10:5\n");
        let stack: String = files.iter().map(frame).collect();
        sender(&stack, Path::new("/shop")).filter(|file| is_service(file)).map(str::to_owned)
    }

    #[test]
    fn the_innermost_sender_tells_whose_a_statement_is() {
        let between = ["/registry/diesel/src/mysql.rs", "/shop/crates/db/src/tx.rs"];
        let with =
            |file| of(&[between[0], between[1], file, "/shop/crates/wallet/tests/service.rs"]);
        let store = "crates/wallet/src/store.rs";
        assert_eq!(with("/shop/crates/wallet/src/store.rs").as_deref(), Some(store));
        assert_eq!(
            with("/shop/orchestrator/src/journal.rs").as_deref(),
            Some("orchestrator/src/journal.rs")
        );
        assert_eq!(with("/shop/crates/audit/src/store.rs"), None);
        assert_eq!(with("/shop/crates/wallet/src/store/tests.rs"), None);
        assert_eq!(with("/rustc/library/core/src/future.rs"), None);
        assert_eq!(of(&between).as_deref(), Some("crates/db/src/tx.rs"));
        assert_eq!(of(&between[..1]), None);
    }
}
