//! Checks a participant of sagas, in any language, against the participant contract
//! (`crates/participant/CONTRACT.md`).
//!
//! [`run`] calls a participant over gRPC as a saga engine would, and reports for each rule of the contract whether it
//! holds. The participant must serve gRPC server reflection, version 1 or 1alpha, with the descriptors of its actions:
//! payloads are given as JSON and encoded by them.
//!
//! A run is for test systems. It runs, undoes and closes actions in new sagas, and it raises the participant's
//! watermark to an id made when the run began: sagas that were begun before the run are purged by it. Rows of the run
//! itself that are above the watermark stay.
//!
//! What a run sees are answers and rows. That a compensation restores the data of the domain is not visible to it.

mod client;
mod payloads;
mod reflection;
mod report;
mod rules;
mod step;
mod subject;

pub use payloads::{Payloads, PayloadsError};
pub use report::Report;

use rules::RULES;
use std::time::Duration;
use subject::Subject;

/// The longest that one rule may take.
const RULE_LIMIT: Duration = Duration::from_mins(2);

/// Checks the participant named `participant` at `address`, such as `127.0.0.1:50051` or `http://seats:50051`.
///
/// Every call has a deadline of 10 s, every rule one of 2 min. A call that is answered `UNAVAILABLE`, `ABORTED` or
/// `RESOURCE_EXHAUSTED` is repeated up to five times, as an engine would repeat it. Where the participant cannot be reached,
/// reflected or described, the report has one rule, which says so.
pub async fn run(address: &str, participant: &str, payloads: &Payloads) -> Report {
    let mut report = Report::default();
    let began = within(Subject::begin(address, participant, payloads)).await;
    let subject = match began {
        Ok(subject) => subject,
        Err(failure) => {
            report.add("the participant can be reached, reflected and described", Err(failure));
            return report;
        }
    };
    for (method, why) in subject.left_out() {
        report.skipped.push((method, why));
    }
    for rule in RULES {
        report.add(rule.name, within((rule.check)(&subject)).await);
    }
    report
}

async fn within<T>(
    work: impl Future<Output = Result<T, subject::Failure>>,
) -> Result<T, subject::Failure> {
    // In a box: rules hold the messages that they compare.
    let limited = Box::pin(tokio::time::timeout(RULE_LIMIT, work));
    let late = |_| Err(subject::Failure::Broken("not finished after 2 min".to_owned()));
    limited.await.unwrap_or_else(late)
}
