//! Compiling a policy: 10,000 stanzas in some 20 ms.

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Slot;
use ipnet::IpNet;
use policy::{Networks, OpenPgpRule, Policy, SpaPort, Stanza, StanzaKey};
use spa::{
    DigestType, Envelope, ExchangeSecret, Fingerprint, Keys, OpeningKey, SequenceKey, TagKey,
};

use crate::compiled::{
    CompileError, CompiledPolicy, Entry, KeyIndex, Keyring, Keyrings, NoKeyrings, Shape,
    SharedKeys, tags,
};
use crate::now::Now;

/// A key while its stanzas are being collected.
struct Growing<'p> {
    opening: OpeningKey,
    /// GPG_* of the stanzas, if it is a key of OpenPGP.
    rules: Vec<&'p OpenPgpRule>,
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
    /// `identity` are the host's exchange keys, for stanzas with a user's public key: its own, and former ones
    /// that are still good. `now` says which tags are current.
    ///
    /// # Errors
    ///
    /// [`CompileError`] names the first stanza that this host cannot enforce; none is left out.
    pub fn new<'k, I: IntoIterator<Item = &'k ExchangeSecret>>(
        policy: &Arc<Policy>,
        identity: I,
        generation: u64,
        shared: SharedKeys,
        now: Now,
    ) -> Result<Self, CompileError> {
        Self::with_keyrings(policy, identity, &NoKeyrings, generation, shared, now)
    }

    /// The same for stanzas with GPG_* as well, whose keys `keyrings` unlocks.
    ///
    /// # Errors
    ///
    /// [`CompileError`].
    pub fn with_keyrings<'k, I: IntoIterator<Item = &'k ExchangeSecret>>(
        policy: &Arc<Policy>,
        identity: I,
        keyrings: &dyn Keyrings,
        generation: u64,
        shared: SharedKeys,
        now: Now,
    ) -> Result<Self, CompileError> {
        let identity: Vec<_> = identity.into_iter().collect();
        let mut growing: Vec<Growing<'_>> = Vec::with_capacity(policy.stanzas.len());
        let mut slots: HashMap<Name, usize> = HashMap::with_capacity(policy.stanzas.len());
        let sequences = policy.stanzas.iter().any(|stanza| stanza.knock_sequence);
        for (index, stanza) in (0_u32..).zip(&policy.stanzas) {
            let is_shared = match &stanza.key {
                StanzaKey::Static(_) => shared == SharedKeys::AllStatic,
                StanzaKey::Pairwise | StanzaKey::User { .. } => false,
            };
            for keys in keys_of(stanza, &identity)?.iter() {
                let name = (keys.fingerprint(), keys.domain());
                match slots.entry(name) {
                    Slot::Occupied(slot) => {
                        if let Some(known) = growing.get_mut(*slot.get()) {
                            known.join(index, stanza, is_shared);
                        }
                    }
                    Slot::Vacant(slot) => {
                        slot.insert(growing.len());
                        let mut new = Growing::new(keys, name, (index, stanza), is_shared);
                        new.entry.sequence_key =
                            sequences.then(|| SequenceKey::derive(keys)).flatten();
                        growing.push(new);
                    }
                }
            }
            let Some(rule) = stanza.open_pgp.as_deref() else {
                continue;
            };
            let name = (rule.fingerprint(), rule.domain());
            let slot = *slots.entry(name).or_insert(growing.len());
            match growing.get_mut(slot) {
                Some(known) => {
                    known.join(index, stanza, is_shared);
                    known.rules.push(rule);
                }
                None => growing.push(Growing::open_pgp(rule, name, (index, stanza), is_shared)),
            }
        }
        // Stable: within a shape, the order of the text.
        growing.sort_by_key(Growing::shape);

        let shapes = shapes_of(&growing);
        let finished = growing
            .into_iter()
            .map(|growing| growing.finish(&policy.stanzas, keyrings))
            .collect::<Result<Vec<_>, _>>()?;
        let (keys, entries) = finished.into_iter().unzip();
        Ok(Self::assemble(
            policy,
            generation,
            (shapes, keys, entries),
            now,
        ))
    }

    fn assemble(
        policy: &Arc<Policy>,
        generation: u64,
        (shapes, keys, entries): (Box<[Shape]>, Vec<OpeningKey>, Vec<Entry>),
        now: Now,
    ) -> Self {
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

impl<'p> Growing<'p> {
    fn new(keys: &Keys, name: Name, stanza: (u32, &Stanza), shared: bool) -> Self {
        let opening = OpeningKey::new(keys);
        Self::of(opening, keys.tag_key(), name, stanza, shared)
    }

    fn open_pgp(rule: &'p OpenPgpRule, name: Name, stanza: (u32, &Stanza), shared: bool) -> Self {
        let hmac = rule.hmac.as_ref().map(|(key, digest)| (key, *digest));
        Self {
            rules: vec![rule],
            ..Self::of(OpeningKey::open_pgp(hmac), None, name, stanza, shared)
        }
    }

    fn of(
        opening: OpeningKey,
        tag_key: Option<TagKey>,
        (fingerprint, domain): Name,
        (index, stanza): (u32, &Stanza),
        shared: bool,
    ) -> Self {
        Self {
            opening,
            rules: Vec::new(),
            entry: Entry {
                fingerprint,
                domain,
                tag_key,
                sequence_key: None,
                open_pgp: None,
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

    fn shape(&self) -> (SpaPort, bool, Option<DigestType>) {
        let is_open_pgp = self.opening.envelope() == Envelope::OpenPgp;
        (self.port, is_open_pgp, self.opening.hmac_type())
    }

    fn finish(
        mut self,
        stanzas: &[Stanza],
        keyrings: &dyn Keyrings,
    ) -> Result<(OpeningKey, Entry), CompileError> {
        if !self.rules.is_empty() {
            let decryptor = keyrings.decryptor(&self.rules).map_err(|why| {
                let first = self
                    .stanzas
                    .first()
                    .and_then(|&at| stanzas.get(at as usize));
                let stanza = first.map(Stanza::label).unwrap_or_default();
                CompileError::Keyring { stanza, why }
            })?;
            self.entry.open_pgp = Some(Keyring {
                signers: decryptor.signers().into(),
                decryptor,
            });
        }
        let own = self
            .stanzas
            .iter()
            .filter_map(|&index| stanzas.get(index as usize));
        self.entry.destinations = named(own.clone());
        self.entry.networks = union(own.map(|stanza| &stanza.source));
        self.entry.stanzas = self.stanzas.into_boxed_slice();
        Ok((self.opening, self.entry))
    }
}

/// Returns the keys of a stanza, derived if they are a user's.
fn keys_of<'s>(
    stanza: &'s Stanza,
    identity: &[&ExchangeSecret],
) -> Result<Cow<'s, [Keys]>, CompileError> {
    match &stanza.key {
        StanzaKey::Static(keys) => Ok(Cow::Borrowed(keys)),
        StanzaKey::Pairwise => Err(CompileError::NoKey {
            stanza: stanza.label(),
        }),
        StanzaKey::User { user: _, public } => {
            if identity.is_empty() {
                return Err(CompileError::NoIdentity {
                    stanza: stanza.label(),
                });
            }
            let keys = identity
                .iter()
                .map(|secret| spa::pairwise(secret, public, public, &secret.public()));
            keys.collect::<Result<Vec<_>, _>>()
                .map(Cow::Owned)
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
fn shapes_of(growing: &[Growing<'_>]) -> Box<[Shape]> {
    let mut start: KeyIndex = 0;
    growing
        .chunk_by(|one, next| one.shape() == next.shape())
        .filter_map(|run| {
            let first = run.first()?;
            let (port, _, hmac) = first.shape();
            let envelope = first.opening.envelope();
            let end = start.saturating_add(KeyIndex::try_from(run.len()).ok()?);
            let keys = start..end;
            start = end;
            Some(Shape {
                port,
                envelope,
                hmac,
                keys,
                units: units_of(envelope, hmac),
            })
        })
        .collect()
}

/// The price of a trial against that of an HMAC-SHA256, which is prepared for many keys.
const fn units_of(envelope: Envelope, hmac: Option<DigestType>) -> Option<u64> {
    Some(match hmac {
        None if matches!(envelope, Envelope::OpenPgp) => return None,
        Some(DigestType::Sha256) => 1,
        None | Some(DigestType::Md5 | DigestType::Sha1) => 3,
        Some(DigestType::Sha384 | DigestType::Sha512) => 4,
        Some(DigestType::Sha3_256 | DigestType::Sha3_512) => 6,
    })
}
