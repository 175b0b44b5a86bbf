//! Where the server listens: one socket for IPv6 and IPv4, or for what the machine has.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpSocket};

use super::ServerError;
use crate::settings::Listen;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 8_192;

/// Begins to listen, with a socket that `open` gives. A machine without IPv6 listens on IPv4 when it
/// was to listen everywhere; a port that is taken is never answered by the other family alone.
pub(super) fn bind(
    listen: Listen,
    mut open: impl FnMut(SocketAddr) -> io::Result<TcpListener>,
) -> Result<(SocketAddr, TcpListener), ServerError> {
    let (address, listener) = match listen {
        Listen::At(address) => (address, open(address)),
        Listen::Everywhere(port) => {
            let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            match open(both) {
                Err(error) if is_without_ipv6(&error) => {
                    tracing::info!("this machine has no IPv6: listening on IPv4 only");
                    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
                    (address, open(address))
                }
                opened => (both, opened),
            }
        }
    };
    let failed = |source| ServerError::Listen { address, source };
    let listener = listener.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((bound, listener))
}

/// A socket that listens; one on all addresses of IPv6 takes IPv4 too, whatever the system's default
/// (`net.ipv6.bindv6only`).
pub(super) fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() {
        TcpSocket::new_v6()?
    } else {
        TcpSocket::new_v4()?
    };
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        setsockopt(&socket.as_fd(), sockopt::Ipv6V6Only, &false)?;
    }
    // What std sets too: a restart need not wait for old connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The kernel has no IPv6, or none that anything may listen on.
fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT)
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn everywhere_is_both_families_by_one_socket() {
        let (bound, listener) = bind(Listen::Everywhere(0), open).unwrap();

        for ip in [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ] {
            let peer = TcpStream::connect((ip, bound.port()));
            if ip.is_ipv6() && peer.is_err() {
                // A machine without an address of IPv6 has nothing to show here.
                continue;
            }
            peer.unwrap();
            listener.accept().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_machine_without_ipv6_listens_on_ipv4_and_a_taken_port_is_refused() {
        let without = |address: SocketAddr| match address {
            SocketAddr::V6(_) => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
            SocketAddr::V4(_) => open(address),
        };
        let (bound, _listener) = bind(Listen::Everywhere(0), without).unwrap();
        assert_eq!(bound.ip(), IpAddr::from(Ipv4Addr::UNSPECIFIED));

        let taken = bind(Listen::Everywhere(bound.port()), open);
        assert!(matches!(taken, Err(ServerError::Listen { .. })));
    }
}
