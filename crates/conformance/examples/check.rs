//! Checks a running participant: `cargo run -p conformance --example check -- ADDRESS PARTICIPANT PAYLOADS.json`.
//!
//! Prints the report. Ends with 0 when all checked rules hold, 1 when one is broken, and 2 when it was called wrongly.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]

use std::path::Path;
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, participant, file] = arguments.as_slice() else {
        eprintln!("usage: check ADDRESS PARTICIPANT PAYLOADS.json");
        return ExitCode::from(2);
    };
    match conformance::Payloads::read(Path::new(file)) {
        Ok(payloads) => {
            let report = conformance::run(address, participant, &payloads).await;
            println!("{report}");
            if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
