//! `postern-agent flush`: removes everything that an agent put into the packet filter.

use crate::cli::FlushArgs;
use crate::config::FirewallConfig;
use crate::firewall::{self, FirewallError};

/// Removes the base rules and every hole.
///
/// # Errors
///
/// [`FirewallError::Locked`] while an agent runs; otherwise what the host refuses.
pub fn run(args: &FlushArgs) -> Result<(), FirewallError> {
    let config = FirewallConfig::of_chain(&args.chain);
    firewall::open(&config)?.base_rules.remove()
}
