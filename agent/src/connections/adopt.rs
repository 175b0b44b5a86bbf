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
/// many there were. `zones` names the zones, beside the default one, in which packets of theirs may
/// be looked for; it is asked only where there is a session.
///
/// # Errors
///
/// When the kernel cannot be asked, or does not take one of them; all others are entered.
pub(crate) fn adopt(
    ports: &[Service],
    zones: impl FnOnce() -> Vec<u16>,
) -> Result<usize, NetlinkError> {
    let is_tcp = |service: &Service| match service {
        Service::Ports(range) => range.protocol() == Protocol::Tcp,
        Service::Echo => false,
    };
    if !ports.iter().any(is_tcp) {
        return Ok(0);
    }
    let sessions = sessions(ports)?;
    if sessions.is_empty() {
        return Ok(0);
    }
    let zones = zones();
    let mut entered = 0;
    let mut result = Ok(());
    let mut netlink = Netlink::open()?;
    for session in sessions {
        match enter(&mut netlink, &session, &zones) {
            Ok(true) => entered += 1,
            Ok(false) => {}
            Err(cause) => result = Err(cause),
        }
    }
    result.map(|()| entered)
}

/// Enters a session into the default zone and into these, unless one of them knows it already.
fn enter(netlink: &mut Netlink, session: &Connection, zones: &[u16]) -> Result<bool, NetlinkError> {
    let mut requests = Requests::default();
    let in_zone = |zone: &u16| Connection {
        zone: *zone,
        ..*session
    };
    for session in zones.iter().map(in_zone) {
        requests.clear();
        conntrack::get(&mut requests, &session);
        if netlink.dump(&mut requests, &mut |_| ()).is_ok() {
            return Ok(false);
        }
    }
    for session in std::iter::once(*session).chain(zones.iter().map(in_zone)) {
        requests.clear();
        conntrack::insert(&mut requests, &session);
        match netlink.execute(&mut requests) {
            Ok(()) => {}
            // It is known already.
            Err(NetlinkError::Kernel(errno)) if errno.code == conntrack::EEXIST => {
                return Ok(false);
            }
            Err(cause) => return Err(cause),
        }
    }
    Ok(true)
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
