//! The embedding macro reads folders that Cargo does not know of.
fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
