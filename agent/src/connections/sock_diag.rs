//! The messages about the host's own sockets (sock_diag): writing them, and reading what the kernel
//! says. Pure. Numbers and layouts: linux/sock_diag.h, linux/inet_diag.h, net/tcp_states.h.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use engine::Connection;
use spa::Protocol;

use crate::netlink::{NLM_F_ACK, NLM_F_DUMP, Notice, Requests};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;

/// Every state with a peer in which something may yet be said: ESTABLISHED, FIN_WAIT1, FIN_WAIT2,
/// CLOSE_WAIT, LAST_ACK, CLOSING.
const STATES: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;
/// Whichever socket has these addresses.
const NO_COOKIE: [u8; 8] = [0xff; 8];

/// Address families to list. A socket that listens for both has its IPv4 connections in the second.
pub(super) const FAMILIES: [u8; 2] = [AF_INET, AF_INET6];

/// A socket with a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Socket {
    pub(super) connection: Connection,
    /// Names the socket; another one with the same addresses has another.
    pub(super) cookie: [u8; 8],
}

/// One message that asks for all TCP sockets with a peer.
pub(super) fn list(requests: &mut Requests, family: u8) {
    let flags = NLM_F_ACK | NLM_F_DUMP;
    let header = header(family, STATES, None, [0; 8]);
    requests.begin_other(SOCK_DIAG_BY_FAMILY, flags, &header);
    requests.end();
}

/// One message that asks for the TCP socket of a connection. The answer may be the one that listens
/// there, which has no peer.
pub(super) fn get(requests: &mut Requests, connection: &Connection) {
    let header = header(family(connection), u32::MAX, Some(connection), NO_COOKIE);
    requests.begin_other(SOCK_DIAG_BY_FAMILY, NLM_F_ACK, &header);
    requests.end();
}

/// One message that ends a TCP socket with a reset. Only ever for one that [`get`] has found: without
/// its cookie the kernel could take the listening socket for it.
pub(super) fn destroy(requests: &mut Requests, socket: &Socket) {
    let connection = &socket.connection;
    let header = header(
        family(connection),
        u32::MAX,
        Some(connection),
        socket.cookie,
    );
    requests.begin_other(SOCK_DESTROY, NLM_F_ACK, &header);
    requests.end();
}

/// The socket in an answer; `None` for one without a peer. Mapped IPv4 addresses are IPv4 addresses:
/// who is asked for a connection of IPv4 may answer with a socket that listens for both.
pub(super) fn socket(answer: Notice<'_>) -> Option<Socket> {
    let family = *answer.body.first()?;
    // Behind family, state, timer and retransmissions: `struct inet_diag_sockid`.
    let bytes = answer.body.get(4..)?;
    let port = |at: usize| {
        let port = bytes.get(at..at + 2)?;
        Some(u16::from_be_bytes(port.try_into().ok()?))
    };
    let address = |at: usize| {
        let octets = <[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?;
        let [a, b, c, d, ..] = octets;
        Some(match family {
            AF_INET => IpAddr::V4(Ipv4Addr::from([a, b, c, d])),
            _ => Ipv6Addr::from(octets).to_canonical(),
        })
    };
    let connection = Connection::direct(
        Protocol::Tcp,
        SocketAddr::new(address(20)?, port(2)?),
        SocketAddr::new(address(4)?, port(0)?),
    );
    let cookie = bytes.get(40..48)?.try_into().ok()?;
    (connection.client.port() != 0).then_some(Socket { connection, cookie })
}

/// `AF_INET` or `AF_INET6`, as the addresses of a connection are.
const fn family(connection: &Connection) -> u8 {
    match connection.client {
        SocketAddr::V4(_) => AF_INET,
        SocketAddr::V6(_) => AF_INET6,
    }
}

/// A `struct inet_diag_req_v2`.
fn header(family: u8, states: u32, of: Option<&Connection>, cookie: [u8; 8]) -> Vec<u8> {
    let mut header = vec![family, IPPROTO_TCP, 0, 0];
    header.extend_from_slice(&states.to_ne_bytes());
    let (server, client) = of.map_or((None, None), |connection| {
        (Some(connection.server), Some(connection.client))
    });
    let port = |end: Option<SocketAddr>| end.map_or(0, |end| end.port()).to_be_bytes();
    header.extend_from_slice(&port(server));
    header.extend_from_slice(&port(client));
    for end in [server, client] {
        let mut octets = [0; 16];
        match end.map(|end| end.ip()) {
            Some(IpAddr::V4(v4)) => {
                let [a, b, c, d] = v4.octets();
                octets = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            }
            Some(IpAddr::V6(v6)) => octets = v6.octets(),
            None => {}
        }
        header.extend_from_slice(&octets);
    }
    header.extend_from_slice(&[0; 4]); // any interface
    header.extend_from_slice(&cookie);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_listens_is_never_taken_for_a_connection_and_a_mapped_address_is_ipv4() {
        let connection = |client: &str, server: &str| {
            let (client, server) = (client.parse().unwrap(), server.parse().unwrap());
            Connection::direct(Protocol::Tcp, client, server)
        };
        let read = |of: &Connection| {
            // An answer has the same names as a request, behind as many bytes.
            let mut bytes = header(AF_INET6, 0, Some(of), [7; 8]);
            bytes[4] = AF_INET6;
            let answer = Notice {
                kind: SOCK_DIAG_BY_FAMILY,
                port: 0,
                body: &bytes[4..],
            };
            socket(answer)
        };

        let mapped = connection("[::ffff:192.0.2.7]:40000", "[::ffff:192.0.2.1]:22");
        let listening = connection("[::]:0", "[::]:22");

        let expected = connection("192.0.2.7:40000", "192.0.2.1:22");
        assert_eq!(
            read(&mapped),
            Some(Socket {
                connection: expected,
                cookie: [7; 8]
            })
        );
        assert_eq!(read(&listening), None);
    }
}
