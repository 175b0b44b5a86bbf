//! What a process of the agent can do, as the kernel says it: read in `/proc`, and not believed of
//! anybody.

use std::fs;
use std::io::ErrorKind;

use caps::Capability;

use crate::report::DomainReport;

/// Looks at each process; what is gone, or may not be looked at, stays unknown.
pub fn look(domains: &mut [DomainReport]) {
    for domain in domains {
        match fs::read_to_string(format!("/proc/{}/status", domain.pid)) {
            Ok(status) => note(domain, &status),
            Err(cause) if cause.kind() == ErrorKind::NotFound && is_ours_to_see() => {
                domain.state = Some("gone".to_owned());
            }
            Err(_) => {}
        }
    }
}

/// Whether the kernel says of this process that it was stopped.
pub fn is_stopped(pid: i32) -> bool {
    let mut domain = [DomainReport::new(String::new(), pid)];
    look(&mut domain);
    domain
        .iter()
        .any(|it| it.state.as_deref() == Some("stopped"))
}

/// Whether processes of others are shown here (`hidepid`, another PID namespace).
fn is_ours_to_see() -> bool {
    fs::exists("/proc/1/status").unwrap_or(false) && nix::unistd::geteuid().is_root()
}

/// Takes in what a status of `/proc` says; pure.
fn note(domain: &mut DomainReport, status: &str) {
    let field = |key: &str| {
        let mut lines = status.lines().filter_map(|line| line.split_once(':'));
        lines.find_map(|(name, value)| (name == key).then(|| value.trim()))
    };
    domain.state = match field("State").and_then(|state| state.chars().next()) {
        Some('T' | 't') => Some("stopped".to_owned()),
        Some('Z' | 'X') => Some("gone".to_owned()),
        Some(_) | None => None,
    };
    let words = field("Uid").unwrap_or_default();
    // The effective one is the second.
    domain.uid = words
        .split_whitespace()
        .nth(1)
        .and_then(|uid| uid.parse().ok());
    let bits = field("CapEff").and_then(|bits| u64::from_str_radix(bits, 16).ok());
    domain.capabilities = bits.map(names);
    domain.no_new_privileges = field("NoNewPrivs").map(|value| value == "1");
    // 1 is the strict mode, 2 a filter.
    domain.seccomp = field("Seccomp").map(|value| value != "0");
}

/// The capabilities behind a mask, in the order of their numbers.
fn names(bits: u64) -> Vec<String> {
    let mut held: Vec<Capability> = caps::all()
        .into_iter()
        .filter(|one| bits & one.bitmask() != 0)
        .collect();
    held.sort_by_key(Capability::index);
    held.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_process_is_read_and_what_it_does_not_say_stays_unknown() {
        let status = "Name:\tpostern-agent\nUid:\t0\t65534\t0\t0\nCapEff:\t0000000000003000\n\
                      NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t2\n";
        let mut seen = DomainReport::new("capture".to_owned(), 7);

        note(&mut seen, status);

        assert_eq!(seen.uid, Some(65_534));
        let held = ["CAP_NET_ADMIN", "CAP_NET_RAW"].map(str::to_owned);
        assert_eq!(seen.capabilities, Some(held.to_vec()));
        assert_eq!(
            (seen.no_new_privileges, seen.seccomp),
            (Some(true), Some(true))
        );
        note(&mut seen, "Uid:\nCapEff:\tx\n");
        assert_eq!(seen, DomainReport::new("capture".to_owned(), 7));
        note(&mut seen, "State:\tT (stopped)\n");
        assert_eq!(seen.trouble().as_deref(), Some("is stopped"));
        note(&mut seen, "State:\tS (sleeping)\n");
        assert_eq!(seen.trouble(), None);
    }

    #[test]
    fn of_this_process_all_of_it_is_known() {
        let pid = std::process::id().cast_signed();
        let mut seen = [DomainReport::new("gate".to_owned(), pid)];

        look(&mut seen);

        assert_eq!(seen[0].uid, Some(nix::unistd::geteuid().as_raw()));
        assert!(seen[0].capabilities.is_some() && seen[0].seccomp.is_some());
    }
}
