//! Tokens, how they are redeemed, and what became of them.

use std::collections::BTreeMap;

use fleet::{Event, Role};

use super::Scope;
use super::member::{KEY_DEFAULT, Member, NewMember};

/// What a token promises. Never changed once stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Invitation {
    /// Names it in lists; tells nothing of its secret.
    pub(crate) id: String,
    pub(crate) role: Role,
    /// Empty when the joiner proposes its own.
    pub(crate) name: String,
    /// The key that a user gets; empty for [`KEY_DEFAULT`], and then the user must be new.
    pub(crate) key_name: String,
    /// Whoever redeems it takes the place of the member, or of the key, of that name.
    pub(crate) replaces: bool,
    pub(crate) labels: BTreeMap<String, String>,
    /// The hosts that are to be the business of whoever redeems it.
    pub(crate) scope: Scope,
    pub(crate) created_by: String,
    /// `Member::id` of the operator who made it; `None` for the controller itself.
    pub(crate) creator: Option<u64>,
    pub(crate) created_at_ms: u64,
    pub(crate) expires_at_secs: u64,
}

/// A token as stored: its secret is not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct StoredToken {
    pub(crate) invitation: Invitation,
    pub(crate) redemption: Option<Redemption>,
    pub(crate) is_revoked: bool,
}

/// Who has redeemed a token, and whom it became.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Redemption {
    pub(crate) identity_key: Vec<u8>,
    /// `Member::id`.
    pub(crate) member: u64,
    /// `MemberKey::id`.
    pub(crate) key: u64,
    /// The member's name, which outlives it.
    pub(crate) name: String,
    pub(crate) at_ms: u64,
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
        /// `MemberKey::id`.
        key: u64,
    },
    /// Somebody else has redeemed it.
    Used,
    Expired,
    Revoked,
}

/// What has become of a token, whoever asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TokenFate {
    Open,
    Redeemed,
    Expired,
    Revoked,
}

/// What redeeming a token came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum EnrollOutcome {
    /// This call won the token.
    Enrolled(Enrolment),
    /// The same identity had won it before, as this member.
    EnrolledBefore(Enrolment),
    Refused(EnrollConflict),
}

/// A token that is made.
#[derive(Clone)]
pub(crate) struct NewToken {
    pub(crate) secret: [u8; 32],
    pub(crate) invitation: Invitation,
    /// What is recorded of it.
    pub(crate) event: Event,
}

/// Somebody who redeems a token.
#[derive(Clone)]
pub(crate) struct Joining {
    /// Of the token.
    pub(crate) secret: Vec<u8>,
    pub(crate) member: NewMember,
    /// What is recorded of it.
    pub(crate) event: Event,
    pub(crate) now_ms: u64,
}

/// A member, and the key that it joined with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Enrolment {
    pub(crate) member: Member,
    /// `MemberKey::id`; one of the member's.
    pub(crate) key: u64,
}

/// Why nobody joined.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EnrollConflict {
    /// The token is none of this fleet's.
    TokenUnknown,
    TokenExpired,
    TokenRevoked,
    TokenUsed,
    /// A member of that role has this name; the token is still good.
    NameTaken,
    /// The user has a key of that name; the token is still good.
    KeyTaken,
    /// The user is locked, so no key is added; the token is still good.
    MemberLocked,
}

/// What revoking a token came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum RevokeOutcome {
    Revoked(StoredToken),
    /// It can no longer be redeemed anyway.
    NotOpen(StoredToken),
    Unknown,
    /// The beginning of more than one id.
    Ambiguous,
}

// === impl Invitation ===

impl Invitation {
    /// The name of the key that its redeemer joins with.
    pub(crate) fn key(&self) -> &str {
        if self.key_name.is_empty() {
            KEY_DEFAULT
        } else {
            &self.key_name
        }
    }
}

// === impl StoredToken ===

impl StoredToken {
    /// What it is worth to the joiner with this identity key. The end of its life counts before
    /// who redeemed it.
    pub(crate) fn state(&self, identity_key: &[u8; 32], now_ms: u64) -> TokenState {
        if self.is_revoked {
            return TokenState::Revoked;
        }
        if self.invitation.expires_at_secs <= now_ms / 1000 {
            return TokenState::Expired;
        }
        match &self.redemption {
            None => TokenState::Open,
            Some(redemption) if redemption.identity_key == identity_key => {
                TokenState::RedeemedBefore {
                    member: redemption.member,
                    key: redemption.key,
                }
            }
            Some(_) => TokenState::Used,
        }
    }

    /// What has become of it.
    pub(crate) fn fate(&self, now_ms: u64) -> TokenFate {
        if self.redemption.is_some() {
            TokenFate::Redeemed
        } else if self.is_revoked {
            TokenFate::Revoked
        } else if self.invitation.expires_at_secs <= now_ms / 1000 {
            TokenFate::Expired
        } else {
            TokenFate::Open
        }
    }
}
