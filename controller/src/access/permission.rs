//! What a member of the fleet may be permitted to do.

/// One thing that a role may or may not do. It names the use case, not the way by which it is
/// called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Permission {
    /// Make a policy the one in force, or put an older one back.
    ApplyPolicy,
    /// Ask who opened what.
    Audit,
    /// End a host's membership.
    BanHosts,
    /// Make one-time tokens.
    CreateTokens,
    /// Be a host: hear of policies and claims, claim messages, push events.
    ServeAsHost,
    /// Take away the directory of the hosts that one may open.
    SyncDirectory,
    /// See hosts and their state.
    ViewHosts,
    /// See policies, their history, and what a change of them would do.
    ViewPolicy,
}

// === impl Permission ===

impl Permission {
    /// Every permission, in alphabetical order.
    pub const ALL: [Self; 8] = [
        Self::ApplyPolicy,
        Self::Audit,
        Self::BanHosts,
        Self::CreateTokens,
        Self::ServeAsHost,
        Self::SyncDirectory,
        Self::ViewHosts,
        Self::ViewPolicy,
    ];
}
