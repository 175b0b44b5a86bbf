//! Compiling a policy: 10,000 stanzas in some 20 ms.

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Slot;
use ipnet::IpNet;
use policy::{Networks, Policy, SpaPort, Stanza, StanzaKey};
use spa::{DigestType, ExchangeSecret, Fingerprint, Keys, OpeningKey};

use crate::compiled::{CompileError, CompiledPolicy, Entry, KeyIndex, Shape, SharedKeys, tags};
use crate::now::Now;

/// A key while its stanzas are being collected.
struct Growing {
    opening: OpeningKey,
    entry: Entry,
    port: SpaPort,
    stanzas: Vec<u32>,
}

/// Keys are the same when all of their bytes are; a fingerprint alone is short enough to be forged
/// by whoever may write stanzas.
type Name = (Fingerprint, [u8; 32]);

// === impl CompiledPolicy ===

impl CompiledPolicy {
    /// Compiles `policy`.
    ///
    /// `identity` is the host's exchange key, for stanzas with a user's public key; `now` says which
    /// tags are current.
    ///
    /// # Errors
    ///
    /// [`CompileError`] names the first stanza that this host cannot enforce; none is left out.
    pub fn new(
        policy: &Arc<Policy>,
        identity: Option<&ExchangeSecret>,
        generation: u64,
        shared: SharedKeys,
        now: Now,
    ) -> Result<Self, CompileError> {
        let mut growing: Vec<Growing> = Vec::with_capacity(policy.stanzas.len());
        let mut slots: HashMap<Name, usize> = HashMap::with_capacity(policy.stanzas.len());
        for (index, stanza) in (0_u32..).zip(&policy.stanzas) {
            let is_shared = match &stanza.key {
                StanzaKey::Static(_) => shared == SharedKeys::AllStatic,
                StanzaKey::Pairwise | StanzaKey::User { .. } => false,
            };
            for keys in keys_of(stanza, identity)?.iter() {
                let name = (keys.fingerprint(), keys.domain());
                match slots.entry(name) {
                    Slot::Occupied(slot) => {
                        if let Some(known) = growing.get_mut(*slot.get()) {
                            known.join(index, stanza, is_shared);
                        }
                    }
                    Slot::Vacant(slot) => {
                        slot.insert(growing.len());
                        growing.push(Growing::new(keys, name, (index, stanza), is_shared));
                    }
                }
            }
        }
        // Stable: within a shape, the order of the text.
        growing.sort_by_key(Growing::shape);

        Ok(Self::assemble(policy, generation, growing, now))
    }

    fn assemble(policy: &Arc<Policy>, generation: u64, growing: Vec<Growing>, now: Now) -> Self {
        let shapes = shapes_of(&growing);
        let (keys, entries): (Vec<_>, Vec<_>) = growing
            .into_iter()
            .map(|growing| growing.finish(&policy.stanzas))
            .unzip();
        let mut compiled = Self {
            policy: Arc::clone(policy),
            generation,
            not_after_secs: None,
            claim_floor_secs: 0,
            shapes,
            taken_ports: policy.spa_server_ports().into_iter().collect(),
            by_fingerprint: (0..)
                .zip(&entries)
                .map(|(index, entry)| (entry.fingerprint, index))
                .collect(),
            destinations: named(policy.stanzas.iter()),
            narrowed: entries.iter().any(|entry| entry.networks.is_some()),
            keys: keys.into_boxed_slice(),
            entries: entries.into_boxed_slice(),
            tags: Vec::new(),
        };
        compiled.tags = tags::around(&compiled, now.wall_secs);
        compiled
    }
}

// === impl Growing ===

impl Growing {
    fn new(
        keys: &Keys,
        (fingerprint, domain): Name,
        (index, stanza): (u32, &Stanza),
        shared: bool,
    ) -> Self {
        Self {
            opening: OpeningKey::new(keys),
            entry: Entry {
                fingerprint,
                domain,
                tag_key: keys.tag_key(),
                shared,
                stanzas: Box::default(),
                networks: None,
                destinations: Box::default(),
            },
            port: port_of(stanza),
            stanzas: vec![index],
        }
    }

