//! Writes the generated code of the contract to where it is committed: `make contract`.

use std::fs;

use anyhow::{Context as _, Result};
use codegen::{Generated, committed_dir, generate};

fn main() -> Result<()> {
    let dir = committed_dir();
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    for Generated { name, bytes } in generate()? {
        let path = dir.join(name);
        fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
