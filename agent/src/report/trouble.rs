//! What keeps the gate from opening anything: in the same words and with the same way out wherever it is told.

use super::Report;

/// One such thing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trouble {
    /// What it is.
    pub found: String,
    /// What to do.
    pub cure: &'static str,
}

/// Of a journal that takes no records.
pub const ROOM: &str =
    "make room on its disk, or make it writable; nothing opens before that, and then by itself";
/// Of a process that does not do its work.
pub const BEGIN_ANEW: &str =
    "who has stopped it, or what does it wait for? systemctl restart postern-agent begins anew";

// === impl Report ===

impl Report {
    /// Everything that keeps this agent from opening what it should; empty while it does.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        let journal = (!self.journal_writable).then(|| Trouble {
            found: match self.journal_fault.as_deref() {
                None | Some("") => "the journal takes no records".to_owned(),
                Some(fault) => format!("the journal takes no records: {fault}"),
            },
            cure: ROOM,
        });
        let silent = self.domains.iter().filter_map(|domain| {
            let (name, trouble) = (&domain.name, domain.trouble()?);
            Some(Trouble {
                found: format!("the process {name} (PID {}) {trouble}", domain.pid),
                cure: BEGIN_ANEW,
            })
        });
        journal.into_iter().chain(silent).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::DomainReport;

    #[test]
    fn a_journal_that_refuses_and_a_process_that_hangs_are_troubles_and_what_works_is_none() {
        let well = Report {
            journal_writable: true,
            domains: vec![DomainReport::new("gate".to_owned(), 7)],
            ..Report::default()
        };
        assert_eq!(well.troubles(), []);

        let mut ill = Report {
            journal_writable: false,
            journal_fault: Some("the disk is full".to_owned()),
            ..well
        };
        ill.domains[0].state = Some("stopped".to_owned());

        let found: Vec<_> = ill.troubles().into_iter().map(|it| it.found).collect();
        assert_eq!(
            found,
            [
                "the journal takes no records: the disk is full",
                "the process gate (PID 7) is stopped"
            ]
        );
    }
}
