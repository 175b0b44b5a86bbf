//! Who makes a request.

use std::net::IpAddr;

use fleet::Role;

/// The member that makes a request; in the request's extensions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Caller {
    /// `Member::id`.
    pub(crate) id: u64,
    pub(crate) role: Role,
    pub(crate) name: String,
}

/// Where a request comes from; in the request's extensions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PeerAddress(pub(crate) Option<IpAddr>);
