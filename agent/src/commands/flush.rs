//! `postern-agent flush`: removes everything that an agent put into the packet filter.

use crate::cli::FlushArgs;
use crate::firewall::{ChainLock, FirewallError, Groundwork, GroundworkOptions};

/// Removes chain, jump and sets.
///
/// # Errors
///
/// [`FirewallError::Locked`] while an agent runs; otherwise what the host refuses.
pub fn run(args: &FlushArgs) -> Result<(), FirewallError> {
    let _lock = ChainLock::take(&args.chain)?;
    let options = GroundworkOptions {
        chain: args.chain.clone(),
        protect: Vec::new(),
    };
    Groundwork::survey(options)?.uninstall()
}
