//! What could open something, as far as that is seen without a key.
//!
//! It decides only what the gate is woken for: all that comes is handed on, judged and counted there.

use gate::{Datagram, Packet, Transport};
use spa::Sealed;

use crate::capture::Arrival;

/// Whether it may be a packet of a user, or a part of one. Only what a datagram of UDP has in it is looked at: what has
/// nothing in it may belong to a knock sequence, and a SYN shows an operating system.
pub(super) fn may_open(arrival: &Arrival<'_>) -> bool {
    match arrival {
        Arrival::Frame(link, frame) | Arrival::Seen(link, frame) => {
            match Packet::parse(frame, *link) {
                Ok(Packet::Whole(datagram)) => is_packet(&datagram),
                Ok(Packet::Fragment(_)) | Err(_) => true,
            }
        }
        Arrival::Datagram(datagram) => is_packet(datagram),
    }
}

fn is_packet(datagram: &Datagram<'_>) -> bool {
    let payload = datagram.payload;
    datagram.transport != Transport::Udp
        || payload.is_empty()
        || payload.starts_with(b"GET ")
        || Sealed::parse(payload).is_ok_and(|sealed| sealed.could_be_any())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn may(transport: Transport, payload: &[u8]) -> bool {
        may_open(&Arrival::Datagram(Datagram {
            source: Ipv4Addr::LOCALHOST.into(),
            destination: Ipv4Addr::LOCALHOST.into(),
            source_port: 40_000,
            destination_port: 62_201,
            transport,
            payload,
        }))
    }

    #[test]
    fn what_the_real_client_sends_may_open_and_what_has_no_packets_characters_may_not() {
        for vector in vectors::valid() {
            assert!(
                may(Transport::Udp, vector.packet.as_bytes()),
                "{}",
                vector.name
            );
        }
        for junk in [&b"hello"[..], &[b' '; 204], &[0; 1_472]] {
            assert!(!may(Transport::Udp, junk));
        }
    }

    #[test]
    fn what_is_not_looked_at_may_open() {
        assert!(may(Transport::Udp, b"GET /abc HTTP/1.1"));
        for transport in [Transport::Tcp, Transport::Icmp, Transport::Gre] {
            assert!(may(transport, b"hello"));
        }
        // The second part of a packet: version, length, offset, UDP, addresses.
        let mut part = vec![
            0x45, 0, 0, 28, 0, 7, 0, 3, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2,
        ];
        part.extend([b'A'; 8]);
        // A SYN, which is no datagram with something in it.
        let mut syn = vec![
            0x45, 0, 0, 40, 0, 7, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2,
        ];
        syn.extend([
            0x9c, 0x40, 0, 22, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0,
        ]);
        for of in [Arrival::Frame, Arrival::Seen] {
            for frame in [&part[..], &part[..19], &syn] {
                assert!(may_open(&of(gate::LinkType::RawIp, frame)));
            }
        }
        // As knock sequences have them.
        assert!(may(Transport::Udp, b""));
    }
}
