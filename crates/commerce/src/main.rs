//! commerce
fn main() {}
