//! Changes of what is known of a host besides its own word: where it is reached, labels, name.

use std::collections::BTreeMap;

use super::{Change, Member};

/// What a host is to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HostEdit {
    /// `Member::id`.
    pub(crate) host: u64,
    pub(crate) name: String,
    /// As of a [`Member`].
    pub(crate) address: String,
    pub(crate) more_addresses: Vec<String>,
    pub(crate) spa_port: u16,
    pub(crate) labels: BTreeMap<String, String>,
    /// Of whom, by whom and when, by the name that it has now; its reason is what is recorded.
    pub(crate) change: Change,
}

/// What a change of a host came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum HostEdited {
    /// With the ids of the tokens that were made for its former name, and are void.
    Done {
        host: Box<Member>,
        revoked_tokens: Vec<String>,
    },
    /// It is no member any more, or has another name by now.
    Unknown,
    /// Another host has the name.
    NameTaken,
}
