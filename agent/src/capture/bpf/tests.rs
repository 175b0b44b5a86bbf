//! The program as the kernel runs it, beside the gate's own reading of the same frames.

use std::os::unix::net::UnixDatagram;

use gate::{Datagram, NotForUs, Packet, Transport};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const PORT: u16 = 62_201;

/// A socket of the kernel's with the program on it.
struct Kernel {
    sender: UnixDatagram,
    receiver: UnixDatagram,
}

impl Kernel {
    fn new(link: LinkType, ports: &BTreeSet<u16>) -> Self {
        Self::taking(link, of_udp(ports))
    }

    fn taking(link: LinkType, wanted: Wanted<'_>) -> Self {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        receiver.set_nonblocking(true).unwrap();
        let program = Program::new(link, wanted).unwrap();
        program.attach(&receiver).unwrap();
        Self { sender, receiver }
    }

    fn passes(&self, frame: &[u8]) -> bool {
        // What the filter refuses, the kernel takes without a word.
        self.sender.send(frame).unwrap();
        self.receiver.recv(&mut [0; 4096]).is_ok()
    }
}

const fn of_udp(ports: &BTreeSet<u16>) -> Wanted<'_> {
    Wanted {
        ports,
        transports: Transports::UDP,
        any_direction: false,
    }
}

fn ports() -> BTreeSet<u16> {
    [PORT, 62_202].into()
}

/// What passes where the gate's own parser looks for it. It reads what is cut off behind the UDP
/// header as damaged, which a filter cannot see.
fn is_worth_judging(frame: &[u8], link: LinkType) -> bool {
    match Packet::parse(frame, link) {
        Ok(Packet::Whole(datagram)) => {
            let Datagram {
                transport,
                destination_port,
                payload,
                ..
            } = datagram;
            // No length at all means "the rest" to the parser, and nothing to a host.
            let at = payload.as_ptr().addr() - frame.as_ptr().addr();
            let has_length = frame[at - 4..at - 2] != [0, 0];
            transport == Transport::Udp
                && has_length
                && ports().contains(&destination_port)
                && (140..=1508).contains(&payload.len())
        }
        Ok(Packet::Fragment(_)) => true,
        Err(_) => false,
    }
}

/// Link type, name and bytes of frames that another program made.
fn frames() -> Vec<(LinkType, String, Vec<u8>)> {
    let file = include_str!("../../../gate/tests/data/frames.txt");
    let lines = file.lines().filter(|line| !line.starts_with('#'));
    let frame = |line: &str| {
        let fields: Vec<&str> = line.split(" | ").collect();
        let link = LinkType::of_number(fields[1].parse().unwrap()).unwrap();
        (link, fields[0].to_owned(), unhex(fields[3]))
    };
    lines.map(frame).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn whatever_hides_the_ports_of_a_packet_the_kernel_lets_it_through() {
    let kernels =
        [LinkType::Ethernet, LinkType::RawIp].map(|link| (link, Kernel::new(link, &ports())));
    let mut count = 0;
    for (link, name, frame) in frames() {
        for (_, kernel) in kernels.iter().filter(|(of, _)| *of == link) {
            assert!(kernel.passes(&frame), "{name}");
            let mut elsewhere = frame.clone();
            let port = PORT.to_be_bytes();
            let at = frame.windows(2).position(|two| two == port).unwrap();
            elsewhere[at] ^= 1;
            assert!(!kernel.passes(&elsewhere), "{name}");
            for length in 0..at + 4 {
                assert!(!kernel.passes(&frame[..length]), "{name}, {length}");
            }
            count += 1;
        }
    }
    assert_eq!(count, 24);
}

#[test]
fn every_fragment_of_what_another_program_cut_passes() {
    let file = include_str!("../../../gate/tests/data/fragments.txt");
    for line in file.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(" | ").collect();
        let link = LinkType::of_number(fields[1].parse().unwrap()).unwrap();
        let kernel = Kernel::new(link, &ports());
        for frame in fields[2].split(' ') {
            assert!(kernel.passes(&unhex(frame)), "{}", fields[0]);
        }
    }
}

#[test]
fn fragments_of_what_is_to_other_ports_or_longer_than_any_packet_cost_nothing() {
    let kernel = Kernel::new(LinkType::RawIp, &ports());
    let fragment = |offset: u16, more: bool, port: u16, udp_len: u16| {
        let [f0, f1] = ((offset / 8) | (u16::from(more) << 13)).to_be_bytes();
        let header = [
            0x45, 0, 0, 68, 0, 7, f0, f1, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2,
        ];
        let [p0, p1] = port.to_be_bytes();
        let [l0, l1] = udp_len.to_be_bytes();
        [
            &header[..],
            &[0x9c, 0x40, p0, p1, l0, l1, 0, 0],
            &[b'A'; 40],
        ]
        .concat()
    };

    for (offset, port, udp_len, passes) in [
        (0, PORT, 1400, true),
        (0, 53, 1400, false),
        (0, PORT, 4000, false),
        (1600, 0, 0, true),
        (1608, 0, 0, false),
        (2960, 0, 0, false),
    ] {
        let frame = fragment(offset, true, port, udp_len);
        assert_eq!(kernel.passes(&frame), passes, "{offset} {port} {udp_len}");
    }
}

