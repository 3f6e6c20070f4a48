//! Turns the contract in `proto/` into Rust: messages, clients, servers, the descriptors for
//! reflection, the checks of requests, and clients that are participants.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

#[path = "build/checks.rs"]
mod checks;
#[path = "build/contract.rs"]
mod contract;
#[path = "build/participants.rs"]
mod participants;
#[path = "src/rule.rs"]
#[expect(unreachable_pub, reason = "public in the library, which shares the file")]
mod rule;

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=src/rule.rs");

    let out = PathBuf::from(env::var("OUT_DIR")?);
    let descriptors = protox::compile(contract::files(&root)?, [&root])?;
    fs::write(out.join("commerce.fds"), descriptors.encode_to_vec())?;
    fs::write(out.join("checks.rs"), checks::generate(&descriptors)?)?;
    fs::write(out.join("participants.rs"), participants::generate(&descriptors)?)?;
    tonic_prost_build::configure()
        .btree_map(".")
        .generate_default_stubs(true)
        .compile_fds(descriptors)?;
    Ok(())
}
