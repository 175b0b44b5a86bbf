//! Who belongs to the fleet.

use std::collections::BTreeMap;

use fleet::Role;

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

/// What a ban came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BanOutcome {
    Banned,
    BannedBefore,
    /// There never was such a member.
    Unknown,
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