#[test]
fn what_the_host_itself_sends_never_passes_and_a_thousand_ports_fit() {
    let many: BTreeSet<u16> = (1..=1_500).chain([PORT]).collect();
    for (link, ports) in [
        (LinkType::Ethernet, &many),
        (LinkType::LinuxSll, &many),
        (LinkType::RawIp, &ports()),
    ] {
        let program = Program::new(link, of_udp(ports)).unwrap();
        assert_eq!(program.0[0].operand, AD_PKTTYPE);
        assert_eq!(
            (program.0[1].operand, program.0[1].if_false),
            (PACKET_OUTGOING, 1)
        );
        assert!(program.0.len() < 4_096);
        Kernel::new(link, ports);
        let any_direction = Wanted {
            any_direction: true,
            ..of_udp(ports)
        };
        let both = Program::new(link, any_direction).unwrap();
        assert_eq!(both.0[..], program.0[3..], "nothing but the direction");
    }
    let everywhere: BTreeSet<u16> = (1..=2_000).collect();
    let kernel = Kernel::new(LinkType::RawIp, &everywhere);
    let (_, _, frame) = frames()
        .into_iter()
        .find(|(link, ..)| *link == LinkType::RawIp)
        .unwrap();
    assert!(kernel.passes(&frame));
}

/// Every way of stock fwknop's, and others that nobody there has: in which transport, by which IP.
fn packets() -> Vec<(Transports, Vec<u8>)> {
    let text = vec![b'A'; 200];
    let ports = [0x9c, 0x40, 0xf2, 0xf9];
    let udp = [&ports[..], &[0, 208, 0, 0], &text].concat();
    let tcp = [&ports[..], &[0; 8], &[0x50, 0x18, 1, 0, 0, 0, 0, 0], &text].concat();
    let icmp = [&[8, 0, 0, 0, 0, 0, 0, 0][..], &text].concat();
    let gre = [&[0, 0, 8, 0][..], &text].concat();
    let carried = [
        (Transports::UDP, 17, udp),
        (Transports::TCP, 6, tcp),
        (Transports::ICMP, 1, icmp.clone()),
        (Transports::ICMP, 58, icmp),
        (Transports::GRE, 47, gre),
        (Transports::OTHER, 4, text.clone()),
        (Transports::OTHER, 253, text),
    ];
    let packets = carried.into_iter().flat_map(|(transport, number, body)| {
        let v4 = [0x45, 0, 0, 0, 0, 7, 0, 0, 64, number, 0, 0];
        let mut v4 = [&v4[..], &[192, 0, 2, 1, 192, 0, 2, 2], &body].concat();
        let length = u16::try_from(v4.len()).unwrap();
        v4[2..4].copy_from_slice(&length.to_be_bytes());
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        let behind = |first, options: &[u8]| {
            let length = u16::from_be_bytes(length) + u16::try_from(options.len()).unwrap();
            let [high, low] = length.to_be_bytes();
            let header = [0x60, 0, 0, 0, high, low, first, 64];
            let ends = [[0x20; 16], [0x21; 16]].concat();
            [&header[..], &ends, options, &body].concat()
        };
        let plain = behind(number, &[]);
        let optional = behind(0, &[number, 0, 1, 4, 0, 0, 0, 0]);
        [v4, plain, optional].map(|packet| (transport, packet))
    });
    packets.collect()
}

#[test]
fn each_transport_passes_where_it_is_wanted_and_nowhere_else_in_the_kernel_as_in_a_file() {
    let all = [1_u8, 2, 4, 8, 16].map(|bit| {
        let names = ["udp", "tcp", "icmp", "gre", "other"];
        names[bit.trailing_zeros() as usize].parse().unwrap()
    });
    for wanted in 1_usize..32 {
        let chosen = all.iter().enumerate();
        let chosen = chosen.filter(|(at, _)| wanted & (1 << at) != 0);
        let transports = chosen.map(|(_, one)| *one).reduce(Transports::and).unwrap();
        let ports = ports();
        let kernel = Kernel::taking(
            LinkType::RawIp,
            Wanted {
                transports,
                ..of_udp(&ports)
            },
        );
        let filter = super::super::Filter::in_transports(PORT, transports);
        let in_file =
            super::super::frames::FrameFilter::compile(12, LinkType::RawIp, &filter).unwrap();
        for (transport, packet) in packets() {
            let is_wanted = transports.has(transport);
            assert_eq!(
                kernel.passes(&packet),
                is_wanted,
                "{transports:?} {packet:?}"
            );
            assert_eq!(
                in_file.passes(&packet),
                is_wanted,
                "{transports:?} {packet:?}"
            );
            let short = &packet[..packet.len() - 150];
            assert!(!in_file.passes(short));
            if transport != Transports::UDP {
                assert!(!kernel.passes(short), "{transports:?} {short:?}");
            }
            for port in [22_u16, 53] {
                let mut elsewhere = packet.clone();
                let at = packet.windows(2).position(|two| two == PORT.to_be_bytes());
                let Some(at) = at else { continue };
                elsewhere[at..at + 2].copy_from_slice(&port.to_be_bytes());
                assert!(!kernel.passes(&elsewhere) && !in_file.passes(&elsewhere));
            }
        }
    }
}

