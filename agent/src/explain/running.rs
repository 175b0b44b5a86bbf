//! Whether the agent that runs here enforces what packets are judged by.

use std::path::{Path, PathBuf};

use policy::Policy;

use crate::commands::control::Unreached;
use crate::commands::status::{self, StatusFailed};
use crate::journal::{FILE_NAME, JournalReader};
use crate::policies;
use crate::report::Report;

/// What the agent says of itself that keeps its state here.
#[derive(Debug)]
pub(super) struct Running {
    report: Result<Report, StatusFailed>,
    /// Of the access file in force, as its journal has it.
    digest: Option<[u8; 32]>,
}

/// Asks it.
pub(super) fn ask(state_dir: &Path) -> Running {
    let journal = JournalReader::look(&state_dir.join(FILE_NAME));
    let in_force = journal.and_then(|journal| journal.access_file());
    Running {
        report: status::fetch(state_dir),
        digest: in_force.ok().flatten().map(|(_, digest)| digest),
    }
}

// === impl Running ===

impl Running {
    /// By which access file it stands alone, if it does.
    pub(super) fn access_file(&self) -> Option<PathBuf> {
        self.report.as_ref().ok()?.access_file.clone()
    }

    /// Of packets that are judged by this access file, as it is now.
    pub(super) fn of_access_file(&self, file: &Path, policy: &Policy) -> Vec<String> {
        let file = file.display();
        let Ok(report) = &self.report else {
            return vec![format!("judged by {file} as it is now; {}", self.silence())];
        };
        let generation = report.generation;
        let is_same = self.digest == Some(policies::digest_of(policy));
        let mut said = vec![if is_same {
            format!(
                "judged by {file}, which the agent that runs here enforces as generation {generation}"
            )
        } else {
            format!(
                "judged by {file} as it is now; the agent that runs here enforces generation \
                 {generation}, which says something else: postern-agent reload"
            )
        }];
        said.extend(locked(report));
        said
    }

    /// Of packets that are judged by this generation of a fleet's policy.
    pub(super) fn of_generation(&self, judged: u64) -> Vec<String> {
        let Ok(report) = &self.report else {
            return vec![format!(
                "judged by generation {judged}, as the journal has it; {}",
                self.silence()
            )];
        };
        let generation = report.generation;
        let mut said = vec![if generation == judged {
            format!("judged by generation {judged}, which the agent that runs here enforces")
        } else {
            format!(
                "judged by generation {judged}, as the journal has it; the agent that runs here \
                 enforces generation {generation}"
            )
        }];
        said.extend(locked(report));
        said
    }

    /// Why nothing is known of an agent.
    fn silence(&self) -> &'static str {
        match self.report {
            Err(StatusFailed::Unreached(Unreached::NoAgent { .. })) => "no agent runs here",
            Err(StatusFailed::Unreached(Unreached::Denied(_))) => {
                "this user may not ask whether an agent runs here"
            }
            Ok(_)
            | Err(
                StatusFailed::Silent { .. } | StatusFailed::Stopped(_) | StatusFailed::Print(_),
            ) => "the agent that runs here did not answer",
        }
    }
}

fn locked(report: &Report) -> Option<String> {
    let reason = report.locked.as_ref()?;
    Some(format!(
        "this host is locked by the controller, and lets nobody in: {reason}"
    ))
}

#[cfg(test)]
mod tests {
    use std::io;

    use policy::{Dialect, NoIncludes};

    use super::*;

    fn policy(text: &str) -> Policy {
        policy::parse_as(Dialect::Alone, "access.conf", text, &NoIncludes).unwrap()
    }

    fn running(report: Report, digest: Option<[u8; 32]>) -> Running {
        Running {
            report: Ok(report),
            digest,
        }
    }

    #[test]
    fn it_is_said_whether_the_running_agent_enforces_what_packets_are_judged_by() {
        let stanza = "SOURCE ANY\nKEY one\nHMAC_KEY two\nOPEN_PORTS tcp/22\n";
        let (before, now) = (policy(stanza), policy(&stanza.replace("22", "80")));
        let report = || Report {
            generation: 3,
            ..Report::default()
        };
        let running = running(report(), Some(policies::digest_of(&before)));
        let file = Path::new("/a.conf");

        let same = running.of_access_file(file, &before);
        assert_eq!(
            same,
            ["judged by /a.conf, which the agent that runs here enforces as generation 3"]
        );
        let other = running.of_access_file(file, &now).concat();
        assert!(
            other.contains("enforces generation 3, which says something else"),
            "{other}"
        );
        assert!(
            running
                .of_generation(3)
                .concat()
                .ends_with("runs here enforces")
        );
        assert!(
            running
                .of_generation(2)
                .concat()
                .ends_with("enforces generation 3")
        );
    }

    #[test]
    fn a_host_that_is_locked_or_has_no_agent_is_said_to_be() {
        let locked = running(
            Report {
                locked: Some("stolen".to_owned()),
                ..Report::default()
            },
            None,
        );
        let absent = Running {
            report: Err(StatusFailed::Unreached(Unreached::NoAgent {
                path: "/x".into(),
                cause: io::ErrorKind::NotFound.into(),
            })),
            digest: None,
        };

        assert!(
            locked
                .of_generation(0)
                .concat()
                .ends_with("lets nobody in: stolen")
        );
        assert!(
            absent
                .of_generation(7)
                .concat()
                .ends_with("; no agent runs here")
        );
        let said = absent.of_access_file(Path::new("/a"), &policy("")).concat();
        assert_eq!(said, "judged by /a as it is now; no agent runs here");
    }
}
