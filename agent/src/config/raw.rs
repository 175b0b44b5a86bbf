//! What people write: strings and numbers, everything optional.

use std::fs;
use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat};
use serde::Deserialize;

use super::ConfigError;

/// Prefix of the environment variables: `POSTERN_AGENT_MAX_AGE_SECS=60`.
const PREFIX: &str = "POSTERN_AGENT";
/// Keys that are lists; in the environment, separated by commas.
const LISTS: [&str; 2] = ["interfaces", "protect"];

/// One layer of configuration. The keys of the file, the names of the variables and the flags are
/// the same words.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    pub state_dir: Option<PathBuf>,
    pub access_file: Option<PathBuf>,
    pub controller: Option<String>,
    pub interfaces: Option<Vec<String>>,
    pub pcap_file: Option<PathBuf>,
    pub follow: Option<bool>,
    pub udp_server: Option<String>,
    pub spa_port: Option<u16>,
    pub filter: Option<String>,
    pub buffer_mib: Option<u32>,
    pub promiscuous: Option<bool>,
    pub chain: Option<String>,
    pub protect: Option<Vec<String>>,
    pub flush_at_start: Option<bool>,
    pub flush_at_exit: Option<bool>,
    pub dry_run: Option<bool>,
    pub ageing: Option<bool>,
    pub max_age_secs: Option<u64>,
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
    /// Reads the file, if there is one, and the environment over it.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Unreadable`] names the file, [`ConfigError::Malformed`] file and line, or the
    /// variable.
    pub fn read(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut environment = Environment::with_prefix(PREFIX)
            .try_parsing(true)
            .list_separator(",");
        for list in LISTS {
            environment = environment.with_list_parse_key(list);
        }
        let mut builder = config::Config::builder();
        if let Some(path) = file {
            require(path)?;
            builder = builder.add_source(File::from(path).format(FileFormat::Toml));
        }
        read(builder.add_source(environment))
    }

    /// Reads one file and nothing else.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_file(path: &Path) -> Result<Self, ConfigError> {
        require(path)?;
        let file = File::from(path).format(FileFormat::Toml);
        read(config::Config::builder().add_source(file))
    }

    /// This layer with `over` laid over it.
    #[must_use]
    pub fn overlaid(self, over: Self) -> Self {
        Self {
            state_dir: over.state_dir.or(self.state_dir),
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
            chain: over.chain.or(self.chain),
            protect: over.protect.or(self.protect),
            flush_at_start: over.flush_at_start.or(self.flush_at_start),
            flush_at_exit: over.flush_at_exit.or(self.flush_at_exit),
            dry_run: over.dry_run.or(self.dry_run),
            ageing: over.ageing.or(self.ageing),
            max_age_secs: over.max_age_secs.or(self.max_age_secs),
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

/// Tells a file that cannot be read from one that has mistakes.
fn require(path: &Path) -> Result<(), ConfigError> {
    fs::File::open(path)
        .map(|_| ())
        .map_err(|cause| ConfigError::Unreadable {
            path: path.to_owned(),
            cause,
        })
}

fn read(
    builder: config::ConfigBuilder<config::builder::DefaultState>,
) -> Result<RawConfig, ConfigError> {
    builder
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(|cause| ConfigError::Malformed(cause.to_string()))
}
