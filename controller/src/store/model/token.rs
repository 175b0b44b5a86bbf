//! Tokens, and how they are redeemed.

use std::collections::BTreeMap;

use fleet::Role;

use super::member::Member;

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
