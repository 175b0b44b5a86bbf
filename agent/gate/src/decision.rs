//! What the gate answers: a grant, a grant that must first be claimed, or a refusal with its reason.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use policy::{Denied, OnControllerLoss, Permit};
use spa::{Fingerprint, Malformed, Message, OpenError, Opened, ReplayDigest, Signer};

use crate::budget::Exhausted;
use crate::datagram::Transport;

/// The gate's word on one datagram.
#[derive(Debug)]
pub enum Decision {
    /// Record it, then open it.
    Grant(Grant),
    /// The key verifies on other hosts too: ask the controller first.
    Claim(Pending),
    /// Open nothing.
    Refused(Refusal),
    /// A packet that another capture has shown already, or the network delivered twice: whatever
    /// became of the first is the answer. Counted, and nothing else.
    Duplicate,
}

/// Something to open or to run, for all that the gate knows.
///
/// Only the gate makes one, after all checks or after a claim. A refusal cannot become one:
///
/// ```compile_fail
/// fn forge(refusal: gate::Refusal, permit: policy::Permit) -> gate::Grant {
///     gate::Grant {
///         permit,
///         identity: refusal.authentic.unwrap(),
///         claim: gate::Claimed::NotNeeded,
///     }
/// }
/// ```
///
/// Nor can one become another:
///
/// ```compile_fail
/// fn widen(mut grant: gate::Grant, permit: policy::Permit) -> gate::Grant {
///     grant.permit = permit;
///     grant
/// }
/// ```
///
/// ```
/// fn how_long(grant: &gate::Grant) -> u32 {
///     grant.permit().timeout_secs()
/// }
/// ```
#[derive(Debug)]
pub struct Grant {
    permit: Permit,
    identity: Arc<Identity>,
    claim: Claimed,
}

/// How a grant stands with the fleet's replay list.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Claimed {
    /// The key verifies on this host only.
    NotNeeded,
    /// This host holds the claim.
    Won,
    /// The controller could not be asked and the stanza allows that. To be shown in the audit, and
    /// compared when the controller is back.
    Unconfirmed,
}

/// A permitted message that another host might have granted.
#[derive(Debug)]
pub struct Pending {
    grant: Grant,
    forget_after_secs: Option<u64>,
    on_loss: OnControllerLoss,
}

/// A packet turned away.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The check that turned it away.
    pub check: Check,
    /// Why.
    pub reason: Reason,
    /// Address the packet came from; anyone can forge it.
    pub source: IpAddr,
    /// Whose message it was, if it was authentic. `None` for strangers: no log and no event, only
    /// counts.
    pub authentic: Option<Arc<Identity>>,
    /// 0 for a packet that went through the cryptography; from 1 up the number of this exact copy
    /// of a recent packet. Record the first and count the rest: whoever captured one packet can send
    /// copies without end.
    pub copies: u64,
}

/// The checks, as people look for them: the replay check has a name of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Check {
    /// Length, alphabet, HTTP form.
    Parse,
    /// Whether any key could have sealed it, and whether it may be tried.
    Match,
    /// HMAC, decryption, digest, fields.
    Authenticate,
    /// Age and floor.
    Fresh,
    /// Seen before on this host.
    Replay,
    /// The stanzas of the key.
    Authorize,
    /// Granted by another host, or nobody to ask.
    Claim,
}

/// Why a packet was refused. `Display` is fit for the audit and names no secret.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Reason {
    /// Not of the form of a packet.
    #[error("not a SPA packet: {0}")]
    Malformed(Malformed),
    /// An HTTP request, but not one that a client sends.
    #[error("not a SPA packet: not a client's HTTP request")]
    NotHttp,
    /// No stanza for this source has a key that could have sealed a packet of this shape.
    #[error("no stanza's key can have sealed a packet of this shape for this source")]
    NoCandidate,
    /// Too much work for strangers.
    #[error("not tried: too many packets that look right, {}", match .0 {
        Exhausted::Source => "from this source",
        Exhausted::Total => "from all sources together",
    })]
    Budget(Exhausted),
    /// No key verifies.
    #[error("not authentic under the key of any stanza")]
    NotAuthentic,
    /// A key verifies, but there is no message inside.
    #[error("authentic, but not a message: {}", Causes(.0))]
    NotOpened(OpenError),
    /// The tag is not that of the message's minute.
    #[error("the tag in front is not that of this message")]
    ForeignTag,
    /// Older than the window.
    #[error("the message is {age_secs} s old; at most {age_max_secs} s are allowed")]
    Stale {
        /// Its age.
        age_secs: u64,
        /// The window.
        age_max_secs: u64,
    },
    /// Dated ahead of the host's clock.
    #[error(
        "the message is dated {ahead_secs} s in the future; at most {ahead_max_secs} s are allowed"
    )]
    Future {
        /// How far ahead.
        ahead_secs: u64,
        /// The window.
        ahead_max_secs: u64,
    },
    /// Dated when nobody can say any more what was granted.
    #[error("the message is dated at or before {floor_secs}, up to when replays cannot be told")]
    BeforeFloor {
        /// The floor, seconds since the epoch.
        floor_secs: u64,
    },
    /// Seen before on this host.
    #[error("the message was seen before")]
    Replayed,
    /// The policy's own date has passed without a newer one.
    #[error("the policy is past its date, and the controller gave no newer one")]
    PolicyExpired,
    /// No stanza of the key permits it; this is what the first one says.
    #[error("{0}")]
    Denied(Denied),
    /// Another host of the replay domain holds the claim.
    #[error("the message was granted by {held_by}")]
    ReplayedElsewhere {
        /// The host's name.
        held_by: Box<str>,
    },
    /// The controller cannot be asked, and the stanza wants it asked.
    #[error("the key is shared between hosts and the controller cannot be asked")]
    ClaimUnreachable,
}

