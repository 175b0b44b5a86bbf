//! How grants and cycles end.

use fleet::EventKind;

/// How a grant ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// At its time, or with the agent.
    Closed,
    /// The firewall did not open it, or not all of it.
    NotOpened,
    /// A new policy does not give it.
    Revoked,
    /// Its hole had closed before; its connections are ended.
    Cut,
    /// The user wanted so.
    ByUser,
    /// The firewall did not open it for longer, or not all of it: it ends when it would have.
    NotExtended,
}

// === impl End ===

impl End {
    /// The event that says so.
    pub(crate) fn kind(self) -> EventKind {
        match self {
            Self::Closed | Self::NotOpened | Self::ByUser | Self::NotExtended => {
                EventKind::GrantClosed
            }
            Self::Revoked => EventKind::GrantRevoked,
            Self::Cut => EventKind::ConnectionsCut,
        }
    }
}
