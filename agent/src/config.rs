//! The agent's configuration: defaults, file, environment, flags, in this order.
//!
//! [`RawConfig`] is what people write; [`Config`] is what the program uses, with every value valid.
//! Between them stands one function that finds all mistakes, not only the first. What may enter is
//! policy and not configuration; here is how this host captures, records and filters.

mod captures;
mod environment;
mod error;
pub mod fwknopd;
mod layers;
mod nat;
mod raw;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use policy::{NatSettings, Networks};
use spa::Service;

pub use error::{ConfigError, Mistake};
pub use layers::{ConfigSource, Layers, Named};
pub use raw::RawConfig;
pub(crate) use raw::did_you_mean;

use crate::capture::{CaptureConfig, CaptureSource};
use crate::gpg::GnupgHomes;
use crate::os_signatures::OsSignaturesFile;

/// What the program uses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    pub state_dir: PathBuf,
    /// Where what dies with the boot is kept: the witness of the journal.
    pub witness_dir: PathBuf,
    pub mode: Mode,
    /// What fwknopd has seen on this host, if it has ever run here.
    pub digest_cache: Option<PathBuf>,
    pub captures: Vec<CaptureConfig>,
    /// Where packets off a wire may be sent to, beside this host's own addresses.
    pub accept_destinations: Networks,
    pub firewall: FirewallConfig,
    pub gate: GateConfig,
    /// What is led on to other places, as far as the packet filter can.
    pub nat: NatSettings,
    pub command_timeout: Duration,
    /// The program that is sudo, where a stanza says ENABLE_CMD_SUDO_EXEC.
    pub sudo_exe: PathBuf,
    /// The keyring of stanzas with GPG_* that name none.
    pub gnupg: GnupgHomes,
    /// Signatures of operating systems.
    pub os_signatures: OsSignaturesFile,
    /// For how many days the local audit is kept without a controller.
    pub audit_days: u32,
    pub grants_max: usize,
    /// Commands that run at once.
    pub commands_running_max: usize,
    /// Commands that wait for one of those to end.
    pub commands_waiting_max: usize,
    /// Whether capture, keys and packet filter are in processes of their own.
    pub separation: bool,
    /// Where Prometheus may ask for numbers; nowhere unless it is said.
    pub metrics_listen: Option<SocketAddr>,
    /// A host that is not at its first controller goes back to an earlier one after once to three times as long.
    pub return_after: Duration,
}

/// Who says what is permitted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mode {
    /// An access.conf on this host.
    Alone { access_file: PathBuf },
    /// The fleet that this host has joined; its controllers are dialled at other addresses if such are given.
    Joined { controllers: Vec<String> },
}

/// What the agent does to the packet filter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FirewallConfig {
    pub backend: BackendChoice,
    pub chain: String,
    /// The bit of the packet mark by which rules of the owner know what we let in.
    pub mark: u32,
    pub hooks: Hooks,
    pub protect: Vec<Service>,
    /// Whether packets are to be led on to other places.
    pub leads: bool,
    /// Whether answers to what came in through a hole get past the owner's rules for what goes out.
    pub answers: bool,
    pub flush_at_start: bool,
    pub flush_at_exit: bool,
    /// Touch nothing; only say what would be opened.
    pub dry_run: bool,
}

/// Which back end changes the packet filter.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum BackendChoice {
    /// The first that works here: nftables, iptables.
    #[default]
    Auto,
    Nftables,
    Iptables,
}

/// In which chains of the owner one line accepts what we let in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Hooks {
    /// In those of iptables that would drop it, before their last word; nowhere else.
    #[default]
    Auto,
    /// In none.
    None,
    /// In these: family, table and chain, as `inet filter input`.
    Chains(Vec<String>),
}

/// Settings of the gate that people may change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GateConfig {
    /// `None` accepts packets of any age.
    pub ageing: Option<Duration>,
    /// How far ahead of the clock a packet may be dated.
    pub max_future: Duration,
    /// Whether commands run at all. Not unless it is said here, where a controller writes the policy.
    pub commands: bool,
    pub spa_over_http: bool,
    /// Whether such requests are read whatever program made them.
    pub any_user_agent: bool,
    pub x_forwarded_for: bool,
}

