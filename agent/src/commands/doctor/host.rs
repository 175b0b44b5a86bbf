//! Configuration, privileges, kernel, clock and units of this host.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::check::{AS_ROOT, Check};
use super::running;
use crate::commands::local::off;
use crate::config::{Config, ConfigError, DEFAULT_FILE, Layers, Mode};
use crate::firewall::{self, FirewallError};
use crate::protection::ProtectionFile;
use crate::report::Report;

/// A difference of the clocks above this costs packets of a fleet.
const OFFSET_MS_MAX: u64 = 30_000;
/// A difference above this is worth a look.
const OFFSET_MS_GOOD: u64 = 5_000;
/// The numbers of capabilities(7), in the mask of /proc/self/status.
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;

/// Whether the configuration is valid, and what it says then.
/// A running agent knows better than its configuration by which access file it stands alone: that may
/// have been said on its command line.
pub(super) fn configuration(
    layers: Layers,
    file: Option<&Path>,
    report: Option<&Report>,
) -> (Vec<Check>, Option<Config>) {
    let file = file.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    match layers.config() {
        Ok(mut config) => {
            let running = report.and_then(|report| report.access_file.clone());
            if let Some(access_file) = running {
                config.mode = Mode::Alone { access_file };
            }
            let how = match &config.mode {
                Mode::Alone { access_file } => format!("alone, with {}", access_file.display()),
                Mode::Joined { .. } if report.is_some_and(|report| report.link.is_none()) => {
                    "alone, as the agent that runs was told".to_owned()
                }
                Mode::Joined { .. } => "joined to a controller".to_owned(),
            };
            let from = if file.try_exists().unwrap_or(true) {
                file.display().to_string()
            } else {
                format!("no {}, the defaults", file.display())
            };
            let check = Check::ok("configuration", format!("{from}; {how}"));
            (vec![check], Some(config))
        }
        Err(invalid) => {
            let cure = match &invalid {
                ConfigError::Unreadable(_) => "name the file with --config",
                ConfigError::Invalid(_) => "mend it: the next start would fail",
            };
            (vec![Check::failed("configuration", &invalid, cure)], None)
        }
    }
}

/// What this program may do: what it cannot, its checks cannot see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Privileges(u64);

impl Privileges {
    /// Those that it has.
    pub(super) fn ours() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self(effective(&status))
    }

    pub(super) fn check(self, agent_runs: bool) -> Vec<Check> {
        vec![of_capabilities(self.0, agent_runs)]
    }

    fn has(self, capability: u32) -> bool {
        self.0 & (1 << capability) != 0
    }
}

fn effective(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

fn of_capabilities(mask: u64, agent_runs: bool) -> Check {
    let wanted = [
        ("CAP_NET_ADMIN", CAP_NET_ADMIN),
        ("CAP_NET_RAW", CAP_NET_RAW),
    ];
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|(_, bit)| mask & (1 << bit) == 0)
        .map(|(name, _)| *name)
        .collect();
    let cure = AS_ROOT;
    match missing.as_slice() {
        [] => Check::ok("privileges", "the packet filter and captures may be used"),
        missing if agent_runs => {
            let found = format!("this check runs without {}", missing.join(" and "));
            Check::warn("privileges", found, cure)
        }
        missing => Check::fail("privileges", format!("no {}", missing.join(" and ")), cure),
    }
}

/// Whether this kernel can do what the configuration wants. Of a running agent, that it runs says so.
pub(super) fn kernel(
    config: Option<&Config>,
    report: Option<&Report>,
    privileges: Privileges,
) -> Vec<Check> {
    let (Some(config), None) = (config, report) else {
        return Vec::new();
    };
    if config.firewall.dry_run {
        let cure = "take dry_run out of the configuration";
        return vec![Check::warn(
            "firewall",
            "a dry run: nothing is opened",
            cure,
        )];
    }
    if !privileges.has(CAP_NET_ADMIN) {
        let found = "not looked at: only who may change the packet filter sees whether it works";
        return vec![Check::warn("firewall", found, AS_ROOT)];
    }
    let mut checks = vec![match firewall::open(&config.firewall) {
        Ok(backend) => Check::ok("firewall", format!("{}: {}", backend.name, backend.why)),
        Err(FirewallError::Locked { chain }) => Check::warn(
            "firewall",
            format!("an agent that keeps its state elsewhere has the chain {chain}"),
            "name its state directory with --state",
        ),
        Err(cause) => {
            let found = program::one_line(&cause).to_string();
            let cure = "modprobe nf_tables nf_conntrack; or apt install iptables ipset";
            Check::fail("firewall", found, cure)
        }
    }];
    match firewall::look(&config.firewall) {
        Ok(outlook) => {
            let obstacles = outlook.report.obstacles.iter();
            checks.extend(obstacles.map(running::obstacle));
            for unseen in outlook.report.unseen {
                let found = format!("not seen: {unseen}");
                checks.push(Check::warn("obstacles", found, ""));
            }
        }
        Err(cause) => {
            let found = program::one_line(&cause).to_string();
            checks.push(Check::warn("obstacles", found, AS_ROOT));
        }
    }
    checks
}

