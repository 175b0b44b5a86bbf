//! Who a member of the fleet is.

use std::fmt;
use std::str::FromStr;

use crate::wire;

/// The part a member plays. Every RPC names the roles that may call it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Reads everything but secrets, and what it reads is an event.
    Auditor,
    /// Sees why users are refused, and invites them again.
    Helpdesk,
    /// A machine and its agent.
    Host,
    /// Edits policy, and manages hosts and users.
    Operator,
    /// May do whatever a person may, and alone says who else may.
    Owner,
    /// Opens ports.
    User,
    /// Checks, compares and tests policies, as a pipeline does; stores nothing.
    Validator,
}

/// A role that is none of ours.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is none of auditor, helpdesk, host, operator, owner, user, validator")]
pub struct UnknownRole(pub String);

// === impl Role ===

impl Role {
    /// Every role, in alphabetical order.
    pub const ALL: [Self; 7] = [
        Self::Auditor,
        Self::Helpdesk,
        Self::Host,
        Self::Operator,
        Self::Owner,
        Self::User,
        Self::Validator,
    ];

    /// Lower-case name, as in certificates, tokens and the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auditor => "auditor",
            Self::Helpdesk => "helpdesk",
            Self::Host => "host",
            Self::Operator => "operator",
            Self::Owner => "owner",
            Self::User => "user",
            Self::Validator => "validator",
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
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

impl From<Role> for wire::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Auditor => Self::Auditor,
            Role::Helpdesk => Self::Helpdesk,
            Role::Host => Self::Host,
            Role::Operator => Self::Operator,
            Role::Owner => Self::Owner,
            Role::User => Self::User,
            Role::Validator => Self::Validator,
        }
    }
}

impl TryFrom<wire::Role> for Role {
    type Error = UnknownRole;

    fn try_from(role: wire::Role) -> Result<Self, Self::Error> {
        match role {
            wire::Role::Auditor => Ok(Self::Auditor),
            wire::Role::Helpdesk => Ok(Self::Helpdesk),
            wire::Role::Host => Ok(Self::Host),
            wire::Role::Operator => Ok(Self::Operator),
            wire::Role::Owner => Ok(Self::Owner),
            wire::Role::User => Ok(Self::User),
            wire::Role::Validator => Ok(Self::Validator),
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
