//! Answering who asks how the agent is.

use gate::Now;

use super::GateThread;
use crate::firewall::Outlook;
use crate::report::{CaptureReport, DomainReport, FirewallReport, Report};

// === impl GateThread ===

impl GateThread {
    pub(super) fn report(&mut self, now: Now) -> Report {
        let captures = self.host.captures.iter_mut();
        let captures = captures
            .map(|capture| CaptureReport {
                link: capture.link().map(|link| link.name().to_owned()),
                frames: capture.frames(),
                dropped: capture.dropped(),
                counts: capture
                    .counts()
                    .into_iter()
                    .map(|(name, count)| (name.to_owned(), count))
                    .collect(),
                down: capture.down().map(str::to_owned),
                name: capture.name().to_owned(),
            })
            .collect();
        let counters = self.engine.counters();
        let status = self.engine.status();
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: status.generation,
            policy_age_secs: now.wall_secs.saturating_sub(self.regular.policy_since_secs),
            rejected_generation: status.rejected.as_ref().map(|r| r.generation),
            drift: status.drift.clone(),
            locked: status.locked.clone(),
            nat_fault: self.nat_fault(),
            os_faults: self.os_faults(),
            grants_open: counters.engine.grants_open,
            journal_seq: self.host.journal.last_seq(),
            journal_writable: !self.regular.commit_fails,
            journal_fault: self.host.journal.fault().map(str::to_owned),
            floor: self.floor_report(now),
            firewall: self.firewall_report(),
            captures,
            counters: counters
                .named()
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
            policy_not_after_secs: self.regular.policy_not_after_secs,
            grant_latency: self.latency,
            journal: None,
            link: None,
            access_file: None,
            domains: self.domains_report(),
        }
    }

    /// What of the owner's rules would still drop what is opened.
    pub(super) fn note_outlook(&mut self, outlook: Outlook) {
        let Outlook {
            obstacles,
            warnings,
            report,
        } = outlook;
        self.engine.note_obstacles(obstacles);
        self.firewall = report;
        self.warnings = warnings;
        self.note_warnings();
    }

    /// What the controller is told that a person should know: first what keeps everything shut.
    pub(super) fn note_warnings(&mut self) {
        let mut warnings = self.troubles();
        warnings.extend_from_slice(&self.warnings);
        self.engine.note_host(|host| host.warnings = warnings);
    }

    /// What keeps everything shut, in a sentence each, as far as this thread knows.
    fn troubles(&self) -> Vec<String> {
        let known = Report {
            journal_writable: !self.regular.commit_fails,
            journal_fault: self.host.journal.fault().map(str::to_owned),
            domains: self.domains_report(),
            ..Report::default()
        };
        let troubles = known.troubles().into_iter();
        troubles
            .map(|trouble| format!("nothing opens: {}", trouble.found))
            .collect()
    }

    /// The processes of the agent, and whether each does its work.
    fn domains_report(&self) -> Vec<DomainReport> {
        let domains = self.host.domains.iter().cloned();
        let answers = |name: &str| {
            let is_out_of_reach = name == "firewall" && self.regular.is_out_of_reach;
            !is_out_of_reach && !self.silent.iter().any(|silent| silent == name)
        };
        domains
            .map(|domain| DomainReport {
                answers: Some(answers(&domain.name)),
                ..domain
            })
            .collect()
    }

    fn firewall_report(&self) -> FirewallReport {
        let (backend, why) = &self.host.backend;
        let hidden = &self.engine.status().host.protected;
        FirewallReport {
            backend: (*backend).to_owned(),
            why: why.clone(),
            hidden: hidden.iter().map(ToString::to_string).collect(),
            ..self.firewall.clone()
        }
    }
}
