//! What the store keeps and what its operations answer, in words that no engine owns.
//!
//! A conflict is an answer here, not an error: the operation was done right, and what is stored
//! forbids it. An operation that ends in a conflict has written nothing.

use std::collections::BTreeMap;
use std::str::FromStr;

use fleet::{Event, EventKind, EventRecord, Role};
use ipnet::IpNet;
use zeroize::Zeroizing;

/// Whose journal the controller's own events are in. No host may have this name.
pub(crate) const CONTROLLER: &str = "controller";

/// One member, as stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Member {
    /// Begins the serial number of its certificates; never used again.
    pub(crate) id: u64,
    pub(crate) role: Role,
    pub(crate) name: String,
    /// Ed25519 public key.
    pub(crate) identity_key: [u8; 32],
    /// X25519 public key, of hosts and users.
    pub(crate) exchange_key: Option<[u8; 32]>,
    /// Hosts: where users send SPA packets.
    pub(crate) address: String,
    pub(crate) spa_port: u16,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) joined_at_ms: u64,
    pub(crate) banned: bool,
}

/// A member that is to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NewMember {
    pub(crate) role: Role,
    pub(crate) name: String,
    /// Ed25519 public key.
    pub(crate) identity_key: [u8; 32],
    /// X25519 public key, of hosts and users.
    pub(crate) exchange_key: Option<[u8; 32]>,
    /// Hosts: where users send SPA packets.
    pub(crate) address: String,
    pub(crate) spa_port: u16,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) joined_at_ms: u64,
}

/// What a token promises. Never changed once stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Invitation {
    pub(crate) role: Role,
    /// Empty when the joiner proposes its own.
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) created_by: String,
    pub(crate) created_at_ms: u64,
    pub(crate) expires_at_secs: u64,
}

/// A token as stored: its secret is not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct StoredToken {
    pub(crate) invitation: Invitation,
    pub(crate) redemption: Option<Redemption>,
}

/// Who has redeemed a token, and whom it became.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Redemption {
    pub(crate) identity_key: Vec<u8>,
    /// `Member::id`.
    pub(crate) member: u64,
}

/// What a token is worth to one joiner at one time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TokenState {
    /// It may be redeemed.
    Open,
    /// This same joiner has redeemed it, and the answer may have been lost on its way.
    RedeemedBefore {
        /// `Member::id`.
        member: u64,
    },
    /// Somebody else has redeemed it.
    Used,
    Expired,
}

/// What redeeming a token came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum EnrollOutcome {
    /// This call won the token.
    Enrolled(Member),
    /// The same identity had won it before, as this member.
    EnrolledBefore(Member),
    Refused(EnrollConflict),
}

/// Why nobody joined.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EnrollConflict {
    /// The token is none of this fleet's.
    TokenUnknown,
    TokenExpired,
    TokenUsed,
    /// A member of that role has this name; the token is still good.
    NameTaken,
}

/// What a ban came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BanOutcome {
    Banned,
    BannedBefore,
    /// There never was such a member.
    Unknown,
}

/// A host's own word, and when it was last heard.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct HostState {
    pub(crate) applied_generation: u64,
    pub(crate) applied_digest: Vec<u8>,
    /// Why the last policy was not applied; empty when it was.
    pub(crate) rejected: Vec<String>,
    /// How the firewall differs from what it should be; empty when it does not.
    pub(crate) drift: String,
    /// Why its events do not reach the log; empty when they do.
    pub(crate) audit_fault: String,
    pub(crate) agent_version: String,
    pub(crate) last_seen_ms: u64,
}

/// What a host says of the policy it was sent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Acknowledgement {
    pub(crate) generation: u64,
    /// SHA-256 of the text it enforces; empty when it enforces none.
    pub(crate) digest: Vec<u8>,
    /// Why the policy was not applied, each in one line; empty when it was.
    pub(crate) rejected: Vec<String>,
    /// How the firewall differs from what it should be; empty when it does not.
    pub(crate) drift: String,
    /// Why its events do not reach the log; empty when they do.
    pub(crate) audit_fault: String,
}

/// A policy that is to become a generation.
#[derive(Clone, Debug)]
pub(crate) struct NewPolicy {
    /// Sealed by the store: it may hold static keys.
    pub(crate) text: Zeroizing<String>,
    pub(crate) author: String,
    pub(crate) message: String,
    pub(crate) at_ms: u64,
    /// 0 unless it restores an older generation.
    pub(crate) rollback_of: u64,
    pub(crate) stanzas: u32,
    /// What is recorded of it; the store fills in its generation.
    pub(crate) event: Event,
}

/// What is known of one generation, without its text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Generation {
    pub(crate) generation: u64,
    pub(crate) author: String,
    pub(crate) message: String,
    pub(crate) at_ms: u64,
    pub(crate) rollback_of: u64,
    pub(crate) stanzas: u32,
}

/// What applying a policy came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ApplyOutcome {
    Applied {
        generation: u64,
    },
    /// It is based on another generation than the current one.
    Stale {
        current: u64,
    },
}

