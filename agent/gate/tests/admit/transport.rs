//! Whole IP packets that the real client sent, through every transport it has.

use gate::{Datagram, Decision, LinkType, Settings, Transport};
use vectors::{Transported, transported};

use crate::rules::granted;
use crate::support::{Scene, check};

#[test]
fn what_the_real_server_takes_off_the_wire_is_granted_here_and_nothing_else() {
    let mut seen = 0;
    for vector in transported() {
        let decision = admit(&vector, true);

        assert_eq!(
            matches!(decision, Decision::Grant(_)),
            vector.fwknopd_accepts,
            "{}: {decision:?}",
            vector.name,
        );
        seen += 1;
    }
    assert_eq!(seen, 16);
}

#[test]
fn http_requests_are_refused_unless_they_are_switched_on() {
    for vector in transported() {
        if vector.name.starts_with("http") {
            assert_eq!(check(admit(&vector, false)), gate::Check::Parse);
        }
    }
}

#[test]
fn addresses_ports_and_payload_are_those_of_the_capture() {
    for vector in transported() {
        for frame in &vector.frames {
            let packet = hex::decode(&frame.ip_packet_hex).unwrap();

            let datagram = Datagram::parse(&packet, LinkType::RawIp).unwrap();

            let transport = match frame.protocol {
                1 => Transport::Icmp,
                6 => Transport::Tcp,
                17 => Transport::Udp,
                other => panic!("{}: protocol {other}", vector.name),
            };
            assert_eq!(datagram.transport, transport, "{}", vector.name);
            assert_eq!(datagram.source.to_string(), frame.src);
            assert_eq!(datagram.destination.to_string(), frame.dst);
            assert_eq!(datagram.source_port, frame.sport.unwrap_or(0));
            assert_eq!(datagram.destination_port, frame.dport.unwrap_or(0));
            assert_eq!(
                datagram.payload,
                frame.payload.as_bytes(),
                "{}",
                vector.name
            );
        }
    }
}

#[test]
fn a_forged_source_is_what_the_grant_says_it_came_from() {
    let vector = transported()
        .into_iter()
        .find(|vector| vector.name == "udpraw_spoof")
        .unwrap();

    let grant = granted(&vector.name, admit(&vector, false));

    assert_eq!(grant.identity().source().to_string(), "203.0.113.9");
    assert_eq!(grant.permit().address().to_string(), "10.1.2.3");
}

fn admit(vector: &Transported, spa_over_http: bool) -> Decision {
    let access_conf = format!(
        "SOURCE ANY\nKEY {}\nHMAC_KEY {}\n",
        vector.key, vector.hmac_key
    );
    let settings = Settings {
        ageing: None,
        spa_over_http,
        ..Settings::default()
    };
    let mut scene = Scene::with(&access_conf, settings);
    let packet = hex::decode(&vector.frames[0].ip_packet_hex).unwrap();
    let datagram = Datagram::parse(&packet, LinkType::RawIp).unwrap();
    scene.gate.admit(&datagram, scene.now, &mut scene.replays)
}
