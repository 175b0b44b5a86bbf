//! Our programs: the agent, the controller and the client.
//!
//! They are the binaries of the same build as the test (or of `$POSTERN_BIN_DIR`), started as their
//! manual says. A daemon is up when it says so on the socket that systemd would give it
//! (`NOTIFY_SOCKET`).

mod agent;
mod client;
mod controller;
mod notify;

use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::{Ran, Result};

pub use agent::{Agent, explain};
pub use client::Member;
pub use controller::{CONTROLLER_PORT, Controller};

/// Where a program of ours is.
///
/// # Errors
///
/// When it was not built: `cargo test -p suite` alone does not build other packages' programs,
/// `make test` does.
pub fn binary(name: &str) -> Result<PathBuf> {
    let dir = match std::env::var_os("POSTERN_BIN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => build_dir()?,
    };
    let path = dir.join(name);
    if !path.exists() {
        bail!(
            "{} is not there: run `cargo build --workspace --bins` first, as `make test` does",
            path.display()
        );
    }
    Ok(path)
}

/// The directory of the running program, above `deps` for a test.
pub(crate) fn build_dir() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let dir = program.parent().context("a program without directory")?;
    if dir.ends_with("deps") {
        return Ok(dir.parent().context("no build directory")?.to_path_buf());
    }
    Ok(dir.to_path_buf())
}

/// The token a command printed.
fn token_in(ran: &Ran) -> Result<String> {
    ran.text()
        .split_whitespace()
        .map(|word| word.trim_matches(|c: char| matches!(c, '"' | '\'' | '`' | ',' | '{' | '}')))
        .find_map(|word| word.find("postern1.").and_then(|at| word.get(at..)))
        .map(str::to_owned)
        .with_context(|| format!("`{}` printed no token but\n{}", ran.what, ran.text()))
}
