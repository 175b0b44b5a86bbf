//! The policy of a joined host whose journal is an older copy: what it permitted may have been taken
//! back since, and the lock of the host may be missing from it.
//!
//! So it permits nothing until the controller has said what is in force, and hides what it hid. It is
//! kept like that: neither a further start nor a boot brings the old one back.

use gate::FloorReason;
use policy::{Dialect, NoIncludes, PortSet};

use super::error::JournalError;
use super::{Journal, Retention};
use crate::policies::{PolicyText, PolicyVersion};

/// The policy to begin with, in place of the one that is `saved`.
pub(super) fn policy(
    journal: &mut Journal,
    saved: Option<PolicyText>,
    why: FloorReason,
) -> Result<Option<PolicyText>, JournalError> {
    let is_older = matches!(why, FloorReason::SetBack | FloorReason::Lost);
    let is_joined = journal.retention == Retention::UntilAcknowledged;
    let Some(saved) = saved else { return Ok(None) };
    if !(is_older && is_joined) {
        return Ok(Some(saved));
    }
    tracing::error!(
        generation = saved.version.generation,
        "the policy that is kept here may have been replaced since: nothing is permitted until the \
         controller says what is in force; what is hidden stays hidden"
    );
    let hidden = hidden_only(&saved);
    journal.stage_policy(hidden.clone());
    journal.commit()?;
    Ok(Some(hidden))
}

/// A policy that hides the same ports, and permits nothing. Of the same generation, so that no older
/// one is taken; of no text, so that the controller sends its own.
fn hidden_only(saved: &PolicyText) -> PolicyText {
    let parsed = policy::parse_as(Dialect::Compiled, "policy", &saved.text, &NoIncludes);
    let ports = parsed.map_or_else(|_| PortSet::default(), |policy| policy.protected_ports());
    let lines = ports.iter().map(|port| format!("PROTECT {port}\n"));
    PolicyText {
        version: PolicyVersion {
            generation: saved.version.generation,
            ..PolicyVersion::default()
        },
        text: lines.collect::<String>().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_may_have_been_replaced_hides_what_it_hid_and_permits_nothing() {
        let saved = PolicyText {
            version: PolicyVersion {
                generation: 7,
                ..PolicyVersion::default()
            },
            text: "PROTECT tcp/22\nSOURCE ANY\nKEY one\nHMAC_KEY two\nOPEN_PORTS tcp/22\nPROTECT udp/53\n".to_owned().into(),
        };

        let hidden = hidden_only(&saved);

        assert_eq!(*hidden.text, "PROTECT tcp/22\nPROTECT udp/53\n");
        assert_eq!(hidden.version, saved.version);
    }
}
