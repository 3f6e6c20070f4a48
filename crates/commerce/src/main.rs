//! The program `commerce`.

use std::process::ExitCode;

/// A checkout is hundreds of small allocations, often freed by another thread: of the allocators that were measured with
/// `commerce replay` it took the least CPU an order.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    commerce::cli::main()
}
