//! The rules, in the order in which a run checks them.

mod actions;
mod compensation;
mod contract;
mod many;
mod records;
mod voids;
mod watermark;

use crate::subject::{Checked, Subject};
use futures_util::future::BoxFuture;

/// A rule of the contract.
pub(crate) struct Rule {
    /// What holds.
    pub(crate) name: &'static str,
    /// Finds out whether it does.
    pub(crate) check: for<'a> fn(&'a Subject<'a>) -> BoxFuture<'a, Checked>,
}

macro_rules! rules {
    ($($name:literal => $check:path;)+) => {
        /// All rules. Those of the watermark are last, for they end sagas.
        pub(crate) const RULES: &[Rule] =
            &[$(Rule { name: $name, check: |subject| Box::pin($check(subject)) }),+];
    };
}

rules! {
    "Describe lists exactly the actions, as they are declared" => contract::described;
    "unknown participants and actions are answered with their codes" => contract::unknown_names;
    "keys and counts outside their ranges are INVALID_ARGUMENT" => contract::ranges;
    "a repeated action is answered with an equal message" => actions::repeated;
    "a rejection is recorded and repeated" => actions::rejected;
    "other content under a known key is refused" => actions::other_content;
    "the content digest is opaque" => actions::opaque_digest;
    "a compensation that finds nothing closes the step" => compensation::finds_nothing;
    "a compensation undoes a done step once" => compensation::undoes_once;
    "a compensation leaves a rejection and names it" => compensation::leaves_rejection;
    "a void that finds nothing closes the pivot with its reason" => voids::finds_nothing;
    "a void leaves a done pivot and answers its reply" => voids::leaves_done;
    "a void leaves a rejected pivot and names the rejection" => voids::leaves_rejection;
    "GetSteps tells each row" => records::told;
    "RunSteps answers each call like a call of its own" => many::run_steps;
    "concurrent copies of an action have one outcome" => many::copies;
    "an action and its undoing that race agree" => many::races;
    "the watermark never falls" => watermark::never_falls;
    "below the watermark nothing runs and nothing is written" => watermark::purges;
    "a row below the watermark still counts" => watermark::row_counts;
}
