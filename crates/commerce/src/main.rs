//! The program `commerce`.

use std::process::ExitCode;

/// As fast as any on many small messages, and quick to build.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commerce::cli::main()
}
