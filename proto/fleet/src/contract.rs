//! Which version of the contract a program speaks, and what it can do beyond that, said in every
//! message: in the headers `user-agent` of a request and `server` of an answer (RFC 9110, 10.1.5 and
//! 10.2.4), as a product with a comment: `postern-contract/2 (event-records)`.
//!
//! What is older than this says nothing, which is version 1. Programs of neighbouring versions work
//! together: a field that is not known is ignored or handed on, a capability that the other side does
//! not name is not used.

use std::collections::BTreeSet;
use std::fmt;

/// Metadata of a refusal for a time that is not now (of a certificate, of a signature): the
/// controller's clock, seconds since the Unix epoch, decimal.
pub const CONTROLLER_TIME: &str = "postern-controller-time";

/// Metadata of a refusal because of the controller's database: [`DATABASE_AWAY`], [`DATABASE_IN_DOUBT`].
pub const DATABASE: &str = "postern-database";

/// It cannot be reached now; nothing was changed.
pub const DATABASE_AWAY: &str = "away";

/// It went away while it was changed: nobody knows whether the change was made.
pub const DATABASE_IN_DOUBT: &str = "in-doubt";

/// Metadata of a refusal for what became of a membership: [`MEMBERSHIP_ENDED`], [`AUTHORITY_UNKNOWN`].
pub const MEMBERSHIP: &str = "postern-membership";

/// The controller issued the key once, and it belongs to nobody any more.
pub const MEMBERSHIP_ENDED: &str = "ended";

/// The certificate is of an authority that the controller does not know, or no longer: a member that
/// knows the controller renews it.
pub const AUTHORITY_UNKNOWN: &str = "authority-unknown";

/// The version of the contract that this program speaks.
pub const CONTRACT_VERSION: u32 = 2;

/// The product that names the contract in a header.
const PRODUCT: &str = "postern-contract/";

/// Something that only one side needs to know of the other.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Capability {
    /// Whoever keeps the key that signs the log follows from it to the one of now.
    AuditSuccession,
    /// The log is asked for several users, hosts and kinds, for generation, actor and request, and
    /// followed; names that nobody knows are refused.
    AuditFilters,
    /// Members keep a list of the fleet's controllers, and go on at another where one does not answer.
    Controllers,
    /// Events travel as [`EventRecord`](crate::EventRecord)s: the bytes that were chained.
    EventRecords,
    /// Policies travel packed, and not at all to a host that has the text: it hears until when that is
    /// good.
    PackedPolicy,
    /// Hosts keep the pass of their last session, and begin a new journal when they are told to.
    SessionPass,
    /// Members keep a [`TrustSet`](crate::wire::TrustSet), and take certificates of any authority in it.
    TrustSet,
}

/// What one side says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Contract {
    /// From 1.
    pub version: u32,
    /// Also those of later versions, by name.
    capabilities: BTreeSet<String>,
}

// === impl Capability ===

impl Capability {
    /// Everything that this program can do.
    pub const ALL: [Self; 7] = [
        Self::AuditSuccession,
        Self::AuditFilters,
        Self::Controllers,
        Self::EventRecords,
        Self::PackedPolicy,
        Self::SessionPass,
        Self::TrustSet,
    ];

    /// Kebab-case name, as in the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuditSuccession => "audit-succession",
            Self::AuditFilters => "audit-filters",
            Self::Controllers => "controllers",
            Self::EventRecords => "event-records",
            Self::PackedPolicy => "packed-policy",
            Self::SessionPass => "session-pass",
            Self::TrustSet => "trust-set",
        }
    }
}

// === impl Contract ===

impl Contract {
    /// What this program says.
    pub fn of_this_program() -> Self {
        Self {
            version: CONTRACT_VERSION,
            capabilities: Capability::ALL
                .map(|capability| capability.as_str().to_owned())
                .into(),
        }
    }

    /// What the other side said in its header; version 1 when it said nothing, or nothing that can
    /// be read.
    pub fn of_header(header: Option<&str>) -> Self {
        let said = header.and_then(|header| header.split_once(PRODUCT));
        let Some((_, said)) = said else {
            return Self::version_1();
        };
        let (version, rest) = said.split_once(' ').unwrap_or((said, ""));
        let Ok(version) = version.parse() else {
            return Self::version_1();
        };
        let comment = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let (names, _) = comment.unwrap_or_default();
        Self {
            version,
            capabilities: names.split_whitespace().map(str::to_owned).collect(),
        }
    }

    /// Whether the other side can do this.
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(capability.as_str())
    }

    /// What this program can do and the other side cannot.
    pub fn lacks(&self) -> impl Iterator<Item = Capability> {
        let all = Capability::ALL.into_iter();
        all.filter(|capability| !self.can(*capability))
    }

    fn version_1() -> Self {
        Self {
            version: 1,
            capabilities: BTreeSet::new(),
        }
    }
}

/// As it stands in a header.
impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.capabilities.iter().map(String::as_str).collect();
        write!(f, "{PRODUCT}{} ({})", self.version, names.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_program_says_is_understood() {
        let said = format!("postern/0.1.0 {} tonic/0.14.9", Contract::of_this_program());

        let heard = Contract::of_header(Some(&said));

        assert_eq!(heard, Contract::of_this_program());
        assert!(heard.can(Capability::EventRecords));
    }

    #[test]
    fn what_is_lacking_is_what_this_program_can_do_and_the_other_side_does_not_name() {
        let newer = Contract::of_header(Some("postern-contract/3 (session-pass zstd)"));

        let lacks: Vec<_> = newer.lacks().collect();

        let others = |can: &Capability| *can != Capability::SessionPass;
        let expected = Capability::ALL.into_iter().filter(others);
        assert_eq!(lacks, expected.collect::<Vec<_>>());
        assert_eq!(Contract::of_this_program().lacks().count(), 0);
        assert_eq!(
            Contract::of_header(None).lacks().count(),
            Capability::ALL.len()
        );
    }

    #[test]
    fn whoever_says_nothing_that_can_be_read_is_version_1() {
        for said in [
            None,
            Some(""),
            Some("postern/0.1.0 tonic/0.14.9"),
            Some("postern-contract/"),
            Some("postern-contract/x (event-records)"),
            Some("postern-contract/-1"),
        ] {
            let heard = Contract::of_header(said);
            assert_eq!(heard.version, 1, "{said:?}");
            assert!(!heard.can(Capability::EventRecords), "{said:?}");
        }
    }

    #[test]
    fn capabilities_of_a_later_version_are_no_obstacle() {
        let said = "postern-contract/9 (deltas event-records zstd) curl/8 (event)";
        let heard = Contract::of_header(Some(said));

        assert_eq!(heard.version, 9);
        assert!(heard.can(Capability::EventRecords));
        let without = Contract::of_header(Some("postern-contract/9 tonic/0.14 (event-records)"));
        assert!(!without.can(Capability::EventRecords));
    }
}
