//! Sessions that are older than connection tracking.
//!
//! In a network namespace it begins with the first rule that uses it, and a packet in the middle of
//! a session that it has not seen belongs to nothing established. So whoever hides a port for the
//! first time enters the sessions that exist, and they live on.

use std::ops::ControlFlow;

use engine::Connection;
use spa::{Protocol, Service};

use super::{conntrack, sock_diag};
use crate::netlink::{Netlink, NetlinkError, Requests};

/// Enters every TCP session to one of these ports that connection tracking does not know; says how
/// many there were.
///
/// # Errors
///
/// When the kernel cannot be asked, or does not take one of them; all others are entered.
pub(crate) fn adopt(ports: &[Service]) -> Result<usize, NetlinkError> {
    let is_tcp = |service: &Service| match service {
        Service::Ports(range) => range.protocol() == Protocol::Tcp,
        Service::Echo => false,
    };
    if !ports.iter().any(is_tcp) {
        return Ok(0);
    }
    let mut entered = 0;
    let mut result = Ok(());
    let mut netlink = Netlink::open()?;
    let mut requests = Requests::default();
    for session in sessions(ports)? {
        requests.clear();
        conntrack::insert(&mut requests, &session);
        match netlink.execute(&mut requests) {
            Ok(()) => entered += 1,
            // It is known already.
            Err(NetlinkError::Kernel(errno)) if errno.code == conntrack::EEXIST => {}
            Err(cause) => result = Err(cause),
        }
    }
    result.map(|()| entered)
}

/// The TCP sessions of this host to these ports. What goes over the loopback interface is nobody's
/// to hide.
fn sessions(ports: &[Service]) -> Result<Vec<Connection>, NetlinkError> {
    let mut netlink = Netlink::open_sock_diag()?;
    let mut requests = Requests::default();
    let mut found = Vec::new();
    for family in sock_diag::FAMILIES {
        requests.clear();
        sock_diag::list(&mut requests, family);
        netlink.list(&mut requests, &mut |answer| {
            let socket = sock_diag::socket(answer);
            found.extend(socket.map(|socket| socket.connection).filter(|session| {
                let asked = session.asked();
                let is_to = |service: &Service| asked.is_some_and(|port| service.contains(port));
                ports.iter().any(is_to) && !session.client.ip().is_loopback()
            }));
            ControlFlow::Continue(())
        })?;
    }
    Ok(found)
}
