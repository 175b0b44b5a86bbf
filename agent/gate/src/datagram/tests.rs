use super::*;
use std::net::Ipv6Addr;

const SOURCE: [u8; 4] = [198, 51, 100, 10];
const DESTINATION: [u8; 4] = [198, 51, 100, 1];

fn udp(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
    let header = [0x9c, 0x40, 0xf2, 0xf9, length[0], length[1], 0, 0];
    [&header[..], payload].concat()
}

fn ipv4(protocol: u8, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + body.len()).unwrap().to_be_bytes();
    let flags = flags.to_be_bytes();
    let header = [
        0x45, 0, length[0], length[1], 0, 7, flags[0], flags[1], 64, protocol, 0, 0,
    ];
    [&header[..], &SOURCE, &DESTINATION, body].concat()
}

fn ipv6(next_header: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    let header = [0x60, 0, 0, 0, length[0], length[1], next_header, 64];
    let source = "2001:db8::a".parse::<Ipv6Addr>().unwrap().octets();
    let destination = "2001:db8::1".parse::<Ipv6Addr>().unwrap().octets();
    [&header[..], &source, &destination, body].concat()
}

fn ethernet(ether_types: &[u8], packet: &[u8]) -> Vec<u8> {
    [&[0; 12], ether_types, packet].concat()
}

fn payload_of(frame: &[u8], link: LinkType) -> Result<&[u8], NotForUs> {
    Datagram::parse(frame, link).map(|datagram| datagram.payload)
}

#[test]
fn every_link_leads_to_the_same_packet() {
    let packet = ipv4(17, 0, &udp(b"knock"));
    let sll = [&[0; 14][..], &[0x08, 0x00], &packet].concat();
    let sll2 = [&[0x08, 0x00][..], &[0; 18], &packet].concat();
    for (frame, link) in [
        (packet.clone(), LinkType::RawIp),
        (ethernet(&[0x08, 0x00], &packet), LinkType::Ethernet),
        (
            ethernet(&[0x81, 0, 0, 5, 0x08, 0], &packet),
            LinkType::Ethernet,
        ),
        (
            ethernet(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x08, 0], &packet),
            LinkType::Ethernet,
        ),
        (sll, LinkType::LinuxSll),
        (sll2, LinkType::LinuxSll2),
        ([&[2, 0, 0, 0], &packet[..]].concat(), LinkType::Loopback),
        ([&[0, 0, 0, 2], &packet[..]].concat(), LinkType::Loopback),
    ] {
        assert_eq!(
            Datagram::parse(&frame, link),
            Ok(Datagram {
                source: SOURCE.into(),
                destination: DESTINATION.into(),
                source_port: 40_000,
                destination_port: 62_201,
                transport: Transport::Udp,
                payload: b"knock",
            }),
            "{link:?}",
        );
    }
}

#[test]
fn padding_and_checksum_behind_the_packet_are_not_payload() {
    let frame = [
        ethernet(&[0x08, 0], &ipv4(17, 0, &udp(b"knock"))),
        vec![0xaa; 9],
    ]
    .concat();

    assert_eq!(payload_of(&frame, LinkType::Ethernet), Ok(&b"knock"[..]));
}

#[test]
fn ipv6_is_read_behind_extension_headers() {
    let plain = ipv6(17, &udp(b"knock"));
    let options = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &udp(b"knock")].concat();

    assert_eq!(payload_of(&plain, LinkType::RawIp), Ok(&b"knock"[..]));
    assert_eq!(
        payload_of(&ipv6(0, &options), LinkType::RawIp),
        Ok(&b"knock"[..])
    );
}