/// Read when no other file is named, if it is there.
pub const DEFAULT_FILE: &str = "/etc/postern/agent.toml";
/// What our chain is called unless the configuration says otherwise.
pub const CHAIN: &str = "POSTERN";
/// What it was called in earlier versions, which had it in another table.
pub(crate) const FORMER_CHAIN: &str = "POSTERN_INPUT";
/// One high bit, which neither Kubernetes (0x4000, 0x8000) nor WireGuard's wg-quick (51820) uses.
const MARK: u32 = 0x2000_0000;
const MAX_AGE_SECS: u64 = 120;
/// As fwknop's MAX_SPA_PACKET_AGE.
const MAX_AGE_SECS_MAX: u64 = 100_000;
/// In a fleet: its clients know how far their clock is from the controller's.
const MAX_FUTURE_SECS_JOINED: u64 = 30;
/// Ten minutes to half an hour.
const CONTROLLER_RETURN_SECS: u64 = 600;
const SUDO_EXE: &str = "/usr/bin/sudo";
const COMMAND_TIMEOUT_SECS: u64 = 10;
const COMMAND_TIMEOUT_SECS_MAX: u64 = 3_600;
/// About 4,000 packets. The ring counts as memory of the process, which is to stay below 40 MB.
const BUFFER_MIB: u32 = 8;
const AUDIT_DAYS: u32 = 90;
const GRANTS_MAX: usize = 16_384;
const COMMANDS_RUNNING_MAX: usize = 4;
const COMMANDS_WAITING_MAX: usize = 64;

// === impl BackendChoice ===

impl BackendChoice {
    /// By its name in the configuration; `None` for a name that is none.
    pub(crate) fn named(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("auto") => Some(Self::Auto),
            Some("nftables") => Some(Self::Nftables),
            Some("iptables") => Some(Self::Iptables),
            Some(_) => None,
        }
    }
}

// === impl FirewallConfig ===

impl FirewallConfig {
    /// The defaults, with a chain of this name: nothing is protected, and nothing stays.
    pub fn of_chain(chain: &str) -> Self {
        Self {
            backend: BackendChoice::Auto,
            chain: chain.to_owned(),
            mark: MARK,
            hooks: Hooks::Auto,
            protect: Vec::new(),
            leads: false,
            answers: false,
            flush_at_start: true,
            flush_at_exit: true,
            dry_run: false,
        }
    }
}

// === impl Config ===

impl TryFrom<RawConfig> for Config {
    type Error = ConfigError;

    fn try_from(raw: RawConfig) -> Result<Self, ConfigError> {
        let mut mistakes = Mistakes::default();
        let sources = captures::sources(&raw, &mut mistakes);
        let gate = gate(&raw, &sources, &mut mistakes);
        let firewall = firewall(&raw, &mut mistakes);
        let nat = nat::nat(&raw, &mut mistakes);
        check_numbers(&raw, &mut mistakes);
        let captures = captures::captures(&raw, sources, &mut mistakes);
        let accept_destinations = captures::accept_destinations(&raw, &mut mistakes);
        let metrics_listen = metrics_listen(&raw, &mut mistakes);
        let state_dir = raw.state_dir_or_default();
        let gnupg = raw.gnupg_homes();
        let mode = mode(&raw, &mut mistakes);
        mistakes.none()?;
        Ok(Self {
            metrics_listen,
            return_after: Duration::from_secs(
                raw.controller_return_secs.unwrap_or(CONTROLLER_RETURN_SECS),
            ),
            state_dir,
            digest_cache: raw.digest_cache,
            witness_dir: raw
                .witness_dir
                .unwrap_or_else(|| crate::journal::WITNESS_DIR.into()),
            mode,
            captures,
            accept_destinations,
            firewall,
            gate,
            nat,
            command_timeout: Duration::from_secs(
                raw.command_timeout_secs.unwrap_or(COMMAND_TIMEOUT_SECS),
            ),
            os_signatures: OsSignaturesFile::new(raw.os_signatures),
            sudo_exe: raw.sudo_exe.unwrap_or_else(|| SUDO_EXE.into()),
            gnupg,
            audit_days: raw.audit_days.unwrap_or(AUDIT_DAYS),
            separation: raw.separation.unwrap_or(true),
            grants_max: raw.grants_max.unwrap_or(GRANTS_MAX),
            commands_running_max: raw.commands_running_max.unwrap_or(COMMANDS_RUNNING_MAX),
            commands_waiting_max: raw.commands_waiting_max.unwrap_or(COMMANDS_WAITING_MAX),
        })
    }
}

#[derive(Debug, Default)]
struct Mistakes(Vec<Mistake>);

impl Mistakes {
    fn add(&mut self, key: &str, message: impl std::fmt::Display) {
        self.0.push(Mistake::of(key, message));
    }

    fn check(&mut self, key: &str, good: bool, message: impl FnOnce() -> String) {
        if !good {
            self.add(key, message());
        }
    }

    fn none(self) -> Result<(), ConfigError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::Invalid(self.0))
        }
    }
}

