//! `postern-agent protect`: hides what was hidden, before the network is up.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{CHAIN, Layers, RawConfig};
use crate::firewall::{self, FirewallError};
use crate::hide_first::hide_first;

/// Hide what the agent hid when it last ran, and what the configuration protects
///
/// For the start of the machine, before the network is up: `postern-protect.service`. Needs nothing
/// but the list of ports in the state directory: no access file, no journal, no controller. Where
/// nothing was ever hidden it hides nothing: a first protection waits until the agent can let people
/// in. Does nothing while an agent runs.
#[derive(Clone, Debug, clap::Args)]
pub struct ProtectArgs {
    /// Configuration file [default: /etc/postern/agent.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the agent keeps its state [default: /var/lib/postern-agent]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Name of our chain
    #[arg(long, value_name = "NAME")]
    pub chain: Option<String>,
    /// Hide this port too, like tcp/22; may be given several times
    #[arg(long, value_name = "PROTO/PORT", value_delimiter = ',')]
    pub protect: Vec<String>,
    /// Hide nothing yet; only make the kernel sets that our rules in a saved firewall of iptables name
    ///
    /// For the start of the machine, before whoever restores the saved rules:
    /// `postern-sets.service`.
    #[arg(long, conflicts_with = "protect")]
    pub sets: bool,
}

/// Hides. A configuration with mistakes is an error after that, not instead of it.
pub fn run(args: ProtectArgs) -> ExitCode {
    let ProtectArgs {
        config,
        state,
        chain,
        protect,
        sets,
    } = args;
    let flags = RawConfig {
        state_dir: state,
        chain,
        protect: (!protect.is_empty()).then_some(protect),
        ..RawConfig::default()
    };
    let layers = Layers::read(config.as_deref(), flags);
    if sets {
        let chain = layers.readable().chain.as_deref().unwrap_or(CHAIN);
        return match firewall::make_sets(chain) {
            Ok(()) => ExitCode::SUCCESS,
            Err(cause) => program::fail(&cause),
        };
    }
    match hide_first(layers.readable()) {
        Ok(Some(mut hidden)) => {
            if let Err(cause) = hidden.firewall.base_rules.leave() {
                return program::fail(&cause);
            }
        }
        Ok(None) => tracing::info!("nothing was ever protected here: nothing is hidden"),
        Err(FirewallError::Locked { .. }) => {
            tracing::info!("an agent is running, and hides what it protects");
        }
        Err(cause) => return program::fail(&cause),
    }
    match layers.config() {
        Ok(_) => ExitCode::SUCCESS,
        Err(invalid) => program::fail(&invalid),
    }
}
