//! A filter applied to the frames of a file, where no kernel applies it.
//!
//! With libpcap, by the program that the kernel would run. Without it, the ports are looked for by
//! the gate's own parser, and a filter in libpcap's language is refused.

use gate::LinkType;

use super::{CaptureError, Filter};

/// A filter for frames of one link type.
pub(super) struct FrameFilter(Program);

#[cfg(feature = "pcap")]
type Program = pcap::BpfProgram;
#[cfg(not(feature = "pcap"))]
type Program = ports::Ports;

// === impl FrameFilter ===

impl FrameFilter {
    /// Prepares `filter` for frames of a link type: `number` is libpcap's, `link` the gate's name.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Filter`] when it is no filter; [`CaptureError::NoLibpcap`] when it is one of
    /// the operator's own and this agent was built without libpcap.
    #[cfg(feature = "pcap")]
    pub(super) fn compile(
        number: i32,
        _link: LinkType,
        filter: &Filter,
    ) -> Result<Self, CaptureError> {
        let filter = filter.to_string();
        let dead = pcap::Capture::dead(pcap::Linktype(number));
        let program = dead.and_then(|dead| dead.compile(&filter, true));
        program.map(Self).map_err(|cause| CaptureError::Filter {
            filter,
            reason: cause.to_string(),
        })
    }

    /// Prepares `filter` for frames of a link type: `number` is libpcap's, `link` the gate's name.
    ///
    /// # Errors
    ///
    /// [`CaptureError::NoLibpcap`] when it is one of the operator's own.
    #[cfg(not(feature = "pcap"))]
    pub(super) fn compile(
        _number: i32,
        link: LinkType,
        filter: &Filter,
    ) -> Result<Self, CaptureError> {
        ports::Ports::new(link, filter).map(Self)
    }

    /// Whether the frame is worth judging.
    #[cfg(feature = "pcap")]
    pub(super) fn passes(&self, frame: &[u8]) -> bool {
        self.0.filter(frame)
    }

    /// Whether the frame is worth judging.
    #[cfg(not(feature = "pcap"))]
    pub(super) fn passes(&self, frame: &[u8]) -> bool {
        self.0.pass(frame)
    }
}

/// The ports of a filter, looked for without libpcap.
#[cfg(any(test, not(feature = "pcap")))]
mod ports {
    use std::collections::BTreeSet;

    use gate::{Datagram, LinkType, Transport};

    use super::super::filter::UDP_LEN;
    use super::{CaptureError, Filter};

    pub(super) struct Ports {
        link: LinkType,
        ports: BTreeSet<u16>,
    }

    impl Ports {
        pub(super) fn new(link: LinkType, filter: &Filter) -> Result<Self, CaptureError> {
            match filter {
                Filter::Ports { host, policy } => Ok(Self {
                    link,
                    ports: policy
                        .iter()
                        .map(|port| port.get())
                        .chain([*host])
                        .collect(),
                }),
                Filter::Own(text) => Err(CaptureError::NoLibpcap {
                    wanted: format!("use the filter `{text}`"),
                }),
            }
        }

        pub(super) fn pass(&self, frame: &[u8]) -> bool {
            const UDP_HEADER_LEN: u32 = 8;
            let (min, max) = UDP_LEN;
            let Ok(datagram) = Datagram::parse(frame, self.link) else {
                return false;
            };
            let length = u32::try_from(datagram.payload.len()).unwrap_or(u32::MAX);
            datagram.transport == Transport::Udp
                && self.ports.contains(&datagram.destination_port)
                && (min..=max).contains(&length.saturating_add(UDP_HEADER_LEN))
        }
    }
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
        let ports = ports::Ports::new(LinkType::RawIp, &filter()).unwrap();
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
                assert_eq!(ports.pass(&packet), passes, "{case}, without libpcap");
            }
        }
        assert!(!ours.passes(&[]) && !ports.pass(&[]));
    }

    #[test]
    fn without_libpcap_a_filter_in_its_language_is_refused_by_name() {
        let own = Filter::Own("udp port 1".to_owned());

        let refused = ports::Ports::new(LinkType::Ethernet, &own).map(|_| ());

        let text = refused.unwrap_err().to_string();
        assert!(
            text.contains("without libpcap") && text.contains("`udp port 1`"),
            "{text}"
        );
    }
}