#[test]
fn transports_without_ports_carry_what_follows_their_header() {
    let echo = [&[8, 0, 0, 0, 0, 1, 0, 1][..], b"knock"].concat();
    let gre = [&[0, 0, 0x08, 0x00][..], b"knock"].concat();
    let gre_with_all = [&[0xb0, 0, 0x08, 0x00][..], &[0; 12], b"knock"].concat();
    for (packet, transport) in [
        (ipv4(1, 0, &echo), Transport::Icmp),
        (ipv6(58, &echo), Transport::Icmp),
        (ipv4(47, 0, &gre), Transport::Gre),
        (ipv4(47, 0, &gre_with_all), Transport::Gre),
        (ipv4(4, 0, b"knock"), Transport::Other(4)),
        (ipv4(253, 0, b"knock"), Transport::Other(253)),
        (ipv6(254, b"knock"), Transport::Other(254)),
    ] {
        let datagram = Datagram::parse(&packet, LinkType::RawIp).unwrap();

        assert_eq!(
            (datagram.transport, datagram.payload),
            (transport, &b"knock"[..])
        );
        assert_eq!((datagram.source_port, datagram.destination_port), (0, 0));
    }
}

#[test]
fn tcp_options_are_not_payload() {
    let header = [
        0x9c, 0x40, 0xf2, 0xf9, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 0x02, 0x7f, 0xff, 0, 0, 0, 0, 1, 1,
        1, 1,
    ];

    let packet = ipv4(6, 0, &[&header[..], b"knock"].concat());

    assert_eq!(payload_of(&packet, LinkType::RawIp), Ok(&b"knock"[..]));
}

#[test]
fn fragments_are_refused_the_first_one_too() {
    const MORE_FRAGMENTS: u16 = 0x2000;
    let v6_first = [&[17, 0, 0, 1, 0, 0, 0, 9][..], &udp(b"knock")].concat();
    for packet in [
        ipv4(17, MORE_FRAGMENTS, &udp(b"knock")),
        ipv4(17, 185, &udp(b"knock")),
        ipv6(44, &v6_first),
    ] {
        assert_eq!(
            payload_of(&packet, LinkType::RawIp),
            Err(NotForUs::Fragment)
        );
    }
}

#[test]
fn what_is_cut_off_or_contradicts_itself_is_damaged() {
    let whole = ipv4(17, 0, &udp(b"knock"));
    let mut udp_too_long = whole.clone();
    udp_too_long[25] = 0xff;
    for (frame, link) in [
        (&whole[..30], LinkType::RawIp),
        (&whole[..10], LinkType::RawIp),
        (&udp_too_long[..], LinkType::RawIp),
        (&ipv4(1, 0, &[8, 0, 0])[..], LinkType::RawIp),
        (&ipv4(47, 0, &[0x80, 0, 8, 0])[..], LinkType::RawIp),
        (&[0; 13][..], LinkType::Ethernet),
        (&[][..], LinkType::RawIp),
        (&[0; 3][..], LinkType::Loopback),
    ] {
        assert_eq!(payload_of(frame, link), Err(NotForUs::Damaged), "{frame:?}");
    }
}

#[test]
fn what_is_neither_ip_nor_a_known_transport_is_not_for_us() {
    let arp = ethernet(&[0x08, 0x06], &[0; 28]);
    let three_tags = ethernet(
        &[0x81, 0, 0, 1, 0x81, 0, 0, 1, 0x81, 0, 0, 1, 8, 0],
        &[0; 40],
    );
    let pptp = ipv4(47, 0, &[0x20, 1, 0x88, 0x0b, 0, 0, 0, 0]);

    assert_eq!(payload_of(&arp, LinkType::Ethernet), Err(NotForUs::NotIp));
    assert_eq!(
        payload_of(&three_tags, LinkType::Ethernet),
        Err(NotForUs::NotIp)
    );
    assert_eq!(
        payload_of(&ipv4(50, 0, b"esp"), LinkType::RawIp),
        Err(NotForUs::Transport)
    );
    assert_eq!(payload_of(&pptp, LinkType::RawIp), Err(NotForUs::Transport));
}

#[test]
fn sources_that_no_sender_can_have_are_refused() {
    for source in [[0, 0, 0, 0], [224, 0, 0, 1]] {
        let mut packet = ipv4(17, 0, &udp(b"knock"));
        packet[12..16].copy_from_slice(&source);

        assert_eq!(payload_of(&packet, LinkType::RawIp), Err(NotForUs::Source));
    }
}

