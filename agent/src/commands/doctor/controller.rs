//! Whether the controller can be reached from here: name, TCP, TLS.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::time::Duration;

use fleet::export::rfc3339_ms;
use member::{FilesError, Membership};

use super::check::Check;
use super::running;
use crate::commands::local::host_name;
use crate::link::KeptLog;
use crate::link::known::{self, Known};
use crate::report::Report;

/// For how long each address is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For how long it is said that the fleet's log was another.
const CONFLICT_SHOWN_MS: u64 = 7 * 24 * 3_600_000;
/// Of a host that the controller knows no more.
const NOT_KNOWN: &str = "was it removed, or the controller put back to a copy of before? Stop the agent, and join anew with \
     a token of an operator's: postern-agent join --token-file FILE --force";

/// All of it. `own` addresses are dialled before those that the membership knows; a session that the agent
/// has open says all there is to say.
pub(super) fn all(
    state_dir: &Path,
    own: &[String],
    report: Option<&Report>,
    now_secs: u64,
) -> Vec<Check> {
    let member = match Membership::load(state_dir) {
        Ok(member) => member,
        Err(cause) => {
            return vec![Check::failed("membership", &cause, cure_of(&cause))];
        }
    };
    let fleet = &member.fleet;
    let called = crate::link::called_now(state_dir, &member.name);
    let name = host_name(called.as_deref().unwrap_or(&member.name), &member.name);
    let mut checks = vec![Check::ok(
        "membership",
        format!("host {name} of fleet {fleet}"),
    )];
    checks.extend(fleet_log(&crate::link::kept_log(state_dir), now_secs));
    let link = report.and_then(|report| report.link.as_ref());
    if link.is_none() {
        checks.push(running::certificate(member.expires_at_secs(), now_secs));
    }
    if link.is_some_and(|link| link.is_connected) {
        return checks;
    }
    for address in crate::link::addresses(&member, own) {
        checks.extend(reach(&member, &address, now_secs));
    }
    checks
}

/// Who has joined, and whose file others may read, need not join once more.
fn cure_of(cause: &FilesError) -> String {
    if let FilesError::Exposed { path, .. } = cause {
        return format!("chmod 600 {}", path.display());
    }
    "postern-agent join --token-file FILE; to stand alone, access_file in the configuration, or \
     --access-file here as for `run`"
        .to_owned()
}

/// What is kept of the fleet's log, and what has contradicted it lately.
fn fleet_log(kept: &KeptLog, now_secs: u64) -> Option<Check> {
    if let Some(conflict) = &kept.conflict {
        let ago_ms = (now_secs * 1_000).saturating_sub(conflict.found_at_ms);
        if ago_ms < CONFLICT_SHOWN_MS {
            let at = rfc3339_ms(conflict.found_at_ms).unwrap_or_default();
            return Some(Check::warn(
                "fleet log",
                format!("{at}: {}", conflict.reason),
                "an auditor: postern audit verify, and postern audit list --kind audit-conflict; what \
                 this host was shown is in fleet-memory.json",
            ));
        }
    }
    let size = kept.size()?;
    let found = format!("what this host was shown of it, {size} records, is still so");
    Some(Check::ok("fleet log", found))
}

fn reach(member: &Membership, address: &str, now_secs: u64) -> Vec<Check> {
    let addresses: Vec<SocketAddr> = match address.to_socket_addrs() {
        Ok(found) => found.collect(),
        Err(cause) => {
            let found = format!("the name in {address} is not found: {cause}");
            return vec![Check::fail(
                "controller",
                found,
                "check DNS: getent hosts NAME",
            )];
        }
    };
    let listed: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let mut checks = vec![Check::ok(
        "controller",
        format!("{address} is {}", listed.join(", ")),
    )];
    let connected = addresses
        .iter()
        .map(|address| TcpStream::connect_timeout(address, CONNECT_TIMEOUT));
    let mut failures = Vec::new();
    let mut is_reached = false;
    for (tried, address) in connected.zip(&listed) {
        match tried {
            Ok(_) => {
                is_reached = true;
                checks.push(Check::ok("controller", format!("{address} answers")));
                break;
            }
            Err(cause) => failures.push(format!("{address}: {cause}")),
        }
    }
    if !is_reached {
        let found = format!("cannot be reached: {}", failures.join("; "));
        let cure = "does it run, and does a firewall between let this host through?";
        checks.push(Check::fail("controller", found, cure));
        return checks;
    }
    // Connecting would renew a certificate, which is the agent's business.
    if now_secs < member.renew_at_secs() {
        checks.extend(asked(member, address));
    }
    checks
}

/// TLS, and whether the controller takes this host for one of its fleet.
fn asked(member: &Membership, address: &str) -> Vec<Check> {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(cause) => {
            let found = format!("TLS is not tried: {cause}");
            return vec![Check::warn("controller", found, "")];
        }
    };
    let tls = Check::ok("controller", "each knows the other (TLS)");
    match runtime.block_on(known::ask(member, Some(address))) {
        Known::Member => vec![
            tls,
            Check::ok("membership", "the controller knows this host"),
        ],
        Known::Refused(cause) => vec![
            tls,
            Check::failed("membership", &cause, NOT_KNOWN.to_owned()),
        ],
        Known::Unanswered(cause) => {
            let cure = program::Failure::hint(&cause).map(std::borrow::Cow::into_owned);
            vec![Check::failed(
                "controller",
                &cause,
                cure.unwrap_or_default(),
            )]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_membership_that_others_may_read_is_mended_by_its_mode_and_not_by_joining() {
        let path = std::path::PathBuf::from("/s/membership.json");
        let exposed = FilesError::Exposed { path, mode: 0o644 };

        assert_eq!(cure_of(&exposed), "chmod 600 /s/membership.json");
    }
}
