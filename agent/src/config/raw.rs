//! What people write: strings and numbers, everything optional.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use super::ConfigError;

/// One layer of configuration. The keys of the file, the names of the variables and the flags are
/// the same words.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    pub state_dir: Option<PathBuf>,
    pub witness_dir: Option<PathBuf>,
    pub access_file: Option<PathBuf>,
    pub controller: Option<String>,
    pub interfaces: Option<Vec<String>>,
    pub pcap_file: Option<PathBuf>,
    pub follow: Option<bool>,
    #[serde(default, deserialize_with = "text_or_port")]
    pub udp_server: Option<String>,
    pub spa_port: Option<u16>,
    pub filter: Option<String>,
    pub buffer_mib: Option<u32>,
    pub promiscuous: Option<bool>,
    pub gateway: Option<bool>,
    pub accept_destinations: Option<Vec<String>>,
    pub backend: Option<String>,
    pub chain: Option<String>,
    pub mark: Option<String>,
    pub hooks: Option<Vec<String>>,
    pub protect: Option<Vec<String>>,
    pub nat_forward: Option<bool>,
    pub nat_local: Option<bool>,
    pub nat_dns: Option<bool>,
    pub nat_snat: Option<bool>,
    pub snat_address: Option<Vec<String>>,
    pub destination_rule: Option<bool>,
    pub flush_at_start: Option<bool>,
    pub flush_at_exit: Option<bool>,
    pub dry_run: Option<bool>,
    pub ageing: Option<bool>,
    pub max_age_secs: Option<u64>,
    pub max_future_secs: Option<u64>,
    pub commands: Option<bool>,
    pub command_timeout_secs: Option<u64>,
    pub spa_over_http: Option<bool>,
    pub x_forwarded_for: Option<bool>,
    pub audit_days: Option<u32>,
    pub grants_max: Option<usize>,
    pub commands_running_max: Option<usize>,
    pub commands_waiting_max: Option<usize>,
}

// === impl RawConfig ===

impl RawConfig {
    /// Reads one file and nothing else.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Unreadable`] names the file, [`ConfigError::Malformed`] file and line.
    pub fn read_file(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable {
            path: path.to_owned(),
            cause,
        })?;
        toml::from_str(&text).map_err(|error| malformed(path, &text, &error))
    }

    /// Where the agent keeps its state.
    #[must_use]
    pub fn state_dir_or_default(&self) -> PathBuf {
        let default = || crate::STATE_DIR.into();
        self.state_dir.clone().unwrap_or_else(default)
    }

    /// Whether packets are to be led on to other places, or to be let in at one address only.
    #[must_use]
    pub fn leads(&self) -> bool {
        let wants = [self.nat_forward, self.nat_local, self.destination_rule];
        wants.contains(&Some(true))
    }

    /// This layer with `over` laid over it.
    #[must_use]
    pub fn overlaid(self, over: Self) -> Self {
        Self {
            state_dir: over.state_dir.or(self.state_dir),
            witness_dir: over.witness_dir.or(self.witness_dir),
            access_file: over.access_file.or(self.access_file),
            controller: over.controller.or(self.controller),
            interfaces: over.interfaces.or(self.interfaces),
            pcap_file: over.pcap_file.or(self.pcap_file),
            follow: over.follow.or(self.follow),
            udp_server: over.udp_server.or(self.udp_server),
            spa_port: over.spa_port.or(self.spa_port),
            filter: over.filter.or(self.filter),
            buffer_mib: over.buffer_mib.or(self.buffer_mib),
            promiscuous: over.promiscuous.or(self.promiscuous),
            gateway: over.gateway.or(self.gateway),
            accept_destinations: over.accept_destinations.or(self.accept_destinations),
            backend: over.backend.or(self.backend),
            chain: over.chain.or(self.chain),
            mark: over.mark.or(self.mark),
            hooks: over.hooks.or(self.hooks),
            protect: over.protect.or(self.protect),
            nat_forward: over.nat_forward.or(self.nat_forward),
            nat_local: over.nat_local.or(self.nat_local),
            nat_dns: over.nat_dns.or(self.nat_dns),
            nat_snat: over.nat_snat.or(self.nat_snat),
            snat_address: over.snat_address.or(self.snat_address),
            destination_rule: over.destination_rule.or(self.destination_rule),
            flush_at_start: over.flush_at_start.or(self.flush_at_start),
            flush_at_exit: over.flush_at_exit.or(self.flush_at_exit),
            dry_run: over.dry_run.or(self.dry_run),
            ageing: over.ageing.or(self.ageing),
            max_age_secs: over.max_age_secs.or(self.max_age_secs),
            max_future_secs: over.max_future_secs.or(self.max_future_secs),
            commands: over.commands.or(self.commands),
            command_timeout_secs: over.command_timeout_secs.or(self.command_timeout_secs),
            spa_over_http: over.spa_over_http.or(self.spa_over_http),
            x_forwarded_for: over.x_forwarded_for.or(self.x_forwarded_for),
            audit_days: over.audit_days.or(self.audit_days),
            grants_max: over.grants_max.or(self.grants_max),
            commands_running_max: over.commands_running_max.or(self.commands_running_max),
            commands_waiting_max: over.commands_waiting_max.or(self.commands_waiting_max),
        }
    }
}

/// A socket is written as a text, or as the bare number of a port.
fn text_or_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Port(u16),
        Text(String),
    }
    Ok(Some(match Either::deserialize(deserializer)? {
        Either::Port(port) => port.to_string(),
        Either::Text(text) => text,
    }))
}

/// `file:line: what is wrong`, as for every other file.
fn malformed(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map_or(1, |before| before.matches('\n').count() + 1);
    ConfigError::Malformed(format!("{}:{line}: {}", path.display(), error.message()))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn file(text: &str) -> (TempDir, PathBuf) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("agent.toml");
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn a_port_to_receive_on_is_a_text_or_a_number() {
        for text in ["udp_server = 62201", "udp_server = \"62201\""] {
            let (_dir, path) = file(text);

            let raw = RawConfig::read_file(&path).unwrap();

            assert_eq!(raw.udp_server.as_deref(), Some("62201"));
        }
    }

    #[test]
    fn a_key_that_is_not_known_is_told_with_file_and_line() {
        let (_dir, path) = file("ageing = true\nagening = false\n");

        let told = RawConfig::read_file(&path).unwrap_err().to_string();

        let place = format!("{}:2: unknown field `agening`", path.display());
        assert!(told.contains(&place), "{told}");
    }
}
