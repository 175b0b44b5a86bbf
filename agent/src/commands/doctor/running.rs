//! What the running agent says of itself.

use super::check::Check;
use crate::commands::control::Unreached;
use crate::commands::local::said;
use crate::commands::status::StatusFailed;
use crate::link_state::MEMBERSHIP_ENDED;
use crate::report::{
    BEGIN_ANEW, CaptureReport, DomainReport, FirewallReport, LinkReport, ObstacleReport, ROOM,
    Report,
};

/// A certificate is renewed at half life, after 12 hours: one that is nearer to its end was not.
const CERTIFICATE_SECS_MIN: u64 = 6 * 3_600;
/// A policy that ends sooner than this was not renewed for long.
const POLICY_SECS_MIN: u64 = 24 * 3_600;
/// Events that have waited for longer do not reach the controller.
const UNACKNOWLEDGED_SECS_MAX: u64 = 300;

const RUN_IT: &str = "systemctl status postern-agent; journalctl -u postern-agent";

/// Whether an agent runs, and which. One that has never run here is none that has stopped.
pub(super) fn agent(report: &Result<Report, StatusFailed>, has_run: bool) -> Vec<Check> {
    let ours = env!("CARGO_PKG_VERSION");
    vec![match report {
        Ok(Report { version, .. }) if version != ours => Check::warn(
            "agent",
            format!("version {version} runs, and this program is version {ours}"),
            "restart the agent: systemctl restart postern-agent",
        ),
        Ok(Report { version, .. }) => Check::ok("agent", format!("version {version} runs")),
        Err(StatusFailed::Unreached(Unreached::NoAgent { .. })) => {
            let found = "no agent runs: nobody is let in, and what is hidden stays hidden";
            if has_run {
                Check::fail("agent", found, RUN_IT)
            } else {
                Check::warn("agent", found, RUN_IT)
            }
        }
        Err(StatusFailed::Unreached(denied @ Unreached::Denied(_))) => {
            Check::failed("agent", denied, RUN_IT)
        }
        Err(silent @ StatusFailed::Silent { .. }) => Check::failed("agent", silent, BEGIN_ANEW),
        Err(other @ (StatusFailed::Stopped(_) | StatusFailed::Print(_))) => {
            Check::failed("agent", other, RUN_IT)
        }
    }]
}

/// Everything else that it says.
pub(super) fn all(report: &Report, now_secs: u64) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.extend(report.captures.iter().map(capture));
    checks.push(processes(&report.domains));
    checks.extend(firewall(report));
    checks.push(policy(report, now_secs));
    checks.extend(journal(report));
    if let Some(link) = &report.link {
        checks.push(session(link));
        checks.push(certificate(link.certificate_expires_secs, now_secs));
    }
    if report.floor.ends_in_secs > 0 {
        let (left, why) = (said(report.floor.ends_in_secs), &report.floor.reason);
        checks.push(Check::warn(
            "floor",
            format!("older packets are refused for another {left}: {why}"),
            "it passes; if only the clock was wrong: postern-agent floor reset",
        ));
    }
    checks
}

/// Whether what has the keys has no power, and what reads strangers' bytes few.
fn processes(domains: &[DomainReport]) -> Check {
    const SPLIT: &str = "separation = true, as root and not in a dry run, keeps them apart";
    if domains.is_empty() {
        let one = "capture, keys and packet filter are in one process";
        return Check::warn("processes", one, SPLIT);
    }
    let silent: Vec<String> = domains
        .iter()
        .filter_map(|domain| Some(format!("{} {}", domain.name, domain.trouble()?)))
        .collect();
    if !silent.is_empty() {
        return Check::fail("processes", silent.join(", "), BEGIN_ANEW);
    }
    let runs_commands = |domain: &&DomainReport| domain.name != "command";
    let is_loose = |domain: &&DomainReport| {
        let has_powers = domain.name == "gate" && domain.capabilities.iter().any(|c| !c.is_empty());
        has_powers || domain.seccomp == Some(false) || domain.no_new_privileges == Some(false)
    };
    let loose: Vec<&str> = domains
        .iter()
        .filter(runs_commands)
        .filter(is_loose)
        .map(|domain| domain.name.as_str())
        .collect();
    if loose.is_empty() {
        let names: Vec<&str> = domains.iter().map(|domain| domain.name.as_str()).collect();
        return Check::ok("processes", names.join(", "));
    }
    Check::warn(
        "processes",
        format!("{} can do more than it needs", loose.join(", ")),
        "its first lines in the log say what could not be given up: journalctl -u postern-agent",
    )
}

