//! Checking a participant against the participant contract.

use super::{Context, Verdict};
use crate::output::{Output, line};
use ::conformance::{Payloads, Report};
use anyhow::Result;
use serde_json::json;
use std::io;
use std::path::Path;

/// Runs the rules of the contract, and shows each.
pub(super) async fn run(
    context: Context,
    address: &str,
    participant: &str,
    payloads: &Path,
) -> Result<Verdict> {
    let payloads = Payloads::read(payloads)?;
    let report = ::conformance::run(address, participant, &payloads).await;
    show(context.output, &report)?;
    Ok(if report.passed() { Verdict::Good } else { Verdict::Bad })
}

fn show(output: Output, report: &Report) -> io::Result<()> {
    if output == Output::Human {
        return line(report);
    }
    for (rule, result) in &report.rules {
        line(json!({ "rule": rule, "broken": result.as_ref().err() }))?;
    }
    for (what, why) in &report.skipped {
        line(json!({ "skipped": what, "why": why }))?;
    }
    Ok(())
}
