//! A key that follows another of the same member.

/// A key that is to follow another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Successor {
    /// `MemberKey::id` of the one that is followed.
    pub(crate) follows: u64,
    /// Ed25519 public key.
    pub(crate) identity_key: [u8; 32],
    /// X25519 public key, of users.
    pub(crate) exchange_key: Option<[u8; 32]>,
    pub(crate) at_ms: u64,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SuccessionOutcome {
    /// The member has both keys; also where it had them before.
    Done,
    /// The key that is to be followed is nobody's, is locked, or follows another itself.
    UnknownKey,
    /// Another has come already that is to follow it.
    Followed,
    /// Somebody has this key.
    KeyInUse,
}