/// Whether this host's clock can be believed.
pub(super) fn clock(report: Option<&Report>, is_synchronised: bool) -> Vec<Check> {
    let link = report.and_then(|report| report.link.as_ref());
    let offset = link.and_then(|link| link.clock_offset_ms);
    vec![of_clock(offset, is_synchronised)]
}

fn of_clock(offset_ms: Option<i64>, is_synchronised: bool) -> Check {
    let cure = "set it, and let something keep it: systemd-timesyncd, chrony";
    let found = |ms| format!("{} the controller's", off(ms));
    match offset_ms.map(|ms| (ms, ms.unsigned_abs())) {
        Some((ms, off)) if off > OFFSET_MS_MAX => {
            let found = format!("{}: packets are refused for it", found(ms));
            Check::fail("clock", found, cure)
        }
        Some((ms, off)) if off > OFFSET_MS_GOOD => Check::warn("clock", found(ms), cure),
        Some((ms, _)) => Check::ok("clock", found(ms)),
        None if is_synchronised => Check::ok("clock", "the kernel says that it is synchronised"),
        None => Check::warn("clock", "nothing says that it is right", cure),
    }
}

/// Whether what is hidden is hidden at the next boot, before the network is up.
pub(super) fn units(
    state_dir: &Path,
    config: Option<&Config>,
    report: Option<&Report>,
) -> Vec<Check> {
    let remembered = ProtectionFile::read(state_dir);
    let mut checks = Vec::new();
    let is_denied = remembered.as_ref().is_some_and(|file| file.is_denied);
    if is_denied {
        let found = "the list of hidden ports may not be read by this user";
        checks.push(Check::fail("protection", found, AS_ROOT));
    } else if let Some(damage) = remembered.as_ref().and_then(|file| file.damage.as_ref()) {
        checks.push(Check::fail(
            "protection",
            format!("the list of hidden ports is damaged: {damage}"),
            "a running agent writes it anew: postern-agent reload, or restart it",
        ));
    }
    let hides = remembered.is_some_and(|file| !file.is_denied)
        || config.is_some_and(|config| !config.firewall.protect.is_empty())
        || report.is_some_and(|report| !report.firewall.hidden.is_empty());
    if !hides {
        return checks;
    }
    if !Path::new("/run/systemd/system").exists() {
        let cure = "let something run `postern-agent protect` before the network is up";
        checks.push(Check::warn("units", "systemd does not run here", cure));
        return checks;
    }
    let mut wanted = vec!["postern-protect.service"];
    if report.is_some_and(|report| firewall::needs_sets(&report.firewall.backend)) {
        wanted.push("postern-sets.service");
    }
    for unit in wanted {
        checks.push(match is_enabled(unit) {
            Ok(true) => Check::ok("units", format!("{unit} is enabled")),
            Ok(false) => Check::fail(
                "units",
                format!("{unit} is not enabled: at a boot, hidden ports are open for a moment"),
                format!("systemctl enable {unit}"),
            ),
            Err(cause) => Check::warn("units", format!("systemctl does not say: {cause}"), ""),
        });
    }
    checks
}

fn is_enabled(unit: &str) -> std::io::Result<bool> {
    let answer = Command::new("systemctl")
        .args(["is-enabled", unit])
        .output()?;
    Ok(String::from_utf8_lossy(&answer.stdout).trim() == "enabled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_as_the_kernel_writes_them() {
        let root = effective("Name:\tx\nCapPrm:\t0\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n");

        assert!(of_capabilities(root, false).to_string().starts_with("ok "));
        let nobody = of_capabilities(effective(""), false).to_string();
        assert!(nobody.starts_with("fail  privileges    no CAP_NET_ADMIN and CAP_NET_RAW"));
        let looking = of_capabilities(1 << CAP_NET_RAW, true).to_string();
        assert!(looking.contains("warn  privileges    this check runs without CAP_NET_ADMIN\n"));
    }

    #[test]
    fn a_clock_that_costs_packets_fails_and_one_that_nobody_vouches_for_is_warned_of() {
        let words = |offset, synchronised| {
            let said = of_clock(offset, synchronised).to_string();
            said.split(' ').next().unwrap().to_owned()
        };

        assert_eq!(words(Some(-31_000), true), "fail");
        assert_eq!(words(Some(6_000), true), "warn");
        assert_eq!(words(Some(-40), false), "ok");
        assert_eq!(words(None, true), "ok");
        assert_eq!(words(None, false), "warn");
    }
}
