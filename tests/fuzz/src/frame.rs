//! Frames of every link type, as captures hand them to the gate: what strangers send is granted
//! nothing and panics nowhere, and a payload lies within its frame.

use std::cell::RefCell;

use gate::{Decision, LinkType, Packet, Settings};

use crate::scene::Scene;

/// Keys that no frame of a corpus was made with.
const ACCESS_CONF: &str = "SOURCE ANY\nKEY nobody-has-it\nHMAC_KEY nobody-has-it-either\n\
    SOURCE 198.51.100.0/24\nKEY an-old-one\nSPA_SERVER_PORT 62202\n";

pub(crate) const LINKS: [LinkType; 10] = [
    LinkType::Ethernet,
    LinkType::LinuxSll,
    LinkType::LinuxSll2,
    LinkType::Loopback,
    LinkType::RawIp,
    LinkType::Ppp,
    LinkType::PppoeSession,
    LinkType::CiscoHdlc,
    LinkType::IpOverInfiniband,
    LinkType::Nflog,
];

thread_local! {
    /// One gate for all inputs: fragments of one may meet those of another, as on a host.
    static SCENE: RefCell<Scene> = RefCell::new(Scene::new(ACCESS_CONF, Settings {
        spa_over_http: true,
        x_forwarded_for: true,
        ..Settings::default()
    }));
}

pub(crate) fn check(bytes: &[u8]) {
    let Some((&link, frame)) = bytes.split_first() else {
        return;
    };
    let link = LINKS[usize::from(link) % LINKS.len()];
    if let Ok(Packet::Whole(datagram)) = Packet::parse(frame, link) {
        let within = frame.as_ptr_range();
        let payload = datagram.payload.as_ptr_range();
        let is_within = within.start <= payload.start && payload.end <= within.end;
        assert!(
            datagram.payload.is_empty() || is_within,
            "a payload from elsewhere"
        );
    }
    SCENE.with_borrow_mut(|scene| {
        let Scene { gate, replays, now } = scene;
        for decision in [
            gate.admit_frame(frame, link, *now, replays),
            gate.admit_seen_frame(frame, link, *now, replays),
        ] {
            let is_let_in = matches!(decision, Ok(Decision::Grant(_) | Decision::Claim(_)));
            assert!(!is_let_in, "a stranger was let in");
        }
        gate.tidy(*now);
    });
}
