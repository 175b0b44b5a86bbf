//! `postern-agent flush`: removes everything that an agent put into the packet filter.

use std::io;
use std::path::PathBuf;

use crate::cli::FlushArgs;
use crate::config::FirewallConfig;
use crate::firewall::{self, FirewallError};
use crate::protection::ProtectionFile;

/// Why something of an agent is still there.
#[derive(Debug, thiserror::Error)]
pub enum FlushFailed {
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    #[error("{} would hide the ports again at the next start, and cannot be removed", path.display())]
    Remembered {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

/// Removes the base rules and every hole, and forgets what was hidden.
///
/// # Errors
///
/// [`FirewallError::Locked`] while an agent runs; otherwise what the host refuses.
pub fn run(args: &FlushArgs) -> Result<(), FlushFailed> {
    let config = FirewallConfig::of_chain(&args.chain);
    firewall::open(&config)?.base_rules.remove()?;
    firewall::Hooks::remove(&config)?;
    let other = |chain: String| chain != args.chain;
    let remembered = ProtectionFile::read(&args.state);
    if remembered.is_none_or(|found| found.chain.is_some_and(other)) {
        return Ok(());
    }
    let file = ProtectionFile::new(&args.state, &args.chain);
    file.remove().map_err(|cause| FlushFailed::Remembered {
        path: file.path().to_owned(),
        cause,
    })
}
