//! Whose membership has changed, for whoever follows.

use std::collections::BTreeMap;

use fleet::Role;

use super::Member;

/// How far changes of members have come.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct MembersMoved {
    /// Of the last change.
    pub(crate) number: u64,
    /// How far writers have come that take no numbers: another text each time that one of them has written. Empty where
    /// there are none.
    pub(crate) unnumbered: String,
}

/// A member that is not what it was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct MemberChange {
    /// `Member::id`.
    pub(crate) member: u64,
    /// `None` of a row that something else than the controller has written.
    pub(crate) role: Option<Role>,
    /// It had this name, or has it.
    pub(crate) name: String,
    pub(crate) number: u64,
}

/// Members that changed after some number.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ChangedMembers {
    /// In the order of their last changes.
    pub(crate) changes: Vec<MemberChange>,
    /// Those of them that there are, as they are now; in no order.
    pub(crate) members: Vec<Member>,
    /// Names of users among them: whether who had that was removed, and nobody has taken it since.
    pub(crate) departed: BTreeMap<String, bool>,
    /// Every key up to this one was given to one of them, or before.
    pub(crate) highest_key: u64,
}