    /// One more stanza with this key. A stanza that lists a key twice counts once.
    fn join(&mut self, index: u32, stanza: &Stanza, shared: bool) {
        self.entry.shared |= shared;
        if self.port != port_of(stanza) {
            self.port = SpaPort::Any;
        }
        if self.stanzas.last() != Some(&index) {
            self.stanzas.push(index);
        }
    }

    fn shape(&self) -> (SpaPort, Option<DigestType>) {
        (self.port, self.opening.hmac_type())
    }

    fn finish(mut self, stanzas: &[Stanza]) -> (OpeningKey, Entry) {
        let own = self
            .stanzas
            .iter()
            .filter_map(|&index| stanzas.get(index as usize));
        self.entry.destinations = named(own.clone());
        self.entry.networks = union(own.map(|stanza| &stanza.source));
        self.entry.stanzas = self.stanzas.into_boxed_slice();
        (self.opening, self.entry)
    }
}

/// Returns the keys of a stanza, derived if they are a user's.
fn keys_of<'s>(
    stanza: &'s Stanza,
    identity: Option<&ExchangeSecret>,
) -> Result<Cow<'s, [Keys]>, CompileError> {
    match &stanza.key {
        StanzaKey::Static(keys) => Ok(Cow::Borrowed(keys)),
        StanzaKey::Pairwise => Err(CompileError::NoKey {
            stanza: stanza.label(),
        }),
        StanzaKey::User { user: _, public } => {
            let Some(secret) = identity else {
                return Err(CompileError::NoIdentity {
                    stanza: stanza.label(),
                });
            };
            spa::pairwise(secret, public, public, &secret.public())
                .map(|keys| Cow::Owned(vec![keys]))
                .map_err(|cause| CompileError::Key {
                    stanza: stanza.label(),
                    cause,
                })
        }
    }
}

/// Returns the port that the packets of a stanza come to.
fn port_of(stanza: &Stanza) -> SpaPort {
    stanza
        .spa_server_port
        .map_or(SpaPort::Common, SpaPort::Taken)
}

/// Returns what DESTINATION of these stanzas names.
fn named<'s, I: Iterator<Item = &'s Stanza>>(stanzas: I) -> Box<[IpNet]> {
    let mut networks = Vec::new();
    for stanza in stanzas {
        match &stanza.destination {
            Networks::Any => {}
            Networks::Only(own) => networks.extend_from_slice(own),
        }
    }
    networks.sort_unstable();
    networks.dedup();
    networks.into_boxed_slice()
}

/// Returns the networks of all, or `None` if one of them is every network.
fn union<'s, I: Iterator<Item = &'s Networks>>(sources: I) -> Option<Box<[IpNet]>> {
    let mut networks = Vec::new();
    for source in sources {
        match source {
            Networks::Any => return None,
            Networks::Only(own) => networks.extend_from_slice(own),
        }
    }
    networks.sort_unstable();
    networks.dedup();
    Some(networks.into_boxed_slice())
}

/// Cuts the sorted keys into runs of one port and one shape.
fn shapes_of(growing: &[Growing]) -> Box<[Shape]> {
    let mut start: KeyIndex = 0;
    growing
        .chunk_by(|one, next| one.shape() == next.shape())
        .filter_map(|run| {
            let (port, hmac) = run.first()?.shape();
            let end = start.saturating_add(KeyIndex::try_from(run.len()).ok()?);
            let keys = start..end;
            start = end;
            Some(Shape {
                port,
                hmac,
                keys,
                units: units_of(hmac),
            })
        })
        .collect()
}

/// The price of a trial against that of an HMAC-SHA256, which is prepared for many keys.
const fn units_of(hmac: Option<DigestType>) -> u64 {
    match hmac {
        Some(DigestType::Sha256) => 1,
        None | Some(DigestType::Md5 | DigestType::Sha1) => 3,
        Some(DigestType::Sha384 | DigestType::Sha512) => 4,
        Some(DigestType::Sha3_256 | DigestType::Sha3_512) => 6,
    }
}
