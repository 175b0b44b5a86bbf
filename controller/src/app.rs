//! The use cases, each a plain function of what is there, who asks, what for, and now.
//!
//! None knows how it was called: `grpc` converts from and to the wire, and another front converts
//! in its own way. Permission was asked for before (`access`); what is checked here is whether the
//! request makes sense.
//!
//! | file | use cases |
//! |---|---|
//! | `tokens` | make a one-time token, list them, take one back |
//! | `enroll` | redeem a token, renew a certificate |
//! | `identity_age` | keys that are old or were away for long |
//! | `key_rotation` | a key of a member follows another; ask a member for it |
//! | `members` | see who belongs to the fleet; lock, unlock, remove |
//! | `host_changes` | give a host other addresses, labels and another name |
//! | `hosts` | see hosts; what a host says of itself |
//! | `controllers` | the controllers that serve, and where each host is connected |
//! | `agent_age` | whether a host's agent is older than this controller |
//! | `follow` | what stands in the database and is not in force here |
//! | `others` | what several controllers over one database tell each other |
//! | `policy` | apply, roll back, compare, look at |
//! | `who_can` | who may open what, now or then; what another text would have done |
//! | `claims` | the shared replay list |
//! | `events`, `audit` | the fleet's log: what hosts push, and who opened what |
//! | `reads` | events of what is read by those who only read |
//! | `directory` | what a user may open |
//! | `near` | what somebody may have meant who has mistyped a name |
//! | `trust` | names that policy trusts |
//! | `check` | limits on texts from outside |

pub(crate) mod access_review;
mod agent_age;
pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod claims;
pub(crate) mod controllers;
pub(crate) mod directory;
pub(crate) mod enroll;
pub(crate) mod events;
pub(crate) mod follow;
pub(crate) mod host_changes;
pub(crate) mod hosts;
pub(crate) mod identity_age;
pub(crate) mod key_rotation;
pub(crate) mod members;
pub(crate) mod near;
pub(crate) mod others;
pub(crate) mod policy;
pub(crate) mod reads;
pub(crate) mod recent_events;
pub(crate) mod retention;
pub(crate) mod tokens;
mod trust;
pub(crate) mod who_can;

#[cfg(test)]
mod fixture;
