//! `postern-agent flush`: removes everything that an agent put into the packet filter.

use std::io;
use std::path::PathBuf;

use crate::cli::FlushArgs;
use crate::config::{CHAIN, FirewallConfig};
use crate::firewall::{self, FirewallError};
use crate::journal::{self, JournalError};
use crate::protection::ProtectionFile;

/// Why something of an agent is still there.
#[derive(Debug, thiserror::Error)]
pub enum FlushFailed {
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    /// An agent uses this state.
    #[error(transparent)]
    State(#[from] JournalError),
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
/// [`FirewallError::Locked`] and [`JournalError::InUse`] while an agent runs; otherwise what the host
/// refuses.
pub fn run(args: &FlushArgs) -> Result<(), FlushFailed> {
    let _held = journal::hold_state(&args.state)?;
    let remembered = ProtectionFile::read(&args.state);
    let of_state = remembered.as_ref().and_then(|found| found.chain.clone());
    let chain = args.chain.clone().or_else(|| of_state.clone());
    let chain = chain.as_deref().unwrap_or(CHAIN);
    let config = FirewallConfig::of_chain(chain);
    firewall::open(&config)?.base_rules.remove()?;
    firewall::Hooks::remove(&config)?;
    if remembered.is_none() || of_state.is_some_and(|other| other != chain) {
        return Ok(());
    }
    let file = ProtectionFile::new(&args.state, chain);
    file.remove().map_err(|cause| FlushFailed::Remembered {
        path: file.path().to_owned(),
        cause,
    })
}
