//! `notices CRATE`: the licences of everything that is linked into a crate's program, on standard
//! output, from `cargo metadata` and the sources that Cargo has unpacked. For packages: most of
//! these licences ask that their text goes with the program.

mod linked;
mod texts;

use std::env;
use std::io::{self, Write as _};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::linked::Metadata;

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let (Some(program), None) = (arguments.next(), arguments.next()) else {
        bail!("usage: notices CRATE");
    };
    let metadata = metadata()?;
    let linked = metadata.linked_into(&program)?;
    let notices = texts::notices(&program, &linked)?;
    io::stdout().write_all(notices.as_bytes())?;
    Ok(())
}

/// What Cargo knows of the workspace, on this kind of machine and without the network.
fn metadata() -> anyhow::Result<Metadata> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()
        .context("cargo cannot be run")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("cargo metadata is not as it was")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_linked_into_a_program_is_named_with_a_licence() {
        let metadata = metadata().unwrap();
        for (program, inside, outside) in [
            ("agent", "rusqlite ", "clap_derive "),
            ("controller", "tonic ", "insta "),
            ("client", "rustls ", "rusqlite "),
        ] {
            let linked = metadata.linked_into(program).unwrap();

            let notices = texts::notices(program, &linked).unwrap();

            let names = |name: &str| notices.lines().any(|line| line.starts_with(name));
            assert!(names(inside), "{program}: {inside}");
            assert!(!names(outside), "{program}: {outside}");
        }
    }
}
