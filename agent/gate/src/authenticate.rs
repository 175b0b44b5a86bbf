//! The third check: a packet and one key. The HMAC first, then decryption, digest and fields.

use std::net::IpAddr;
use std::sync::Arc;

use policy::{SpaPort, Stanza, StanzaKey};
use spa::{
    Fingerprint, Message, OpenError, Opened, OpenedSequence, ReplayDigest, Sealed, Service, Tag,
    bucket, tag,
};

use crate::compiled::{CompiledPolicy, KeyIndex};
use crate::datagram::Transport;
use crate::decision::{Identity, Route, UserProof};

/// Evidence: the message was sealed with this key, and reads well.
#[derive(Debug)]
pub(crate) struct Authenticated {
    identity: Arc<Identity>,
    key: KeyIndex,
}

/// What the packet itself says about where it comes from and goes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoints {
    /// From the header, in its plain form.
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// Whether that is the host's own, and not only one that a stanza names.
    pub(crate) is_ours: bool,
    pub(crate) port: SpaPort,
    pub(crate) transport: Transport,
}

/// Why a packet is not authentic under a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unproven {
    /// The HMAC does not verify.
    Hmac,
    /// It does (or there is none), but what it covers is no message.
    Opening(OpenError),
    /// The tag is not the one of the message's minute, so somebody put it there.
    Tag,
}

/// Whose message it is that says no name.
const NOBODY: &str = "-";

// === impl Authenticated ===

impl Authenticated {
    /// Verifies and opens `sealed` with one key. `in_front` is the tag that came with it, if it came
    /// in our form; `now_secs` says which keys of an OpenPGP keyring are valid.
    pub(crate) fn establish(
        (in_front, sealed): (Option<Tag>, Sealed<'_>),
        compiled: &CompiledPolicy,
        key: KeyIndex,
        endpoints: &Endpoints,
        (route, now_secs): (Route, u64),
    ) -> Result<Self, Unproven> {
        let authentic = sealed
            .authenticate(compiled.opening_key(key))
            .map_err(|_| Unproven::Hmac)?;
        let opened = match compiled.decryptor(key) {
            None => authentic.open(),
            Some(decryptor) => authentic.open_with(decryptor, now_secs),
        };
        let opened = opened.map_err(Unproven::Opening)?;
        if let Some(in_front) = in_front {
            let own = compiled
                .tag_key(key)
                .map(|tag_key| tag(tag_key, bucket(opened.message().timestamp_secs)));
            if own != Some(in_front) {
                return Err(Unproven::Tag);
            }
        }
        Ok(Self {
            identity: Arc::new(identity(opened, compiled, key, endpoints, route)),
            key,
        })
    }

    /// Takes what a knock sequence says, which has verified: of the stanzas of its key the first that
    /// takes sequences says whose it is, and what it asks for if it names no port.
    pub(crate) fn of_sequence(
        sequence: OpenedSequence,
        compiled: &CompiledPolicy,
        key: KeyIndex,
        endpoints: &Endpoints,
    ) -> Self {
        let mut stanzas = compiled.stanzas_of(key);
        let stanza = stanzas.find(|stanza| stanza.knock_sequence);
        let ports = match sequence.message().port {
            Some(port) => vec![port.into()],
            None => stanza.map(opened_by).unwrap_or_default(),
        };
        let user = match stanza.map(|stanza| &stanza.key) {
            Some(StanzaKey::User { user, public: _ }) => user,
            Some(StanzaKey::Static(_) | StanzaKey::Pairwise) | None => NOBODY,
        };
        let opened = sequence.into_opened(user, ports);
        Self {
            identity: Arc::new(identity(opened, compiled, key, endpoints, Route::Sequence)),
            key,
        }
    }

    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    pub(crate) fn message(&self) -> &Message {
        self.identity.opened.message()
    }

    pub(crate) fn replay_digest(&self) -> ReplayDigest {
        self.identity.opened.replay_digest()
    }

    pub(crate) fn key(&self) -> KeyIndex {
        self.key
    }
}

/// Everything that a stanza opens; nothing where that is anything.
fn opened_by(stanza: &Stanza) -> Vec<Service> {
    let open = stanza.open_ports.as_ref();
    let open = open.map(|open| open.without(&stanza.restrict_ports));
    open.map(|open| open.iter().collect()).unwrap_or_default()
}

fn identity(
    opened: Opened,
    compiled: &CompiledPolicy,
    key: KeyIndex,
    endpoints: &Endpoints,
    route: Route,
) -> Identity {
    let first = compiled.stanzas_of(key).next();
    let owner = first.and_then(|stanza| match &stanza.key {
        StanzaKey::User { user, public: _ } => Some(String::from(&**user)),
        StanzaKey::Static(_) | StanzaKey::Pairwise => None,
    });
    let (user, proof) = match owner {
        Some(owner) => (owner, UserProof::Proven),
        None => (opened.message().username.clone(), UserProof::Asserted),
    };
    Identity {
        opening_key: compiled.fingerprint(key),
        // Whose key signed says more than which key of the host decrypted.
        key: opened.signer().map_or_else(
            || compiled.fingerprint(key),
            |one| Fingerprint(one.key_id()),
        ),
        domain: compiled.domain(key),
        user,
        proof,
        stanza: first.map_or(0, |stanza| stanza.number),
        stanza_name: first.and_then(|stanza| stanza.name.clone()),
        generation: compiled.generation(),
        source: endpoints.source,
        destination: endpoints.destination,
        is_ours: endpoints.is_ours,
        transport: endpoints.transport,
        route,
        opened,
    }
}