/// Who sent an authentic message, and what it says. Only the gate makes one, once a key has verified:
///
/// ```compile_fail
/// fn rename(identity: &mut gate::Identity) {
///     identity.user = "root".to_owned();
/// }
/// ```
///
/// ```
/// fn name(identity: &gate::Identity) -> &str {
///     identity.user()
/// }
/// ```
#[derive(Debug)]
pub struct Identity {
    /// The name of the key that opened it, in the policy that was in force.
    pub(crate) opening_key: Fingerprint,
    pub(crate) key: Fingerprint,
    pub(crate) domain: [u8; 32],
    pub(crate) user: String,
    pub(crate) proof: UserProof,
    pub(crate) stanza: u32,
    pub(crate) stanza_name: Option<Arc<str>>,
    pub(crate) generation: u64,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) is_ours: bool,
    pub(crate) transport: Transport,
    pub(crate) route: Route,
    pub(crate) opened: Opened,
}

/// What stands behind the name of a user.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum UserProof {
    /// The key is that of this user and this host alone: nobody else can have sent the packet.
    Proven,
    /// The key stands in the text of the policy: whoever holds it may write any name into a packet,
    /// also where the stanza requires one certain name.
    Asserted,
}

/// How the key of a packet was found.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Route {
    /// By the tag in front.
    Tag,
    /// By the keys last used from its source.
    Source,
    /// By trying.
    Trial,
    /// By the port with which a knock sequence began.
    Sequence,
}

// === impl Grant ===

impl Grant {
    pub(crate) fn new(permit: Permit, identity: Arc<Identity>) -> Self {
        Self {
            permit,
            identity,
            claim: Claimed::NotNeeded,
        }
    }

    /// Returns what to open or run, for whom and for how long.
    #[must_use]
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// Puts one of these addresses, to which the name in it was looked up, in the place of the name.
    ///
    /// # Errors
    ///
    /// Why packets may be led to none of them; the grant comes back as it was.
    pub fn resolved(self, addresses: &[IpAddr]) -> Result<Self, Box<(Self, Denied)>> {
        match self.permit.resolved(addresses) {
            Ok(permit) => Ok(Self { permit, ..self }),
            Err(denied) => Err(Box::new((self, denied))),
        }
    }

    /// Returns whose message it was.
    #[must_use]
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Returns whether other hosts were asked.
    #[must_use]
    pub fn claim(&self) -> Claimed {
        self.claim
    }

    /// Returns the name of the message.
    #[must_use]
    pub fn replay_digest(&self) -> ReplayDigest {
        self.identity.opened.replay_digest()
    }

    /// Returns the message.
    #[must_use]
    pub fn message(&self) -> &Message {
        self.identity.opened.message()
    }
}

// === impl Pending ===

impl Pending {
    pub(crate) fn new(
        permit: Permit,
        identity: Arc<Identity>,
        forget_after_secs: Option<u64>,
        on_loss: OnControllerLoss,
    ) -> Self {
        Self {
            grant: Grant {
                permit,
                identity,
                claim: Claimed::Won,
            },
            forget_after_secs,
            on_loss,
        }
    }

    /// Returns the replay domain to claim in.
    #[must_use]
    pub fn domain(&self) -> [u8; 32] {
        self.grant.identity.domain
    }

    /// Returns the digest to claim.
    #[must_use]
    pub fn digest(&self) -> ReplayDigest {
        self.grant.replay_digest()
    }

    /// Returns until when the claim must be remembered, seconds since the epoch; `None` for ever.
    #[must_use]
    pub fn forget_after_secs(&self) -> Option<u64> {
        self.forget_after_secs
    }

    /// Returns whose message it is.
    #[must_use]
    pub fn identity(&self) -> &Arc<Identity> {
        &self.grant.identity
    }

