//! Compiles `proto/postern/v1/*.proto` without a system protoc.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = ["agent", "audit", "common", "enrollment", "operator", "user"]
        .map(|name| root.join(format!("postern/v1/{name}.proto")));

    let descriptors = protox::compile(&files, [&root])?;
    let path = Path::new(&std::env::var("OUT_DIR")?).join("postern_descriptor.bin");
    std::fs::write(&path, prost::Message::encode_to_vec(&descriptors))?;

    tonic_prost_build::configure()
        .btree_map(".")
        .compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