#[test]
fn frames_of_another_program_are_read_as_tcpdump_reads_them() {
    let frames = include_str!("../../tests/data/frames.txt");
    let mut count = 0;
    for line in frames.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(" | ").collect();
        let [name, number, expected, bytes] = fields[..] else {
            panic!("{line}");
        };
        let link = LinkType::of_number(number.parse().unwrap()).unwrap();
        let frame = hex::decode(bytes).unwrap();

        let read = Datagram::parse(&frame, link).expect(name);

        assert_eq!(read.transport, Transport::Udp, "{name}");
        let length = format!("UDP, length {}", read.payload.len());
        let ports = [
            read.source_port.to_string(),
            read.destination_port.to_string(),
        ];
        let ends = [read.source.to_string(), read.destination.to_string()];
        for word in ports.iter().chain(&ends).chain([&length]) {
            assert!(expected.contains(word), "{name}: {word}, {expected}");
        }
        assert!(read.payload.starts_with(b"ABCDEFGH"), "{name}");
        for length in 0..frame.len() {
            assert!(Datagram::parse(&frame[..length], link).is_err(), "{name}");
        }
        count += 1;
    }
    assert_eq!(count, 47);
}

/// As Linux 6.18 shows 802.1ad and 802.1Q on `any`: the outer tag put back by libpcap, the inner one
/// in the frame, and in front of it already the type of what it tags.
#[test]
fn a_cooked_frame_that_names_its_innermost_type_before_a_tag_is_read() {
    let packets = [ipv4(17, 0, &udp(b"knock")), ipv6(17, &udp(b"knock"))];
    let pppoe = [&[0x11, 0, 0, 17, 0, 35, 0, 0x21], &packets[0][..]].concat();
    for (ether_type, packet) in [
        ([0x08, 0x00], &packets[0]),
        ([0x86, 0xdd], &packets[1]),
        ([0x88, 0x64], &pppoe),
    ] {
        // The second is one that looks like the beginning of an IPv4 header.
        for tag in [[0, 5], [0x45, 0], [0x60, 0], [0x11, 0]] {
            let tagged = [&tag[..], &ether_type, packet].concat();
            let outer = [&[0x88, 0xa8, 0, 100][..], &ether_type].concat();
            let sll = [&[0; 14][..], &outer, &tagged].concat();
            let sll_alone = [&[0; 14][..], &ether_type, &tagged].concat();
            let sll2 = [&ether_type[..], &[0; 18], &tagged].concat();
            for (frame, link) in [
                (sll, LinkType::LinuxSll),
                (sll_alone, LinkType::LinuxSll),
                (sll2, LinkType::LinuxSll2),
            ] {
                let case = format!("{ether_type:02x?} {tag:02x?} {link:?}");
                assert_eq!(payload_of(&frame, link), Ok(&b"knock"[..]), "{case}");
            }
        }
    }
}

#[test]
fn every_link_type_has_a_name_and_a_number() {
    let numbered: Vec<LinkType> = (0..400).filter_map(LinkType::of_number).collect();
    for link in LinkType::ALL {
        assert!(
            !link.name().is_empty() && numbered.contains(&link),
            "{link:?}"
        );
    }
    // 802.11, frame relay, USB.
    for number in [-1, 105, 107, 127, 189] {
        assert_eq!(LinkType::of_number(number), None);
    }
}

proptest::proptest! {
    #[test]
    fn no_frame_panics(frame in proptest::collection::vec(0_u8.., 0..120), link in 0..10_usize) {
        let _ = Packet::parse(&frame, LinkType::ALL[link]);
    }

    #[test]
    fn no_packet_that_begins_well_panics(
        start in proptest::sample::select(vec![
            vec![0x45], vec![0x4f], vec![0x60, 0, 0, 0, 0, 60, 44], vec![0x60, 0, 0, 0, 0, 60, 0],
        ]),
        frame in proptest::collection::vec(proptest::prop_oneof![0_u8..3, 40_u8..64, 0_u8..], 0..120),
    ) {
        let _ = Packet::parse(&[start, frame].concat(), LinkType::RawIp);
    }
}
