//! Who belongs to the fleet, and with which keys.

use std::collections::BTreeMap;

use fleet::Role;
use sha2::{Digest as _, Sha256};

use super::{CONTROLLER, Scope};

/// The name of a key that nobody gave one.
pub(crate) const KEY_DEFAULT: &str = "default";

/// One member, as stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Member {
    /// Never used again: a name that is given to somebody else is another member.
    pub(crate) id: u64,
    pub(crate) role: Role,
    pub(crate) name: String,
    /// Hosts: where users send SPA packets.
    pub(crate) address: String,
    pub(crate) spa_port: u16,
    /// Hosts: by what else users reach them, besides `address`.
    pub(crate) more_addresses: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// The hosts that are its business; hosts and users have no such bounds.
    pub(crate) scope: Scope,
    pub(crate) joined_at_ms: u64,
    /// It may do nothing with any of its keys.
    pub(crate) lock: Option<Lock>,
    /// By name; never empty. Users may have several, all others have one.
    pub(crate) keys: Vec<MemberKey>,
}

/// What one device of a member proves itself with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct MemberKey {
    /// Begins the serial number of its certificates; never used again.
    pub(crate) id: u64,
    pub(crate) name: String,
    /// Ed25519 public key.
    pub(crate) identity_key: [u8; 32],
    /// X25519 public key, of hosts and users.
    pub(crate) exchange_key: Option<[u8; 32]>,
    pub(crate) joined_at_ms: u64,
    /// When a certificate was last issued for it.
    pub(crate) renewed_at_ms: u64,
    /// This key may do nothing.
    pub(crate) lock: Option<Lock>,
    /// Under which names certificates of this key were made, before its member had another.
    pub(crate) former_names: Vec<(Role, String)>,
    /// What it knows of the fleet's authorities.
    pub(crate) knows: KnownAuthorities,
    /// `MemberKey::id` of the one that it is to replace; `None` of a key that replaces none.
    pub(crate) follows: Option<u64>,
    /// When its member was asked for a new one, which it has not made yet.
    pub(crate) rotation_asked_ms: Option<u64>,
}

/// What is known of a key's knowledge of authorities; each is named by the SHA-256 of its certificate.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct KnownAuthorities {
    /// Those that it keeps, durably. Empty where its program keeps one for ever.
    pub(crate) kept: Vec<[u8; 32]>,
    /// The one that issued its newest certificate; `None` where that is not known.
    pub(crate) issuer: Option<[u8; 32]>,
}

/// Since when, why, and by whom something is locked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Lock {
    pub(crate) at_ms: u64,
    /// For people; may be empty.
    pub(crate) reason: String,
    /// As events name an actor: `operator/mbr`.
    pub(crate) by: String,
}

/// A member that is to be, or a key that a member is to have.
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
    /// As of a [`Member`].
    pub(crate) scope: Scope,
    pub(crate) joined_at_ms: u64,
    /// What it knows with the certificate that it is given now.
    pub(crate) knows: KnownAuthorities,
}

// === impl Lock ===

impl Lock {
    /// What stands in the place of the lock of a row that something else than the controller has written:
    /// nobody is let in by it.
    pub(crate) fn of_altered() -> Self {
        Self {
            at_ms: 0,
            reason: "its row in the database was changed by something else than the controller"
                .to_owned(),
            by: CONTROLLER.to_owned(),
        }
    }

    /// Whether it is that.
    pub(crate) fn is_of_altered(&self) -> bool {
        *self == Self::of_altered()
    }
}

// === impl MemberKey ===

impl MemberKey {
    /// Names it for people: SHA-256 of the identity key, the first 16 bytes in hexadecimal.
    pub(crate) fn fingerprint(&self) -> String {
        Self::fingerprint_of(&self.identity_key)
    }

    /// The same, of a key that nobody has yet.
    pub(crate) fn fingerprint_of(identity_key: &[u8; 32]) -> String {
        let hash: [u8; 32] = Sha256::digest(identity_key).into();
        let (named, _) = hash.split_at(16);
        hex::encode(named)
    }
}

// === impl Member ===

impl Member {
    /// The key with this id.
    pub(crate) fn key(&self, id: u64) -> Option<&MemberKey> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// The key with this name.
    pub(crate) fn key_named(&self, name: &str) -> Option<&MemberKey> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The keys that follow no other one.
    pub(crate) fn devices(&self) -> impl Iterator<Item = &MemberKey> {
        self.keys.iter().filter(|key| key.follows.is_none())
    }

    /// The keys with which it may do something.
    pub(crate) fn active_keys(&self) -> impl Iterator<Item = &MemberKey> {
        let keys = self.keys.iter().filter(|key| key.lock.is_none());
        keys.filter(|_| self.lock.is_none())
    }

    /// Whether it may do anything at all.
    pub(crate) fn is_active(&self) -> bool {
        self.active_keys().next().is_some()
    }

    /// Every address by which users reach a host, the first one first.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        let more = self.more_addresses.iter().map(String::as_str);
        std::iter::once(self.address.as_str()).chain(more)
    }

    /// The X25519 public key of a host, which has one key.
    pub(crate) fn exchange_key(&self) -> Option<[u8; 32]> {
        self.keys.first().and_then(|key| key.exchange_key)
    }
}
