//! What several controllers over one database tell each other.

/// What has moved since somebody looked last: the newest number of each thing that is followed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Look {
    /// The newest record of the log.
    pub(crate) record: u64,
    /// The newest change of where hosts are and what they have heard.
    pub(crate) hosts: u64,
    /// The newest claim.
    pub(crate) claims: u64,
    /// The newest change of members.
    pub(crate) members: u64,
    /// Another number for each state that the authorities had; 0 where one controller has them alone. It tells when to
    /// read them, and says nothing of what they are.
    pub(crate) authority: u64,
    /// Controllers that run, each with what it said last: another number each time.
    pub(crate) controllers: Vec<(u64, u64)>,
}

/// What a controller says of itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ControllerFacts {
    /// Where members dial it, `host:port`; empty of one of before that does not say.
    pub(crate) address: String,
    pub(crate) version: String,
    /// When it began to serve, by its own clock; 0 of one that does not say.
    pub(crate) since_ms: u64,
}

/// One of those that run, as it has said it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ControllerSaid {
    /// Of its run.
    pub(crate) id: u64,
    pub(crate) facts: ControllerFacts,
}

/// Records of one kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct OfKind {
    /// By its number in the contract.
    pub(crate) kind: i32,
    /// The newest of them.
    pub(crate) newest: u64,
    pub(crate) count: u64,
}

/// Where a host is, as a controller has said it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct HostAt {
    /// `Member::id`.
    pub(crate) member: u64,
    /// The controller that has its session; 0 for none.
    pub(crate) controller: u64,
    /// The host enforces what it should by the records of the log up to this one; 0 for not known.
    pub(crate) heard: u64,
    /// Of this change.
    pub(crate) number: u64,
}

/// What a host has pushed into the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct HostPushed {
    /// `Member::id`.
    pub(crate) member: u64,
    pub(crate) records: u64,
    /// Of their bodies together.
    pub(crate) body_bytes: u64,
}

/// What a controller says of a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct HostSaid {
    /// `Member::id`.
    pub(crate) member: u64,
    /// It has a session here.
    pub(crate) is_here: bool,
    /// See [`HostAt::heard`].
    pub(crate) heard: u64,
}
