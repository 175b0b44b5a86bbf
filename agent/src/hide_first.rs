//! What the agent does before anything else: hiding what was hidden when it last ran.

use spa::Service;

use crate::config::{BackendChoice, CHAIN, FirewallConfig, RawConfig};
use crate::firewall::{self, Backend, FirewallError};
use crate::policies::protect_lines;
use crate::protection::{FILE_NAME, ProtectionFile, Remembered};

/// What was hidden at the very start.
#[derive(Debug)]
pub struct HiddenFirst {
    /// The packet filter in which it is hidden.
    pub firewall: Backend,
    /// All that is hidden.
    pub ports: Vec<Service>,
    /// The chain by which it is hidden: where the configuration names none, the one that the state
    /// remembers.
    pub chain: String,
}

/// Hides what was hidden when the agent last ran, and what the configuration says; does nothing where
/// nothing was ever hidden.
///
/// `raw` is what can be read of the configuration, whatever else is wrong with it.
///
/// # Errors
///
/// [`FirewallError`] when it cannot be hidden.
pub fn hide_first(raw: &RawConfig) -> Result<Option<HiddenFirst>, FirewallError> {
    if raw.dry_run == Some(true) {
        return Ok(None);
    }
    let state_dir = raw.state_dir_or_default();
    let Some(remembered) = ProtectionFile::read(&state_dir) else {
        return Ok(None);
    };
    let Remembered {
        chain,
        mut ports,
        damage,
        is_denied: _,
    } = remembered;
    // A chain by a wrong name would never be taken away.
    let chain = chain.filter(|_| damage.is_none());
    if let Some(damage) = damage {
        tracing::error!(
            file = %state_dir.join(FILE_NAME).display(), damage,
            "the list of protected ports is damaged: what can be read of it is hidden, and what the \
             access file and the configuration name"
        );
    }
    // The list may lack what was first hidden while the disk was full, and all that was damaged.
    let known = ports.len();
    if let Some(access_file) = &raw.access_file {
        ports.extend(protect_lines(access_file));
    }
    if ports.len() > known {
        let more = ports.len() - known;
        tracing::warn!(
            more,
            "ports are hidden that PROTECT lines of the access file name and the list of protected ports does not"
        );
    }
    let configured = raw.protect.iter().flatten();
    ports.extend(configured.filter_map(|text| text.trim().parse::<Service>().ok()));
    let named = raw.chain.clone().or_else(|| chain.clone());
    let config = FirewallConfig {
        leads: raw.leads(),
        answers: raw.accept_answers.unwrap_or(false),
        backend: BackendChoice::named(raw.backend.as_deref()).unwrap_or_default(),
        ..FirewallConfig::of_chain(named.as_deref().unwrap_or(CHAIN))
    };
    let mut firewall = match chain {
        Some(former) if former != config.chain => firewall::open_in_place_of(&config, &former)?,
        Some(_) | None => firewall::open(&config)?,
    };
    let ports: Vec<Service> = ports.into_iter().collect();
    firewall.base_rules.lay(&ports)?;
    tracing::info!(ports = ports.len(), "what was protected is hidden");
    Ok(Some(HiddenFirst {
        firewall,
        ports,
        chain: config.chain,
    }))
}
