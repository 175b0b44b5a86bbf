use vectors::transported;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] * 16 + pair[1])
        .collect()
}

fn number(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The packet with its checksums made zero.
fn without_checksums(mut packet: Vec<u8>, at: usize) -> Vec<u8> {
    packet[at] = 0;
    packet[at + 1] = 0;
    packet
}

#[test]
fn raw_packets_are_those_of_the_reference_but_for_random_fields_and_empty_checksums() {
    let mut tried = 0;
    for vector in transported() {
        let [frame] = vector.frames.as_slice() else {
            continue;
        };
        let expected = bytes(&frame.ip_packet_hex);
        if expected[8] != HOPS {
            continue; // made by the kernel
        }
        let ports = frame.sport.zip(frame.dport);
        let (carrier, checksum_at) = match (frame.protocol, ports) {
            (1, _) => {
                let kind = Some(expected[20]).filter(|kind| *kind != 0);
                let code = expected[21];
                (Carrier::Icmp { kind, code }, 22)
            }
            (6, Some((from, to))) => (Carrier::Tcp { from, to }, 36),
            (17, Some((from, to))) => (Carrier::Udp { from, to }, 26),
            other => panic!("{}: {other:?}", vector.name),
        };
        let ends = Ends::new(frame.src.parse().unwrap(), frame.dst.parse().unwrap()).unwrap();
        // The identification is random; an echo request of ours has the same number in its own field.
        let is_echo = frame.protocol == 1 && expected[20] == ECHO_REQUEST;
        let id = number(&expected, if is_echo { 24 } else { 4 });

        let made = packet(ends, carrier, id, frame.payload.as_bytes()).unwrap();

        let mut expected = without_checksums(expected, 10);
        expected[4..6].copy_from_slice(&id.to_be_bytes());
        let is_empty = number(&expected, checksum_at) == 0;
        let mut same = without_checksums(made.clone(), 10);
        if is_empty {
            same = without_checksums(same, checksum_at);
        }
        assert_eq!(same, expected, "{}", vector.name);
        assert_eq!(checksum(&[&made[..20]]), 0, "{}: header", vector.name);
        tried += 1;
    }
    assert_eq!(tried, 8);
}

#[test]
fn every_checksum_is_right_in_both_families() {
    let carriers = [
        Carrier::Udp { from: 1, to: 62201 },
        Carrier::Tcp { from: 1, to: 62201 },
        Carrier::Icmp {
            kind: None,
            code: 0,
        },
        Carrier::Icmp {
            kind: Some(8),
            code: 0,
        },
    ];
    for (from, to, header) in [
        ("192.0.2.1", "192.0.2.9", 20),
        ("2001:db8::1", "fd00::9", 40),
    ] {
        let ends = Ends::new(from.parse().unwrap(), to.parse().unwrap()).unwrap();
        for (carrier, payload) in carriers.into_iter().zip(["odd", "even", "a", ""]) {
            let made = packet(ends, carrier, 7, payload.as_bytes()).unwrap();
            let body = &made[header..];
            let protocol = if header == 20 { made[9] } else { made[6] };

            let pseudo = pseudo_header(ends, protocol, body.len()).unwrap();

            // The sum over what has its own checksum in it is zero.
            assert_eq!(checksum(&[&pseudo, body]), 0, "{carrier:?} {to}");
        }
    }
}

#[test]
fn an_echo_has_the_number_of_its_family() {
    let carrier = Carrier::Icmp {
        kind: None,
        code: 0,
    };
    let v4 = Ends::new("192.0.2.1".parse().unwrap(), "192.0.2.9".parse().unwrap()).unwrap();
    let v6 = Ends::new("fd00::1".parse().unwrap(), "fd00::9".parse().unwrap()).unwrap();

    assert_eq!(packet(v4, carrier, 7, b"").unwrap()[20], 0);
    assert_eq!(packet(v6, carrier, 7, b"").unwrap()[40], 129);
}

#[test]
fn what_does_not_fit_or_has_two_families_is_no_packet() {
    let v4 = Ends::new("192.0.2.1".parse().unwrap(), "192.0.2.9".parse().unwrap()).unwrap();
    let carrier = Carrier::Udp { from: 1, to: 2 };

    assert_eq!(packet(v4, carrier, 7, &[b'x'; 65_530]), Err(TooLong));
    assert_eq!(
        Ends::new("192.0.2.1".parse().unwrap(), "fd00::9".parse().unwrap()),
        None
    );
}
