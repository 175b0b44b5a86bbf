//! The code of the contract, generated from `proto/fleet/proto` without a system protoc.
//!
//! It is committed (`proto/fleet/generated`), so that building the programs needs neither a parser
//! of .proto files nor a generator of code. `make contract` generates it anew, and a test here
//! refuses a commit in which the two differ.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A file that is generated: its name below `proto/fleet/generated`, and its bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Generated {
    /// Its name.
    pub name: &'static str,
    /// What it must hold.
    pub bytes: Vec<u8>,
}

/// Where the generated files are committed.
#[must_use]
pub fn committed_dir() -> PathBuf {
    fleet_dir().join("generated")
}

/// Generates messages, clients and servers, and the serialized descriptors.
///
/// # Errors
///
/// When a .proto file has a mistake, or cannot be read.
pub fn generate() -> Result<[Generated; 2]> {
    let root = fleet_dir().join("proto");
    let files = proto_files(&root.join("postern/v1"))?;
    let descriptors = protox::compile(&files, [&root])?;
    let bytes = prost::Message::encode_to_vec(&descriptors);

    let out = tempfile::tempdir()?;
    // Whoever only makes and reads events links no gRPC.
    tonic_prost_build::configure()
        .btree_map(".")
        // One policy goes to many hosts.
        .bytes(".postern.v1.PolicySnapshot.packed")
        .client_mod_attribute(".", "#[cfg(feature = \"rpc\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"rpc\")]")
        .out_dir(&out)
        .compile_fds(descriptors)?;
    let code = fs::read(out.path().join("postern.v1.rs"))?;
    Ok([
        Generated {
            name: "postern.v1.rs",
            bytes: code,
        },
        Generated {
            name: "postern_descriptor.bin",
            bytes,
        },
    ])
}

/// In order of their names, so that the descriptors do not depend on the file system.
fn proto_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn fleet_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/fleet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_code_is_that_of_the_contract() {
        for Generated { name, bytes } in generate().unwrap() {
            let committed = fs::read(committed_dir().join(name)).unwrap();
            assert!(
                committed == bytes,
                "proto/fleet/generated/{name} is not what proto/fleet/proto says; run: make contract"
            );
        }
    }
}
