//! A database that forgets what it committed, or whose locks exclude nobody, makes every promise of the shop worthless, so
//! it is refused at the start. Each connection that is opened later is asked the same, without being tried.

use anyhow::{Context, Result};
pub use db::Unfit;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Servers that this process has tried. A test program starts many shops on one.
static TRIED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Asks the server at `url` whether a commit that it answers is on disk, and tries what correctness rests on: once for each
/// server and process.
///
/// # Errors
/// [`Unfit`] naming what it lacks; those of the database.
pub async fn check(url: &str) -> Result<()> {
    let server = without_schema(url);
    let was_tried = || TRIED.lock().unwrap_or_else(PoisonError::into_inner);
    if was_tried().contains(&server) {
        return Ok(());
    }
    match db::probe(url).await {
        Ok(()) => was_tried().insert(server),
        Err(db::Error::Unfit(unfit)) => return Err(unfit.into()),
        Err(error) => return Err(error).context("asking the database what it can do"),
    };
    Ok(())
}

/// A URL of a server, whichever of its schemas it names.
fn without_schema(url: &str) -> String {
    let (place, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    let end = place.rfind('/').filter(|slash| place.rfind('@') < Some(*slash));
    format!("{}{query}", &place[..end.unwrap_or(place.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_of_one_server_are_one_server() {
        let server = without_schema("mysql://me:x@h:1/a?socket=/run/s");
        assert_eq!(server, without_schema("mysql://me:x@h:1/b?socket=/run/s"));
        assert_ne!(server, without_schema("mysql://me:x@h:1/a?socket=/run/t"));
        assert_eq!(without_schema("mysql://me@h:1"), "mysql://me@h:1");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_as_it_is_can_be_asked() {
        let url = testkit::fresh_database("durability").await;
        check(&url).await.unwrap();
        let mut options = embedded::MySqlOptions::temporary();
        options.durable = false;
        options.buffer_pool_mib = 32;
        let careless = embedded::MySql::start(options).await.unwrap();
        let refusal = check(&careless.url()).await.unwrap_err();
        assert!(refusal.is::<Unfit>(), "{refusal:#}");
        assert!(!refusal.to_string().contains('\n'));
    }
}
