//! Who asks, for the record of what operators do.

use anyhow::Result;
use std::env;
use std::os::unix::fs::MetadataExt;

/// Nobody knows who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "--actor: must name who asks, for the record: neither the flag nor $USER nor $LOGNAME does, and the system knows no name for this user"
)]
pub(super) struct Nobody;

/// The one who is named, else the user who runs this: as the environment says or, where it says nothing, as in containers
/// and cron jobs, the system's list of users.
///
/// # Errors
/// [`Nobody`].
pub(super) fn actor(named: Option<String>) -> Result<String, Nobody> {
    let named = named.map(|name| name.trim().to_owned());
    if let Some(name) = named {
        return if name.is_empty() { Err(Nobody) } else { Ok(name) };
    }
    let variable = |name| env::var(name).ok().filter(|user| !user.trim().is_empty());
    variable("USER").or_else(|| variable("LOGNAME")).or_else(of_system).ok_or(Nobody)
}

fn of_system() -> Option<String> {
    // A process's own entry belongs to its effective user.
    let id = std::fs::metadata("/proc/self").ok()?.uid();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    name_of(&users, id)
}

/// The name of a user id in lines such as `ann:x:1000:1000::/home/ann:/bin/sh`.
fn name_of(users: &str, id: u32) -> Option<String> {
    let user = users.lines().find(|line| line.split(':').nth(2) == Some(&id.to_string()))?;
    user.split(':').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_knows_its_users_by_their_ids() {
        let users = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(name_of(users, 1000).as_deref(), Some("ann"));
        assert_eq!(name_of(users, 0).as_deref(), Some("root"));
        assert_eq!(name_of(users, 10), None);
    }

    #[test]
    fn a_name_that_is_given_is_taken_and_an_empty_one_is_none() {
        assert_eq!(actor(Some(" ann ".to_owned())).as_deref(), Ok("ann"));
        assert_eq!(actor(Some("  ".to_owned())), Err(Nobody));
    }
}
