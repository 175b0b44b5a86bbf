//! A filter applied to frames where no kernel applies it: those of a file.
//!
//! Ports are looked for by the gate's own parser, so that what it reads it is also given. A filter in
//! libpcap's language is libpcap's, and refused without it.

use std::collections::BTreeSet;

use gate::{Datagram, FRAGMENTED_LEN_MAX, LinkType, Packet, Transport};

use super::filter::UDP_LEN;
use super::{CaptureError, Filter, Transports};

/// A filter for frames of one link type.
pub(super) enum FrameFilter {
    Ports(Ports),
    #[cfg(feature = "pcap")]
    Own(pcap::BpfProgram),
}

/// The ports that packets are judged at.
pub(super) struct Ports {
    link: LinkType,
    ports: BTreeSet<u16>,
    transports: Transports,
}

// === impl FrameFilter ===

impl FrameFilter {
    /// Prepares `filter` for frames of a link type: `number` is libpcap's, `link` the gate's name.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Filter`] when it is no filter; [`CaptureError::NoLibpcap`] when it is one of
    /// the operator's own and this agent was built without libpcap.
    pub(super) fn compile(
        number: i32,
        link: LinkType,
        filter: &Filter,
    ) -> Result<Self, CaptureError> {
        match filter {
            Filter::Own(text) => own(number, text),
            Filter::Ports { .. } => Ok(Self::Ports(Ports::new(link, filter))),
        }
    }

    /// Whether the frame is worth judging.
    pub(super) fn passes(&self, frame: &[u8]) -> bool {
        match self {
            Self::Ports(ports) => ports.pass(frame),
            #[cfg(feature = "pcap")]
            Self::Own(program) => program.filter(frame),
        }
    }
}

#[cfg(feature = "pcap")]
fn own(number: i32, filter: &str) -> Result<FrameFilter, CaptureError> {
    let dead = pcap::Capture::dead(pcap::Linktype(number));
    let program = dead.and_then(|dead| dead.compile(filter, true));
    let program = program.map_err(|cause| CaptureError::Filter {
        filter: filter.to_owned(),
        reason: cause.to_string(),
    });
    program.map(FrameFilter::Own)
}

#[cfg(not(feature = "pcap"))]
fn own(_number: i32, filter: &str) -> Result<FrameFilter, CaptureError> {
    Err(CaptureError::NoLibpcap {
        wanted: format!("use the filter `{filter}`"),
    })
}

// === impl Ports ===

impl Ports {
    fn new(link: LinkType, filter: &Filter) -> Self {
        Self {
            link,
            ports: filter.ports().unwrap_or_default(),
            transports: filter.transports().unwrap_or(Transports::UDP),
        }
    }

    /// Whether this is as long as an SPA packet, to one of the ports where there are any, or may be a
    /// part of it.
    fn pass(&self, frame: &[u8]) -> bool {
        match Packet::parse(frame, self.link) {
            Ok(Packet::Whole(datagram)) => self.is_to_us(&datagram),
            Ok(Packet::Fragment(part)) => part.offset <= FRAGMENTED_LEN_MAX as usize,
            Err(_) => false,
        }
    }

    fn is_to_us(&self, datagram: &Datagram<'_>) -> bool {
        const UDP_HEADER_LEN: u32 = 8;
        let (min, max) = UDP_LEN;
        let length = u32::try_from(datagram.payload.len()).unwrap_or(u32::MAX);
        let length = length.saturating_add(UDP_HEADER_LEN);
        let is_to_port = self.ports.contains(&datagram.destination_port);
        let fits = match datagram.transport {
            Transport::Udp => is_to_port && length <= max,
            // A request has a head around the packet.
            Transport::Tcp => is_to_port,
            Transport::Icmp | Transport::Gre | Transport::Other(_) => length <= max,
        };
        fits && length >= min && self.transports.takes(datagram.transport)
    }
}

/// Number and name of a link type that is not read here.
pub(super) fn name_of_link(number: i32) -> String {
    #[cfg(feature = "pcap")]
    if let Ok(name) = pcap::Linktype(number).get_name() {
        return format!("{number} ({name})");
    }
    number.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter() -> Filter {
        let mut filter = Filter::for_port(62_201);
        filter.follow(&[62_202_u16.try_into().unwrap()].into());
        filter
    }

    /// A raw IP packet with UDP in it.
    fn udp(is_v6: bool, port: u16, payload_len: u16) -> Vec<u8> {
        let mut udp = vec![0xd4, 0x31];
        udp.extend_from_slice(&port.to_be_bytes());
        udp.extend_from_slice(&(payload_len + 8).to_be_bytes());
        udp.extend_from_slice(&[0, 0]);
        udp.resize(usize::from(payload_len) + 8, b'A');
        let length = u16::try_from(udp.len()).unwrap();
        let mut packet = if is_v6 {
            let mut packet = vec![0x60, 0, 0, 0];
            packet.extend_from_slice(&length.to_be_bytes());
            packet.extend_from_slice(&[17, 64]);
            packet.extend([0x20, 1, 0x0d, 0xb8].iter().chain(&[0; 11]).chain(&[1]));
            packet.extend([0x20, 1, 0x0d, 0xb8].iter().chain(&[0; 11]).chain(&[2]));
            packet
        } else {
            let mut packet = vec![0x45, 0];
            packet.extend_from_slice(&(length + 20).to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
            packet
        };
        packet.extend_from_slice(&udp);
        packet
    }

    #[test]
    fn only_what_can_be_an_spa_packet_to_one_of_the_ports_passes() {
        const DLT_RAW: i32 = 12;
        let ours = FrameFilter::compile(DLT_RAW, LinkType::RawIp, &filter()).unwrap();
        for is_v6 in [false, true] {
            for (port, len, passes) in [
                (62_201, 140, true),
                (62_202, 1_508, true),
                (62_203, 140, false),
                (62_201, 139, false),
                (62_201, 1_509, false),
            ] {
                let packet = udp(is_v6, port, len);
                let case = format!("{len} bytes to {port}, IPv6 {is_v6}");
                assert_eq!(ours.passes(&packet), passes, "{case}");
            }
        }
        assert!(!ours.passes(&[]));
    }

    #[cfg(feature = "pcap")]
    #[test]
    fn a_link_type_that_is_not_read_is_named() {
        let named = [105, 127, 189, 9_999].map(name_of_link);

        assert_eq!(
            named,
            [
                "105 (IEEE802_11)",
                "127 (IEEE802_11_RADIO)",
                "189 (USB_LINUX)",
                "9999"
            ]
        );
    }

    #[cfg(not(feature = "pcap"))]
    #[test]
    fn without_libpcap_a_filter_in_its_language_is_refused_by_name() {
        let own = Filter::Own("udp port 1".to_owned());

        let refused = FrameFilter::compile(1, LinkType::Ethernet, &own).map(|_| ());

        let text = refused.unwrap_err().to_string();
        assert!(
            text.contains("without libpcap") && text.contains("`udp port 1`"),
            "{text}"
        );
    }
}
