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
    /// Read the whole log with what proves it.
    VerifyAudit,
    /// See who may open what, now and then.
    ViewAccess,
    /// See hosts and their state.
    ViewHosts,
    /// See who belongs to the fleet, and who is invited.
    ViewMembers,
    /// See policies and their history.
    ViewPolicy,
    /// See where events are sent on to.
    ViewSinks,
}

// === impl Permission ===

impl Permission {
    /// Every permission, in alphabetical order.
    pub const ALL: [Self; 15] = [
        Self::ApplyPolicy,
        Self::Audit,
        Self::CheckPolicy,
        Self::ClaimMessages,
        Self::CreateTokens,
        Self::ManageHosts,
        Self::ManageMembers,
        Self::ServeAsHost,
        Self::SyncDirectory,
        Self::VerifyAudit,
        Self::ViewAccess,
        Self::ViewHosts,
        Self::ViewMembers,
        Self::ViewPolicy,
        Self::ViewSinks,
    ];

    /// Whether doing it changes what is stored for others to be told of. What is only asked may be
    /// dropped with its asker, and hosts say again what was not answered.
    pub(crate) const fn changes(self) -> bool {
        match self {
            Self::ApplyPolicy | Self::CreateTokens | Self::ManageHosts | Self::ManageMembers => {
                true
            }
            Self::Audit
            | Self::CheckPolicy
            | Self::ClaimMessages
            | Self::ServeAsHost
            | Self::SyncDirectory
            | Self::VerifyAudit
            | Self::ViewAccess
            | Self::ViewHosts
            | Self::ViewMembers
            | Self::ViewPolicy
            | Self::ViewSinks => false,
        }
    }

    /// What it is to do it, in words that go on after "may not".
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::ApplyPolicy => "apply policies",
            Self::Audit => "read the audit log",
            Self::CheckPolicy => "compare policies",
            Self::ClaimMessages => "claim messages",
            Self::CreateTokens => "make or revoke tokens",
            Self::ManageHosts => "change hosts",
            Self::ManageMembers => "lock, unlock or remove members",
            Self::ServeAsHost => "serve as a host",
            Self::SyncDirectory => "have a directory",
            Self::VerifyAudit => "verify the audit log",
            Self::ViewAccess => "see who may open what",
            Self::ViewHosts => "see hosts",
            Self::ViewMembers => "see members and tokens",
            Self::ViewPolicy => "read policies",
            Self::ViewSinks => "see where events are sent",
        }
    }
}
