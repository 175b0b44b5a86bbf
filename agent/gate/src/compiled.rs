//! A policy made ready for the gate: keys precomputed once, stanzas grouped by key.

mod build;
mod keyrings;
mod tags;

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;
use ipnet::IpNet;
use policy::{Policy, SpaPort, Stanza};
use spa::{
    Decrypt, DigestType, Envelope, Fingerprint, InvalidKey, OpeningKey, SequenceKey, Signer, TagKey,
};

pub use keyrings::{Keyrings, NoKeyrings};
pub(crate) use tags::{SPAN_SECS, TagTable, Tags};

/// A compiled policy. Built beside the gate's thread and swapped in whole.
///
/// Holds one [`OpeningKey`] and about 200 bytes for each key, and shares the stanzas with the
/// policy.
pub struct CompiledPolicy {
    policy: Arc<Policy>,
    generation: u64,
    not_after_secs: Option<u64>,
    claim_floor_secs: u64,
    /// Sorted by port and shape, so that the keys to try for a packet stand together.
    keys: Box<[OpeningKey]>,
    /// What else is known of each key, at the same index.
    entries: Box<[Entry]>,
    /// In the order of the keys.
    shapes: Box<[Shape]>,
    /// Ports that some stanza has taken for itself, sorted.
    taken_ports: Box<[NonZeroU16]>,
    by_fingerprint: HashMap<Fingerprint, KeyIndex>,
    /// Whether any key has networks of its own.
    narrowed: bool,
    /// What DESTINATION of any stanza names.
    destinations: Box<[IpNet]>,
    /// The tags of the buckets around the time of building, to start with.
    tags: Vec<Arc<TagTable>>,
}

/// Whether static keys verify on other hosts too, so that their messages must be claimed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SharedKeys {
    /// This host stands alone.
    #[default]
    None,
    /// Every static key may be on any host of the fleet.
    AllStatic,
}

/// A policy that cannot be enforced on this host.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CompileError {
    /// A stanza without KEY has not been compiled for its users.
    #[error("stanza {stanza}: no KEY; a stanza without one needs a controller")]
    NoKey {
        /// What people call it.
        stanza: String,
    },
    /// A stanza for a user's public key, on a host without a key of its own.
    #[error("stanza {stanza}: USER_PUBLIC_KEY needs a host that has joined a fleet")]
    NoIdentity {
        /// What people call it.
        stanza: String,
    },
    /// The keyring that GPG_* of a stanza names gives nothing that opens packets.
    #[error("stanza {stanza}: GPG: {why}")]
    Keyring {
        /// What people call it.
        stanza: String,
        /// Why, in words.
        why: String,
    },
    /// A user's public key gives no keys.
    #[error("stanza {stanza}: USER_PUBLIC_KEY")]
    Key {
        /// What people call it.
        stanza: String,
        /// Why.
        #[source]
        cause: InvalidKey,
    },
}

/// The place of a key in its compiled policy.
pub(crate) type KeyIndex = u32;

struct Entry {
    fingerprint: Fingerprint,
    domain: [u8; 32],
    tag_key: Option<TagKey>,
    /// For knock sequences, where a stanza of the policy takes them.
    sequence_key: Option<SequenceKey>,
    /// For packets that OpenPGP wraps.
    open_pgp: Option<Keyring>,
    /// Whether its messages must be claimed.
    shared: bool,
    /// Indices into the policy's stanzas, in the order of the text; never empty.
    stanzas: Box<[u32]>,
    /// The SOURCE networks of all its stanzas; `None` for any.
    networks: Option<Box<[IpNet]>>,
    /// What DESTINATION of its stanzas names.
    destinations: Box<[IpNet]>,
}

/// What opens packets that OpenPGP wraps.
struct Keyring {
    decryptor: Arc<dyn Decrypt>,
    signers: Box<[Signer]>,
}

/// The keys whose packets come to one port and have one shape.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// `Any` for keys of several stanzas with different ports.
    pub(crate) port: SpaPort,
    pub(crate) envelope: Envelope,
    pub(crate) hmac: Option<DigestType>,
    pub(crate) keys: Range<KeyIndex>,
    /// The price of one trial, in units of the budget; `None` where each key has its own, because what
    /// OpenPGP wraps is decrypted by trying.
    pub(crate) units: Option<u64>,
}