fn capture(capture: &CaptureReport) -> Check {
    let CaptureReport {
        name,
        link: _,
        frames,
        dropped,
        counts,
        down,
    } = capture;
    match (down, dropped) {
        (Some(why), _) => Check::fail(
            "capture",
            format!("nothing comes from {name}: {why}"),
            cure_of(name),
        ),
        (None, _) if counted(counts, "files_damaged") > 0 => Check::warn(
            "capture",
            format!("{name} had no record where one should be; it was read on behind that"),
            "rotate it by renaming and a signal to its writer, never by copytruncate",
        ),
        (None, _) if counted(counts, "connections_crowded_out") > 0 => Check::warn(
            "capture",
            format!("{name}: connections had to give way to others before they said anything"),
            "who connects so often? let only those networks in whose people knock over TCP",
        ),
        // What the host's own rules do not let in or hand out never comes here.
        (None, 0) if *frames == 0 && is_behind_rules(name) => Check::warn(
            "capture",
            format!("nothing has come from {name} yet"),
            cure_of(name),
        ),
        (None, 1..) => Check::warn(
            "capture",
            format!("{name}: {dropped} packets lost since the start, {frames} seen"),
            "a larger buffer_mib, or a filter that lets less through",
        ),
        (None, 0) => Check::ok("capture", format!("{name}: {frames} packets, none lost")),
    }
}

fn counted(counts: &[(String, u64)], wanted: &str) -> u64 {
    let mut found = counts.iter().filter(|(name, _)| name == wanted);
    found.next().map_or(0, |(_, count)| *count)
}

/// Whether what comes to a capture of this name has passed rules of the host.
fn is_behind_rules(name: &str) -> bool {
    ["nflog:", "tcp ", "udp "]
        .iter()
        .any(|kind| name.starts_with(kind))
}

/// What to look at when nothing comes from there.
fn cure_of(name: &str) -> String {
    let port = name.rsplit(':').next().unwrap_or_default();
    match name.split_once([' ', ':']) {
        Some(("nflog", group)) => format!(
            "does a rule hand packets out? nft add rule inet filter input udp dport 62201 log group \
             {group} queue-threshold 1; iptables -I INPUT -p udp --dport 62201 -j NFLOG \
             --nflog-group {group}"
        ),
        Some((kind @ ("tcp" | "udp"), _)) => format!(
            "a socket sees what this host's own rules let in: do they accept {kind}/{port}? Does a \
             client send there?"
        ),
        Some(_) | None if name.starts_with('/') => {
            "it is tried again; does its writer run, and may it be read?".to_owned()
        }
        Some(_) | None => "it is tried again; is the name right? ip link".to_owned(),
    }
}

fn firewall(report: &Report) -> Vec<Check> {
    let FirewallReport {
        backend,
        why,
        recognised: _,
        hidden,
        published: _,
        hooks,
        obstacles,
        blocked_sources: _,
        unseen,
        marks,
    } = &report.firewall;
    let mut checks = vec![Check::ok("firewall", format!("{backend}: {why}"))];
    let mut domains = report.domains.iter();
    if domains.any(|domain| domain.name == "firewall" && domain.is_silent()) {
        // What it said before may be otherwise by now: of nothing it is said that it is well.
        let wanted = if hidden.is_empty() {
            "nothing is to be hidden".to_owned()
        } else {
            format!("{} is to be hidden", hidden.join(", "))
        };
        checks.push(Check::fail(
            "drift",
            format!("not known: the process that looks after our rules does not answer; {wanted}"),
            "nft list ruleset, or iptables-save, shows what is there",
        ));
        return checks;
    }
    if !hidden.is_empty() {
        checks.push(Check::ok("hidden", hidden.join(", ")));
    }
    checks.push(match &report.drift {
        None => Check::ok("drift", "our rules are as they should be"),
        Some(drift) => Check::warn(
            "drift",
            drift.clone(),
            "it was repaired; who changes our rules? postern-agent audit --kind drift",
        ),
    });
    if !hooks.is_empty() {
        checks.push(Check::ok("hooks", hooks.join(", ")));
    }
    checks.extend(obstacles.iter().map(obstacle));
    checks.extend(unseen.iter().map(|what| {
        let cure = "a grant may be dropped there without a word";
        Check::warn("obstacles", format!("not seen: {what}"), cure)
    }));
    if obstacles.is_empty() && unseen.is_empty() {
        checks.push(Check::ok(
            "obstacles",
            "nothing of the owner's drops what is opened",
        ));
    }
    checks.extend(
        marks
            .iter()
            .map(|mark| Check::warn("marks", mark.clone(), "")),
    );
    if let Some(fault) = &report.nat_fault {
        checks.push(Check::warn("nat", fault.clone(), ""));
    }
    checks.extend(report.os_faults.iter().map(|fault| {
        let cure = "signatures stand in the file os_signatures of agent.toml; postern-agent syns shows \
                    what clients send";
        Check::warn("os", fault.clone(), cure)
    }));
    checks
}