/// Everything that is a plain number has its bounds.
fn check_numbers(raw: &RawConfig, mistakes: &mut Mistakes) {
    let bounded = |key, value: Option<u64>, default, max| (key, value.unwrap_or(default), max);
    let numbers = [
        bounded(
            "command_timeout_secs",
            raw.command_timeout_secs,
            COMMAND_TIMEOUT_SECS,
            COMMAND_TIMEOUT_SECS_MAX,
        ),
        bounded(
            "controller_return_secs",
            raw.controller_return_secs,
            CONTROLLER_RETURN_SECS,
            86_400,
        ),
        bounded(
            "buffer_mib",
            raw.buffer_mib.map(u64::from),
            BUFFER_MIB.into(),
            1024,
        ),
        bounded(
            "audit_days",
            raw.audit_days.map(u64::from),
            AUDIT_DAYS.into(),
            36_500,
        ),
        bounded(
            "grants_max",
            raw.grants_max.map(|n| n as u64),
            GRANTS_MAX as u64,
            131_072,
        ),
        bounded(
            "commands_running_max",
            raw.commands_running_max.map(|n| n as u64),
            COMMANDS_RUNNING_MAX as u64,
            256,
        ),
        bounded(
            "commands_waiting_max",
            raw.commands_waiting_max.map(|n| n as u64),
            COMMANDS_WAITING_MAX as u64,
            4_096,
        ),
    ];
    for (key, value, max) in numbers {
        mistakes.check(key, (1..=max).contains(&value), || {
            format!("{value} is not 1 to {max}")
        });
    }
}

/// Who says what is permitted: one of the two.
fn mode(raw: &RawConfig, mistakes: &mut Mistakes) -> Mode {
    match (raw.access_file.clone(), raw.controller.clone()) {
        (None, controllers) => {
            let controllers = controllers.unwrap_or_default();
            for address in &controllers {
                mistakes.check("controller", fleet::is_controller_address(address), || {
                    format!("{address} is not HOST:PORT")
                });
            }
            Mode::Joined { controllers }
        }
        (Some(access_file), controller) => {
            mistakes.check("access_file", controller.is_none(), || {
                "a host with an access file has no controller".to_owned()
            });
            Mode::Alone { access_file }
        }
    }
}

/// Where numbers are served, in an agent that was built to.
#[cfg(feature = "metrics")]
fn metrics_listen(raw: &RawConfig, mistakes: &mut Mistakes) -> Option<SocketAddr> {
    let listen = program::metrics::parse_listen(raw.metrics_listen.as_deref()?);
    listen
        .map_err(|cause| mistakes.add("metrics_listen", cause))
        .ok()
}

#[cfg(not(feature = "metrics"))]
fn metrics_listen(raw: &RawConfig, mistakes: &mut Mistakes) -> Option<SocketAddr> {
    mistakes.check("metrics_listen", raw.metrics_listen.is_none(), || {
        "this postern-agent was built without metrics".to_owned()
    });
    None
}

fn gate(raw: &RawConfig, sources: &[CaptureSource], mistakes: &mut Mistakes) -> GateConfig {
    let secs = raw.max_age_secs.unwrap_or(MAX_AGE_SECS);
    mistakes.check(
        "max_age_secs",
        (1..=MAX_AGE_SECS_MAX).contains(&secs),
        || format!("{secs} is not 1 to {MAX_AGE_SECS_MAX}"),
    );
    // As with fwknopd, which allows as much in both directions.
    let ahead_secs = if raw.access_file.is_some() {
        secs
    } else {
        secs.min(MAX_FUTURE_SECS_JOINED)
    };
    let ahead_secs = raw.max_future_secs.unwrap_or(ahead_secs);
    mistakes.check(
        "max_future_secs",
        raw.max_future_secs.is_none() || (1..=MAX_AGE_SECS_MAX).contains(&ahead_secs),
        || format!("{ahead_secs} is not 1 to {MAX_AGE_SECS_MAX}"),
    );
    // As with fwknopd: what lies in a finished file is old, so age means nothing there.
    let is_old =
        |source: &CaptureSource| matches!(source, CaptureSource::File { follow: false, .. });
    let asked = raw.ageing.or_else(|| raw.max_age_secs.map(|_| true));
    let ageing = asked.unwrap_or_else(|| !sources.iter().all(is_old));
    GateConfig {
        ageing: ageing.then(|| Duration::from_secs(secs)),
        max_future: Duration::from_secs(ahead_secs),
        // The controller need not be root on every host.
        commands: raw.commands.unwrap_or_else(|| raw.access_file.is_some()),
        spa_over_http: raw.spa_over_http.unwrap_or(false),
        any_user_agent: raw.any_user_agent.unwrap_or(false),
        x_forwarded_for: raw.x_forwarded_for.unwrap_or(false),
    }
}