// === impl CompiledPolicy ===

impl CompiledPolicy {
    /// Sets the date after which the policy grants nothing, seconds since the epoch; 0 for none.
    #[must_use]
    pub fn with_not_after_secs(mut self, not_after_secs: u64) -> Self {
        self.not_after_secs = (not_after_secs > 0).then_some(not_after_secs);
        self
    }

    /// Sets the date before which messages of shared keys are refused, seconds since the epoch: the
    /// fleet's replay list does not reach further back.
    #[must_use]
    pub fn with_claim_floor_secs(mut self, claim_floor_secs: u64) -> Self {
        self.claim_floor_secs = claim_floor_secs;
        self
    }

    /// Returns the generation of the policy.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns the policy that it was made from.
    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Returns the number of different keys.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn is_past_its_date(&self, now_secs: u64) -> bool {
        self.not_after_secs
            .is_some_and(|not_after_secs| now_secs > not_after_secs)
    }

    /// Returns what the policy makes of the port that a packet came to; 0 for a packet without ports.
    pub(crate) fn port(&self, number: u16) -> SpaPort {
        NonZeroU16::new(number)
            .filter(|port| self.taken_ports.binary_search(port).is_ok())
            .map_or(SpaPort::Common, SpaPort::Taken)
    }

    /// Returns the keys whose packets may come to this port, by shape.
    pub(crate) fn shapes_at(&self, port: SpaPort) -> impl Iterator<Item = &Shape> + Clone {
        let all = &*self.shapes;
        let (anywhere, elsewhere) =
            all.split_at(all.partition_point(|shape| shape.port == SpaPort::Any));
        let here = if port == SpaPort::Any {
            elsewhere
        } else {
            let start = elsewhere.partition_point(|shape| shape.port < port);
            let end = elsewhere.partition_point(|shape| shape.port <= port);
            elsewhere.get(start..end).unwrap_or_default()
        };
        anywhere.iter().chain(here)
    }

