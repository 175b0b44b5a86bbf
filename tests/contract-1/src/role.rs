//! Who a member of the fleet is.

use std::fmt;
use std::str::FromStr;

use crate::wire;

/// The part a member plays. Every RPC names the roles that may call it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Asks who opened what.
    Auditor,
    /// A machine and its agent.
    Host,
    /// Edits policy.
    Operator,
    /// Opens ports.
    User,
}

/// A role that is none of ours.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is none of host, user, operator, auditor")]
pub struct UnknownRole(pub String);

// === impl Role ===

impl Role {
    /// Lower-case name, as in certificates, tokens and the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auditor => "auditor",
            Self::Host => "host",
            Self::Operator => "operator",
            Self::User => "user",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auditor" => Ok(Self::Auditor),
            "host" => Ok(Self::Host),
            "operator" => Ok(Self::Operator),
            "user" => Ok(Self::User),
            _ => Err(UnknownRole(text.to_owned())),
        }
    }
}

impl From<Role> for wire::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Auditor => Self::Auditor,
            Role::Host => Self::Host,
            Role::Operator => Self::Operator,
            Role::User => Self::User,
        }
    }
}

impl TryFrom<wire::Role> for Role {
    type Error = UnknownRole;

    fn try_from(role: wire::Role) -> Result<Self, Self::Error> {
        match role {
            wire::Role::Auditor => Ok(Self::Auditor),
            wire::Role::Host => Ok(Self::Host),
            wire::Role::Operator => Ok(Self::Operator),
            wire::Role::User => Ok(Self::User),
            wire::Role::Unspecified => Err(UnknownRole("unspecified".to_owned())),
        }
    }
}

impl TryFrom<i32> for Role {
    type Error = UnknownRole;

    /// From the number in a protobuf field.
    fn try_from(number: i32) -> Result<Self, Self::Error> {
        wire::Role::try_from(number)
            .map_err(|_| UnknownRole(number.to_string()))?
            .try_into()
    }
}