/// What the database knows at the beginning of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RunBegun {
    /// Packets dated before this cannot be claimed.
    pub(crate) replay_floor_secs: u64,
    /// It is not the database that the last run left.
    pub(crate) restored: bool,
}

/// One host's claim to be the one that grants a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Claim {
    pub(crate) domain: [u8; 32],
    pub(crate) digest: [u8; 32],
    pub(crate) host: String,
    /// The claimant's own number for the packet: the same host with the same number is a retry.
    pub(crate) seq: u64,
    /// Until when it must be remembered; 0 for ever.
    pub(crate) forget_after_secs: u64,
}

/// What a claim came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ClaimOutcome {
    Won,
    /// Won before by the same claimant, whose answer may have been lost.
    WonBefore,
    Lost {
        held_by: String,
    },
}

/// What became of a push of events.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Pushed {
    /// All events up to this one are stored.
    pub(crate) acknowledged_seq: u64,
    /// The first event before which some are missing.
    pub(crate) gap_before: Option<u64>,
    /// The first event whose chain value does not follow from the one before it.
    pub(crate) broken_at: Option<u64>,
}

/// What an auditor asks. Everything that is `Some` must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventFilter {
    pub(crate) user: Option<String>,
    pub(crate) host: Option<String>,
    /// The number in the contract, which may be of a later version.
    pub(crate) kind: Option<i32>,
    /// Source of the packet or address opened.
    pub(crate) address: Option<IpNet>,
    /// Inclusive.
    pub(crate) since_ms: Option<u64>,
    /// Exclusive.
    pub(crate) until_ms: Option<u64>,
    pub(crate) port: Option<Port>,
}

/// A port as events name it, `tcp/22`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Port {
    pub(crate) protocol: PortProtocol,
    pub(crate) number: u16,
}

/// What has ports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PortProtocol {
    Tcp,
    Udp,
}

/// A text that names no port.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is not a port such as tcp/22")]
pub(crate) struct InvalidPort(String);

/// A place between two rows of an answer, in the order of the hosts' own time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Cursor {
    pub(crate) at_ms: u64,
    /// [`LogRow::id`].
    pub(crate) id: u64,
}

/// One row of the fleet's log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LogRow {
    /// In the order of arrival.
    pub(crate) id: u64,
    pub(crate) host: String,
    pub(crate) epoch: String,
    /// Milliseconds since the Unix epoch, by the host's clock.
    pub(crate) at_ms: u64,
    pub(crate) event: EventRecord,
    pub(crate) stored_at_ms: u64,
    /// What is wrong with it; empty for nothing.
    pub(crate) flaw: String,
}

// === impl NewMember ===

impl NewMember {
    /// The member it becomes under this id.
    pub(crate) fn into_member(self, id: u64) -> Member {
        let Self {
            role,
            name,
            identity_key,
            exchange_key,
            address,
            spa_port,
            labels,
            joined_at_ms,
        } = self;
        Member {
            id,
            role,
            name,
            identity_key,
            exchange_key,
            address,
            spa_port,
            labels,
            joined_at_ms,
            banned: false,
        }
    }
}

// === impl StoredToken ===

impl StoredToken {
    /// What it is worth to the joiner with this identity key. The end of its life counts before
    /// who redeemed it.
    pub(crate) fn state(&self, identity_key: &[u8; 32], now_ms: u64) -> TokenState {
        if self.invitation.expires_at_secs <= now_ms / 1000 {
            return TokenState::Expired;
        }
        match &self.redemption {
            None => TokenState::Open,
            Some(redemption) if redemption.identity_key == identity_key => {
                TokenState::RedeemedBefore {
                    member: redemption.member,
                }
            }
            Some(_) => TokenState::Used,
        }
    }
}

// === impl Pushed ===

impl Pushed {
    /// What is to be recorded of a journal that does not hold together, oldest first.
    pub(crate) fn faults(self, host: &str, epoch: &str, now_ms: u64) -> Vec<Event> {
        let faults = [
            (self.gap_before, "events are missing before"),
            (self.broken_at, "the chain is broken at"),
        ];
        let event = |(seq, fault): (Option<u64>, &str)| {
            let mut event = Event::new(EventKind::Drift, now_ms);
            event.reason = format!("journal {epoch} of host {host}: {fault} event {}", seq?);
            Some(event)
        };
        faults.into_iter().filter_map(event).collect()
    }
}

// === impl Port ===

impl FromStr for Port {
    type Err = InvalidPort;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPort(text.to_owned());
        let (protocol, number) = text.split_once('/').ok_or_else(invalid)?;
        let protocol = match protocol {
            "tcp" => PortProtocol::Tcp,
            "udp" => PortProtocol::Udp,
            _ => return Err(invalid()),
        };
        let number = number.parse().map_err(|_| invalid())?;
        Ok(Self { protocol, number })
    }
}

// === impl Cursor ===

impl Cursor {
    /// Before the newest row.
    pub(crate) const NEWEST: Self = Self {
        at_ms: u64::MAX,
        id: u64::MAX,
    };

    /// After `record`.
    pub(crate) fn after(record: &LogRow) -> Self {
        Self {
            at_ms: record.at_ms,
            id: record.id,
        }
    }
}