/// A rule of the owner's that drops what is opened.
pub(super) fn obstacle(obstacle: &ObstacleReport) -> Check {
    let ObstacleReport {
        rule,
        services,
        is_certain,
        cure,
    } = obstacle;
    let found = format!("{rule}\nfor {}", services.join(", "));
    let check = if *is_certain {
        Check::fail("obstacles", format!("drops what is opened: {found}"), "")
    } else {
        Check::warn("obstacles", format!("may drop what is opened: {found}"), "")
    };
    check.with_cures(cure.clone())
}

fn policy(report: &Report, now_secs: u64) -> Check {
    let generation = report.generation;
    let ends = report.policy_not_after_secs;
    if let Some(reason) = &report.locked {
        let cure = if reason == MEMBERSHIP_ENDED {
            "with a new token of an operator's: postern-agent join --token-file FILE --force"
        } else {
            "an operator has to unlock it: postern member unlock host/NAME"
        };
        return Check::fail("policy", format!("this host is locked: {reason}"), cure);
    }
    if let Some(rejected) = report.rejected_generation {
        return Check::fail(
            "policy",
            format!("generation {rejected} cannot be used here, {generation} is in force"),
            "postern-agent audit --kind policy-rejected says why",
        );
    }
    if generation == 0 {
        let cure = "does a stanza of the policy select this host? postern policy render HOST";
        return Check::warn("policy", "none yet: nobody is let in", cure);
    }
    let age = said(report.policy_age_secs);
    let found = format!("generation {generation}, in force for {age}");
    match ends.checked_sub(now_secs) {
        _ if ends == 0 => Check::ok("policy", found),
        None => Check::fail(
            "policy",
            format!("{found}; it has ended by itself: nobody is let in"),
            "the controller renews it as soon as it is reached",
        ),
        Some(left) if left < POLICY_SECS_MIN => Check::warn(
            "policy",
            format!("{found}; it ends by itself in {}", said(left)),
            "the controller renews it as soon as it is reached",
        ),
        Some(left) => Check::ok(
            "policy",
            format!("{found}; ends by itself in {}", said(left)),
        ),
    }
}

fn journal(report: &Report) -> Option<Check> {
    if !report.journal_writable {
        let fault = report.journal_fault.clone().unwrap_or_default();
        return Some(Check::fail(
            "journal",
            format!("takes no records: {fault}"),
            ROOM,
        ));
    }
    let journal = report.journal.as_ref()?;
    (journal.oldest_unacknowledged_secs > UNACKNOWLEDGED_SECS_MAX).then(|| {
        let (count, secs) = (journal.unacknowledged, journal.oldest_unacknowledged_secs);
        Check::warn(
            "events",
            format!(
                "{count} wait for the controller, the oldest for {}",
                said(secs)
            ),
            "none is lost; see the controller below",
        )
    })
}

fn session(link: &LinkReport) -> Check {
    let (controller, since) = (&link.controller, said(link.since_secs));
    if link.is_connected {
        return Check::ok("session", format!("with {controller} for {since}"));
    }
    let why = match link.error.as_str() {
        "" => "not tried yet",
        error => error,
    };
    Check::fail(
        "session",
        format!("none with {controller} for {since}: {why}"),
        "the last policy is enforced until it ends; see the controller below",
    )
}

/// Of a certificate that is over then, seconds since the Unix epoch; 0 when there is none.
pub(super) fn certificate(expires_secs: u64, now_secs: u64) -> Check {
    let cure = "it is renewed by itself when the controller is reached";
    match expires_secs.checked_sub(now_secs) {
        _ if expires_secs == 0 => Check::warn("certificate", "none yet", cure),
        None => {
            let ago = said(now_secs.saturating_sub(expires_secs));
            Check::warn("certificate", format!("over since {ago}"), cure)
        }
        Some(left) if left < CERTIFICATE_SECS_MIN => {
            Check::warn("certificate", format!("over in {}", said(left)), cure)
        }
        Some(left) => Check::ok("certificate", format!("over in {}", said(left))),
    }
}

#[cfg(test)]
mod tests;
