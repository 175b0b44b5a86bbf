//! The connections of this host, as its kernel knows them: adopted before ports are hidden, followed
//! while they live, cut when they are revoked.
//!
//! | file | what it holds |
//! |---|---|
//! | `adopt` | entering what began before connection tracking did |
//! | `cut` | ending connections for good |
//! | `follow` | the thread that tells the gate which connections begin and end |
//! | `conntrack` | the messages of connection tracking; pure |
//! | `sock_diag` | the messages about the host's own sockets; pure |
//!
//! Who began a connection is decided by the engine, from when it began and which holes were open
//! then. A packet filter whose holes can name the grant in the mark of a connection needs nothing
//! here but a notice that carries the mark.

mod adopt;
mod conntrack;
mod cut;
mod follow;
mod sock_diag;

/// Gives a message to the readers of connection tracking, whoever made it ([`crate::hostile`]).
pub(crate) fn read_hostile(message: crate::netlink::Attributes<'_>) {
    let _ = conntrack::connection(message);
    let _ = conntrack::notice(0, message);
}

pub(crate) use adopt::adopt;
pub(crate) use cut::Cutter;
pub use follow::ConnectionsHandle;
pub(crate) use follow::{Follower, Following, Untaken};
