//! What a member of the fleet may be permitted to do.

/// One thing that a role may or may not do. It names the use case, not the way by which it is
/// called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Permission {
    /// Make a policy the one in force, or put an older one back.
    ApplyPolicy,
    /// Ask who opened what.
    Audit,
    /// Compare a text with the policy in force, and run its tests; stores nothing.
    CheckPolicy,
    /// Claim messages in the shared replay list.
    ClaimMessages,
    /// Make one-time tokens, and revoke them.
    CreateTokens,
    /// Give hosts other addresses, labels and names.
    ManageHosts,
    /// Lock, unlock and remove members.
    ManageMembers,
    /// Be a host that is there: hear what to do, say what is done, push events.
    ServeAsHost,
    /// Take away the directory of the hosts that one may open.
    SyncDirectory,
    /// See who may open what, now and then.
    ViewAccess,
    /// See hosts and their state.
    ViewHosts,
    /// See who belongs to the fleet, and who is invited.
    ViewMembers,
    /// See policies, their history, and what a change of them would do.
    ViewPolicy,
}

// === impl Permission ===

impl Permission {
    /// Every permission, in alphabetical order.
    pub const ALL: [Self; 13] = [
        Self::ApplyPolicy,
        Self::Audit,
        Self::CheckPolicy,
        Self::ClaimMessages,
        Self::CreateTokens,
        Self::ManageHosts,
        Self::ManageMembers,
        Self::ServeAsHost,
        Self::SyncDirectory,
        Self::ViewAccess,
        Self::ViewHosts,
        Self::ViewMembers,
        Self::ViewPolicy,
    ];
}