#[test]
fn fragments_pass_of_the_transports_that_are_wanted_and_of_no_others() {
    let ports = ports();
    for (transports, numbers) in [
        (Transports::UDP, &[17][..]),
        (Transports::TCP.and(Transports::ICMP), &[6, 1, 58]),
        (Transports::OTHER, &[4, 132, 253]),
    ] {
        let wanted = Wanted {
            transports,
            ..of_udp(&ports)
        };
        let kernel = Kernel::taking(LinkType::RawIp, wanted);
        for number in [1_u8, 4, 6, 17, 47, 50, 58, 132, 253] {
            let passes = numbers.contains(&number);
            let v4 = [
                0x45, 0, 0, 68, 0, 7, 0, 50, 64, number, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2,
            ];
            let v4 = [&v4[..], &[b'A'; 48]].concat();
            assert_eq!(kernel.passes(&v4), passes, "{transports:?} {number}");
            let v6 = [0x60, 0, 0, 0, 0, 56, 44, 64];
            let fragment = [number, 0, 1, 0x90, 0, 0, 0, 7];
            let v6 = [&v6[..], &[0x20; 32], &fragment, &[b'A'; 48]].concat();
            assert_eq!(kernel.passes(&v6), passes, "{transports:?} {number}");
        }
    }
}

/// Whole packets of the real client, as they were on the wire.
#[test]
fn every_packet_of_the_real_client_passes_where_its_transport_is_wanted_and_only_there() {
    let text = include_str!("../../../../tests/vectors/transport.json");
    let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
    let every = [
        (17, Transports::UDP),
        (6, Transports::TCP),
        (1, Transports::ICMP),
    ];
    let mut count = 0;
    for vector in vectors.as_array().unwrap() {
        let frame = &vector["frames"][0];
        let number = frame["protocol"].as_u64().unwrap();
        let port = frame["dport"].as_u64().unwrap_or_else(|| PORT.into());
        let ports = [u16::try_from(port).unwrap()].into();
        let packet = unhex(frame["ip_packet_hex"].as_str().unwrap());
        for (of, transports) in every {
            let wanted = Wanted {
                transports,
                ..of_udp(&ports)
            };
            let passes = Kernel::taking(LinkType::RawIp, wanted).passes(&packet);
            assert_eq!(passes, of == number, "{}", vector["name"]);
            count += 1;
        }
    }
    assert_eq!(count, 16 * 3);
}

proptest! {
    /// Frames of the other program with some bytes of their headers changed.
    #[test]
    fn the_kernel_passes_whatever_the_gate_would_judge(
        (link, name, frame) in select(frames()),
        changes in prop::collection::vec((0_usize..100, prop_oneof![
            Just(0_u8), Just(1), Just(6), Just(8), Just(17), Just(44), Just(60), Just(0x45), Just(0x60), Just(0x81), any::<u8>(),
        ]), 0..4),
    ) {
        if !matches!(link, LinkType::Ethernet | LinkType::RawIp) {
            return Ok(());
        }
        let mut frame = frame;
        for (at, byte) in changes {
            frame[at] = byte;
        }

        let passes = Kernel::new(link, &ports()).passes(&frame);

        if is_worth_judging(&frame, link) {
            let is_longer_than_any = matches!(
                Packet::parse(&frame, link),
                Ok(Packet::Fragment(fragment)) if fragment.offset == 0
                    || fragment.offset > FRAGMENTED_LEN_MAX as usize
                    || !is_udp(fragment.number.0)
            );
            prop_assert!(passes || is_longer_than_any, "{} {:?}", name, frame);
        } else if passes {
            // Let through for nothing: cut off, or only the gate sees what it is.
            let is_cheap = match Packet::parse(&frame, link) {
                Ok(_) | Err(NotForUs::Damaged | NotForUs::Source | NotForUs::Fragment | NotForUs::Transport) => true,
                Err(NotForUs::NotIp | NotForUs::Destination) => false,
            };
            prop_assert!(is_cheap, "{} {:?}", name, frame);
        }
    }
}

fn is_udp(number: u8) -> bool {
    [17, 0, 43, 60].contains(&number)
}