fn firewall(raw: &RawConfig, mistakes: &mut Mistakes) -> FirewallConfig {
    let mut protect = Vec::new();
    for text in raw.protect.iter().flatten() {
        match text.trim().parse::<Service>() {
            Ok(port) => protect.push(port),
            Err(_) => mistakes.add("protect", format_args!("`{text}` is not like tcp/22")),
        }
    }
    FirewallConfig {
        backend: backend(raw, mistakes),
        mark: mark(raw, mistakes),
        hooks: hooks(raw, mistakes),
        chain: raw.chain.clone().unwrap_or_else(|| CHAIN.to_owned()),
        protect,
        leads: raw.leads(),
        answers: raw.accept_answers.unwrap_or(false),
        flush_at_start: raw.flush_at_start.unwrap_or(true),
        flush_at_exit: raw.flush_at_exit.unwrap_or(true),
        dry_run: raw.dry_run.unwrap_or(false),
    }
}

fn backend(raw: &RawConfig, mistakes: &mut Mistakes) -> BackendChoice {
    let name = raw.backend.as_deref();
    let choice = BackendChoice::named(name);
    mistakes.check("backend", choice.is_some(), || {
        let name = name.unwrap_or_default();
        format!("`{name}` is not auto, nftables or iptables")
    });
    choice.unwrap_or_default()
}

/// One bit, so that it can be set and asked for beside the bits of others.
fn mark(raw: &RawConfig, mistakes: &mut Mistakes) -> u32 {
    let Some(text) = &raw.mark else {
        return MARK;
    };
    let digits = text.strip_prefix("0x");
    let mark = match digits {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match mark {
        Ok(mark) if mark.is_power_of_two() => mark,
        Ok(_) | Err(_) => {
            mistakes.add(
                "mark",
                format_args!("`{text}` is not one bit, as 0x20000000"),
            );
            MARK
        }
    }
}

fn hooks(raw: &RawConfig, mistakes: &mut Mistakes) -> Hooks {
    let Some(texts) = &raw.hooks else {
        return Hooks::Auto;
    };
    match texts
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["auto"] => return Hooks::Auto,
        ["none"] | [] => return Hooks::None,
        _ => {}
    }
    for text in texts {
        let words: Vec<&str> = text.split(' ').collect();
        let is_chain = matches!(words.as_slice(), ["ip" | "ip6" | "inet", table, chain]
            if !table.is_empty() && !chain.is_empty());
        mistakes.check("hooks", is_chain, || {
            format!("`{text}` is not auto, none or like `inet filter input`")
        });
    }
    Hooks::Chains(texts.clone())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn all_mistakes_are_found_at_once() {
        let raw = RawConfig {
            interfaces: Some(vec!["eth0".to_owned(), "eth0".to_owned()]),
            protect: Some(vec!["tcp/22".to_owned(), "ssh".to_owned()]),
            max_age_secs: Some(0),
            udp_server: Some("here".to_owned()),
            tcp_server: Some("there".to_owned()),
            transports: Some(vec!["udp".to_owned(), "sctp".to_owned()]),
            follow: Some(true),
            grants_max: Some(0),
            commands_waiting_max: Some(5_000),
            ..RawConfig::default()
        };

        let Err(ConfigError::Invalid(mistakes)) = Config::try_from(raw) else {
            panic!("accepted");
        };

        let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        let keys: Vec<_> = lines.iter().filter_map(|m| m.split(':').next()).collect();
        let expected = [
            "interfaces",
            "follow",
            "udp_server",
            "tcp_server",
            "max_age_secs",
            "protect",
            "grants_max",
            "commands_waiting_max",
            "transports",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn a_finished_file_is_read_without_ageing_and_everything_else_with_it() {
        let ageing = |pcap_file: bool, follow, max_age_secs, ageing| {
            let raw = RawConfig {
                pcap_file: pcap_file.then(|| "x.pcap".into()),
                follow,
                max_age_secs,
                ageing,
                ..RawConfig::default()
            };
            Config::try_from(raw).unwrap().gate.ageing.is_some()
        };

        assert!(ageing(false, None, None, None));
        assert!(!ageing(true, None, None, None));
        assert!(ageing(true, Some(true), None, None));
        assert!(ageing(true, None, Some(60), None));
        assert!(!ageing(false, None, Some(60), Some(false)));
    }

    #[test]
    fn a_joined_host_runs_commands_only_where_its_own_configuration_says_so() {
        let commands = |access_file: bool, commands| {
            let raw = RawConfig {
                access_file: access_file.then(|| "access.conf".into()),
                commands,
                ..RawConfig::default()
            };
            Config::try_from(raw).unwrap().gate.commands
        };

        assert!(!commands(false, None));
        assert!(commands(false, Some(true)));
        assert!(commands(true, None));
        assert!(!commands(true, Some(false)));
    }

    #[test]
    fn the_sample_in_deploy_is_valid_and_says_the_defaults() {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/agent.toml");

        let sample: Config = RawConfig::read_file(&sample).unwrap().try_into().unwrap();

        assert_eq!(sample, RawConfig::default().try_into().unwrap());
    }
}