    /// Returns what the stanza says for the case that nobody can be asked.
    #[must_use]
    pub fn on_loss(&self) -> OnControllerLoss {
        self.on_loss
    }

    /// The controller recorded the claim for this host.
    #[must_use]
    pub fn won(self) -> Grant {
        self.grant
    }

    /// Another host holds the claim.
    #[must_use]
    pub fn lost(self, held_by: &str) -> Refusal {
        self.refused(Reason::ReplayedElsewhere {
            held_by: held_by.into(),
        })
    }

    /// The controller could not be asked: ON_CONTROLLER_LOSS decides.
    ///
    /// # Errors
    ///
    /// The refusal, where the stanza wants the controller asked.
    pub fn unreachable(self) -> Result<Grant, Box<Refusal>> {
        match self.on_loss {
            OnControllerLoss::Allow => Ok(Grant {
                claim: Claimed::Unconfirmed,
                ..self.grant
            }),
            OnControllerLoss::Deny => Err(Box::new(self.refused(Reason::ClaimUnreachable))),
        }
    }

    fn refused(self, reason: Reason) -> Refusal {
        let source = self.grant.identity.source;
        Refusal::of_member(reason, source, self.grant.identity)
    }
}

// === impl Identity ===

impl Identity {
    /// Returns the short public name of the key that verified; of an OpenPGP message that somebody
    /// signed, the key id of that key.
    #[must_use]
    pub fn key(&self) -> Fingerprint {
        self.key
    }

    /// Returns the key in words: its short public name, or the whole fingerprint of the OpenPGP key that
    /// signed.
    #[must_use]
    pub fn key_words(&self) -> String {
        match self.signer() {
            Some(signer) => signer.to_string().to_lowercase(),
            None => self.key.to_string(),
        }
    }

    /// Returns who signed, where the message was OpenPGP's and a signature verified.
    #[must_use]
    pub fn signer(&self) -> Option<&Signer> {
        self.opened.signer()
    }

    /// Returns the replay domain of the key.
    #[must_use]
    pub fn domain(&self) -> [u8; 32] {
        self.domain
    }

    /// Returns the user: the owner of a pairwise key, otherwise the name that the message gives.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Returns what stands behind that name.
    #[must_use]
    pub fn user_proof(&self) -> UserProof {
        self.proof
    }

    /// Returns the first stanza of the key: its number in the text, from 1.
    #[must_use]
    pub fn stanza(&self) -> u32 {
        self.stanza
    }

    /// Returns the first stanza's NAME.
    #[must_use]
    pub fn stanza_name(&self) -> Option<&Arc<str>> {
        self.stanza_name.as_ref()
    }

    /// Returns the policy generation that was in force.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns the address in the header of the packet.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        self.source
    }

    /// Returns the address that the packet was sent to; unspecified if not known.
    #[must_use]
    pub fn destination(&self) -> IpAddr {
        self.destination
    }

    /// Returns what carried it.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Returns how its key was found.
    #[must_use]
    pub fn route(&self) -> Route {
        self.route
    }

    /// Returns the message.
    #[must_use]
    pub fn opened(&self) -> &Opened {
        &self.opened
    }
}

// === impl UserProof ===

impl UserProof {
    /// Returns the name, as logs and `explain` print it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Asserted => "asserted",
        }
    }
}

// === impl Refusal ===

impl Refusal {
    pub(crate) fn of_stranger(reason: Reason, source: IpAddr) -> Self {
        Self {
            check: reason.check(),
            reason,
            source,
            authentic: None,
            copies: 0,
        }
    }

    pub(crate) fn of_member(reason: Reason, source: IpAddr, identity: Arc<Identity>) -> Self {
        Self {
            authentic: Some(identity),
            ..Self::of_stranger(reason, source)
        }
    }
}

// === impl Reason ===

impl Reason {
    /// Returns the check that gives this reason.
    #[must_use]
    pub const fn check(&self) -> Check {
        match self {
            Self::Malformed(_) | Self::NotHttp => Check::Parse,
            Self::NoCandidate | Self::Budget(_) => Check::Match,
            Self::NotAuthentic | Self::NotOpened(_) | Self::ForeignTag => Check::Authenticate,
            Self::Stale { .. } | Self::Future { .. } | Self::BeforeFloor { .. } => Check::Fresh,
            Self::Replayed => Check::Replay,
            Self::PolicyExpired | Self::Denied(_) => Check::Authorize,
            Self::ReplayedElsewhere { .. } | Self::ClaimUnreachable => Check::Claim,
        }
    }
}

// === impl Check ===

impl Check {
    /// Returns the name, as `explain` prints it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Match => "match",
            Self::Authenticate => "authenticate",
            Self::Fresh => "fresh",
            Self::Replay => "replay",
            Self::Authorize => "authorize",
            Self::Claim => "claim",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error and its causes in one line.
struct Causes<'e>(&'e dyn std::error::Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
