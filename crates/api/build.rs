//! Turns the contract in `proto/` into Rust: messages, clients, servers, the descriptors for
//! reflection, the checks of requests, and the table of participants.

use std::{env, error::Error, fs, path::PathBuf};

use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

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
    // Beside it are the examples, with what they install.
    let folder = root.join("commerce");
    println!("cargo::rerun-if-changed={}", folder.display());
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=src/rule.rs");

    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(contract::files(&folder)?)?;
    let mut descriptors = compiler.file_descriptor_set();
    fs::write(out.join("commerce.fds"), compiler.encode_file_descriptor_set())?;
    fs::write(out.join("checks.rs"), checks::generate(&descriptors)?)?;
    fs::write(out.join("participants.rs"), participants::generate(&compiler.descriptor_pool())?)?;

    let mut config = tonic_prost_build::configure().btree_map(".").generate_default_stubs(true);
    for name in of_saga_api(&descriptors) {
        config = config
            .extern_path(format!(".commerce.saga.v1.{name}"), format!("::saga_api::v1::{name}"));
    }
    // Its messages stay, for others hold them, and are left out for their paths.
    let theirs = descriptors.file.iter_mut().filter(|file| is_of_saga_api(file));
    theirs.for_each(|file| file.service.clear());
    // Events travel under their types' names.
    let mut generator = prost_build::Config::new();
    generator.enable_type_names();
    config.compile_fds_with_config(descriptors, generator)?;
    Ok(())
}

/// The types that the crate `saga-api` has.
fn of_saga_api(descriptors: &FileDescriptorSet) -> Vec<&str> {
    let files = descriptors.file.iter().filter(|file| is_of_saga_api(file));
    let names = files.flat_map(|file| {
        let messages = file.message_type.iter().map(DescriptorProto::name);
        messages.chain(file.enum_type.iter().map(EnumDescriptorProto::name))
    });
    names.collect()
}

fn is_of_saga_api(file: &FileDescriptorProto) -> bool {
    let name = file.name().strip_prefix("commerce/saga/v1/");
    matches!(name, Some("options.proto" | "participant.proto" | "step.proto"))
}
