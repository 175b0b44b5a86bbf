//! Ending connections for good.

use std::fs;
use std::ops::ControlFlow;

use engine::Connection;
use spa::Protocol;

use super::{conntrack, sock_diag};
use crate::netlink::{Listener, Netlink, NetlinkError, Requests};

/// Ends connections: makes connection tracking forget them, so that no packet of theirs is let in
/// or out any more, and before that lets a local service know.
#[derive(Debug)]
pub(crate) struct Cutter {
    conntrack: Netlink,
    /// `None` where the kernel does not show sockets.
    sockets: Option<Netlink>,
    requests: Requests,
}

// === impl Cutter ===

impl Cutter {
    /// Connects to the kernel of this thread's network namespace. `None` where it does not let
    /// connections be followed, listed and deleted: whoever cannot know them all cannot end them
    /// one by one.
    pub(crate) fn open() -> Option<Self> {
        let mut cutter = Self {
            conntrack: Netlink::open().ok()?,
            sockets: Netlink::open_sock_diag().ok(),
            requests: Requests::default(),
        };
        let is_told =
            Listener::netfilter(&[conntrack::GROUP_NEW, conntrack::GROUP_DESTROY]).is_ok();
        (cutter.can_ask() && is_told && has_events()).then_some(cutter)
    }

    fn can_ask(&mut self) -> bool {
        let nowhere = ([0, 0, 0, 0], 0).into();
        let nothing = Connection::direct(Protocol::Tcp, nowhere, nowhere);
        self.requests.clear();
        conntrack::get(&mut self.requests, &nothing);
        match self.conntrack.dump(&mut self.requests, &mut |_| ()) {
            Ok(()) => true,
            Err(NetlinkError::Kernel(errno)) => errno.code == conntrack::ENOENT,
            Err(NetlinkError::Io(_) | NetlinkError::Truncated(_)) => false,
        }
    }

    /// Ends these connections. What is over already is no error.
    ///
    /// # Errors
    ///
    /// The first that the kernel did not let go; the others have been ended.
    pub(crate) fn cut(&mut self, connections: &[Connection]) -> Result<(), NetlinkError> {
        let mut result = Ok(());
        for connection in connections {
            // First the socket: its reset still finds the way to the client.
            if connection.protocol == Protocol::Tcp {
                self.reset(connection);
            }
            self.requests.clear();
            conntrack::delete(&mut self.requests, connection);
            match self.conntrack.execute(&mut self.requests) {
                Ok(()) => {}
                Err(NetlinkError::Kernel(errno)) if errno.code == conntrack::ENOENT => {}
                Err(cause) => result = result.and(Err(cause)),
            }
        }
        result
    }

    /// Ends the socket of a local service. There need not be one (the connection may be forwarded),
    /// and a kernel may not be able to: it is the second step, not the one that counts.
    fn reset(&mut self, connection: &Connection) {
        let Some(sockets) = &mut self.sockets else {
            return;
        };
        self.requests.clear();
        sock_diag::get(&mut self.requests, connection);
        let mut found = None;
        let asked = sockets.list(&mut self.requests, &mut |answer| {
            found = sock_diag::socket(answer);
            ControlFlow::Continue(())
        });
        // A socket is in no zone.
        let connection = &Connection {
            zone: 0,
            ..*connection
        };
        let is_it = |socket: &sock_diag::Socket| socket.connection == *connection;
        if let (Ok(()), Some(socket)) = (asked, found.filter(is_it)) {
            self.requests.clear();
            sock_diag::destroy(&mut self.requests, &socket);
            if let Err(cause) = sockets.execute(&mut self.requests) {
                tracing::debug!(%connection, error = %cause, "the socket is not ended");
            }
        }
    }
}

/// Whether connection tracking tells anything; an administrator may have switched it off.
fn has_events() -> bool {
    let switch = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_events");
    switch.is_ok_and(|switch| switch.trim() != "0")
}