    /// Returns the keys of one shape that some stanza allows for this source.
    pub(crate) fn candidates(
        &self,
        shape: &Shape,
        source: Option<IpAddr>,
    ) -> impl Iterator<Item = KeyIndex> + '_ {
        let source = source.filter(|_| self.narrowed);
        shape.keys.clone().filter(move |&key| {
            source.is_none_or(|source| {
                self.entry(key)
                    .networks
                    .as_ref()
                    .is_none_or(|networks| networks.iter().any(|network| network.contains(&source)))
            })
        })
    }

    /// Whether DESTINATION of any stanza names this address.
    pub(crate) fn names(&self, destination: IpAddr) -> bool {
        let mut networks = self.destinations.iter();
        networks.any(|network| network.contains(&destination))
    }

    /// Whether DESTINATION of a stanza of this key names this address.
    pub(crate) fn key_names(&self, key: KeyIndex, destination: IpAddr) -> bool {
        let mut networks = self.entry(key).destinations.iter();
        networks.any(|network| network.contains(&destination))
    }

    /// Returns the price of trying every key once on a packet of ordinary length.
    pub(crate) fn scan_units(&self) -> u64 {
        self.shapes
            .iter()
            .map(|shape| match shape.units {
                Some(units) => units * u64::from(shape.keys.end - shape.keys.start),
                None => {
                    let keys = shape.keys.clone();
                    keys.map(|key| self.decryption_units(key)).sum()
                }
            })
            .sum()
    }

    pub(crate) fn key_named(&self, fingerprint: Fingerprint) -> Option<KeyIndex> {
        self.by_fingerprint.get(&fingerprint).copied()
    }

    pub(crate) fn opening_key(&self, key: KeyIndex) -> &OpeningKey {
        at(&self.keys, key)
    }

    pub(crate) fn has_hmac(&self, key: KeyIndex) -> bool {
        self.opening_key(key).hmac_type().is_some()
    }

    /// Returns what decrypts the packets of a key, if that is not the key alone.
    pub(crate) fn decryptor(&self, key: KeyIndex) -> Option<&dyn Decrypt> {
        let keyring = self.entry(key).open_pgp.as_ref()?;
        Some(&*keyring.decryptor)
    }

    /// Returns the keys that records name so: by their own names, or by the key id of who signed.
    pub(crate) fn keys_recorded(&self, name: Fingerprint) -> impl Iterator<Item = KeyIndex> + '_ {
        let signed = (0..).zip(&self.entries).filter(move |(index, entry)| {
            entry.open_pgp.is_some() && self.signer_named(*index, name).is_some()
        });
        self.key_named(name)
            .into_iter()
            .chain(signed.map(|(index, _)| index))
    }

    /// Returns the price of decrypting one message of OpenPGP, in units of the budget.
    pub(crate) fn decryption_units(&self, key: KeyIndex) -> u64 {
        /// An HMAC takes half a microsecond.
        const UNITS_PER_MICRO: u64 = 2;

        let keyring = self.entry(key).open_pgp.as_ref();
        keyring.map_or(0, |keyring| keyring.decryptor.micros() * UNITS_PER_MICRO)
    }

    /// Returns the signer of a key's packets with this key id.
    pub(crate) fn signer_named(&self, key: KeyIndex, name: Fingerprint) -> Option<&Signer> {
        let keyring = self.entry(key).open_pgp.as_ref()?;
        let mut signers = keyring.signers.iter();
        signers.find(|signer| signer.key_id() == name.0)
    }

    /// Whether a stranger's packet costs as much with this key as thousands of others: what OpenPGP
    /// wraps is decrypted by trying, where there is no HMAC.
    pub(crate) fn is_costly(&self, key: KeyIndex) -> bool {
        self.decryptor(key).is_some() && !self.has_hmac(key)
    }

    pub(crate) fn tag_key(&self, key: KeyIndex) -> Option<&TagKey> {
        self.entry(key).tag_key.as_ref()
    }

    /// Returns the keys of stanzas that take knock sequences.
    pub(crate) fn sequence_keys(&self) -> impl Iterator<Item = (KeyIndex, &SequenceKey)> {
        let takes = |index: KeyIndex| self.stanzas_of(index).any(|stanza| stanza.knock_sequence);
        let keys = (0..)
            .zip(&self.entries)
            .filter(move |(index, _)| takes(*index));
        keys.filter_map(|(index, entry)| Some((index, entry.sequence_key.as_ref()?)))
    }

    pub(crate) fn fingerprint(&self, key: KeyIndex) -> Fingerprint {
        self.entry(key).fingerprint
    }

    pub(crate) fn domain(&self, key: KeyIndex) -> [u8; 32] {
        self.entry(key).domain
    }

    pub(crate) fn is_shared(&self, key: KeyIndex) -> bool {
        self.entry(key).shared
    }

    /// Returns the date before which messages of this key are refused.
    pub(crate) fn floor_secs(&self, key: KeyIndex) -> u64 {
        if self.is_shared(key) {
            self.claim_floor_secs
        } else {
            0
        }
    }

    /// Returns the stanzas of a key, in the order of the text.
    pub(crate) fn stanzas_of(&self, key: KeyIndex) -> impl Iterator<Item = &Stanza> {
        self.entry(key)
            .stanzas
            .iter()
            .map(|&stanza| at(&self.policy.stanzas, stanza))
    }

    pub(crate) fn initial_tags(&self) -> &[Arc<TagTable>] {
        &self.tags
    }

    fn entry(&self, key: KeyIndex) -> &Entry {
        at(&self.entries, key)
    }
}

/// Keys are secret and stanzas are many, so only numbers are shown.
impl std::fmt::Debug for CompiledPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompiledPolicy")
            .field("generation", &self.generation)
            .field("stanzas", &self.policy.stanzas.len())
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

/// Indices are made when the policy is compiled and never leave it, so none is out of bounds.
#[expect(
    clippy::indexing_slicing,
    reason = "the compiled policy's own indices, not influenced by any packet"
)]
fn at<T>(items: &[T], index: u32) -> &T {
    &items[index as usize]
}
