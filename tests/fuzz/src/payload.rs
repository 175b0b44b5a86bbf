//! What stands in a datagram, a segment or an echo of whatever form: packets of HTTP, with and without
//! a sender that a proxy names. The frame around it is good, so that an input is all of what is read.

use std::cell::RefCell;

use gate::{Decision, LinkType, Settings};

use crate::scene::Scene;

/// Keys that no packet of a corpus was made with; whoever comes by HTTP is read with all of them.
const ACCESS_CONF: &str = "SOURCE ANY\nKEY nobody-has-it\nHMAC_KEY nobody-has-it-either\n\
    SOURCE 198.51.100.0/24\nKEY an-old-one\n";

thread_local! {
    static SCENE: RefCell<Scene> = RefCell::new(Scene::new(ACCESS_CONF, Settings {
        spa_over_http: true,
        any_user_agent: true,
        x_forwarded_for: true,
        ..Settings::default()
    }));
}

pub(crate) fn check(bytes: &[u8]) {
    let Some((&form, payload)) = bytes.split_first() else {
        return;
    };
    let frame = frame(form, payload);
    SCENE.with_borrow_mut(|scene| {
        let Scene { gate, replays, now } = scene;
        let decision = gate.admit_frame(&frame, LinkType::RawIp, *now, replays);
        let is_let_in = matches!(decision, Ok(Decision::Grant(_) | Decision::Claim(_)));
        assert!(!is_let_in, "a stranger was let in");
        gate.tidy(*now);
    });
}

/// An IPv4 or IPv6 packet with this behind UDP, TCP or ICMP.
fn frame(form: u8, payload: &[u8]) -> Vec<u8> {
    let ports = [0x9c, 0x40, 0xf2, 0xf9];
    let (protocol, head) = match form >> 1 & 3 {
        0 => {
            let length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
            (17, [&ports[..], &length.to_be_bytes(), &[0, 0]].concat())
        }
        1 => (1, vec![8, 0, 0, 0, 0, 1, 0, 1]),
        _ => {
            let numbers = [0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0x20, 0, 0, 0, 0, 0];
            (6, [&ports[..], &numbers].concat())
        }
    };
    let behind = head.len() + payload.len();
    let mut frame = if form & 1 == 0 {
        let length = u16::try_from(20 + behind).unwrap_or(u16::MAX).to_be_bytes();
        let mut head = vec![
            0x45, 0, length[0], length[1], 0, 1, 0x40, 0, 64, protocol, 0, 0,
        ];
        head.extend([198, 51, 100, 10, 198, 51, 100, 1]);
        head
    } else {
        let length = u16::try_from(behind).unwrap_or(u16::MAX).to_be_bytes();
        let protocol = if protocol == 1 { 58 } else { protocol };
        let mut head = vec![0x60, 0, 0, 0, length[0], length[1], protocol, 64];
        let address = |last| [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[last]].concat();
        head.extend(address(10));
        head.extend(address(1));
        head
    };
    frame.extend(head);
    frame.extend(payload);
    frame
}
