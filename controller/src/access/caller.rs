//! Who makes a request, and which one it is.

use std::fmt;
use std::net::IpAddr;

use fleet::Role;

use crate::random::{NoRandomness, random};
use crate::store::model::{Member, Origin, Scope};

/// The member that makes a request; in the request's extensions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Caller {
    /// `Member::id`.
    pub(crate) id: u64,
    pub(crate) role: Role,
    pub(crate) name: String,
    /// The hosts that are its business.
    pub(crate) scope: Scope,
    /// The call that it makes.
    pub(crate) request: RequestId,
}

/// One call, whoever makes it; in the request's extensions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Call {
    pub(crate) id: RequestId,
    /// Where it comes from.
    pub(crate) peer: Option<IpAddr>,
}

/// Names one call in the log and in every event that it causes.
///
/// As text, 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RequestId(pub(crate) [u8; 16]);

// === impl Caller ===

impl Caller {
    /// The member that makes this call.
    pub(crate) fn of(member: &Member, request: RequestId) -> Self {
        Self {
            id: member.id,
            role: member.role,
            name: member.name.clone(),
            scope: member.scope.clone(),
            request,
        }
    }

    /// What events that this call causes are to say of it.
    pub(crate) fn origin(&self) -> Origin {
        Origin::member(self.role, &self.name, self.request.to_string())
    }
}

// === impl RequestId ===

impl RequestId {
    /// One that no other call has.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`]
    pub(crate) fn new() -> Result<Self, NoRandomness> {
        random().map(Self)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}
