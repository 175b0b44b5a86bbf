//! A host judges what is sent to it, and nothing that only passes by.

use std::sync::Arc;

use gate::{Addressees, Decision, HostAddresses, NotForUs};
use policy::Networks;

use crate::support::{HOST, Scene, knock, stanza, tagged_knock};

const OTHER: &str = "203.0.113.9";

/// A gate whose host has the address [`HOST`], and accepts these networks.
fn scene(access_conf: &str, accepted: &[&str]) -> Scene {
    let mut scene = Scene::new(access_conf);
    scene.gate.set_addressees(of_host(&[HOST], accepted));
    scene
}

pub(crate) fn of_host(own: &[&str], accepted: &[&str]) -> Addressees {
    let accepted = accepted.iter().map(|net| net.parse().unwrap());
    Addressees::Host(Arc::new(HostAddresses {
        own: own.iter().map(|own| own.parse().unwrap()).collect(),
        accepted: Networks::Only(accepted.collect()),
    }))
}

#[test]
fn what_is_sent_to_another_machine_is_counted_and_neither_judged_nor_spent() {
    for packet in [knock("alice", 1), tagged_knock("alice", 1)] {
        for destination in [OTHER, "198.51.100.255", "255.255.255.255", "224.0.0.1"] {
            let mut scene = scene(&stanza("alice", ""), &[]);

            let passed = scene.send_seen(destination, &packet);

            assert_eq!(passed.unwrap_err(), NotForUs::Destination);
            let counters = scene.gate.counters();
            assert_eq!((counters.not_addressed, counters.received), (1, 0));
            assert_eq!((counters.trials, counters.by_tag), (0, 0));
            assert!(granted(scene.send_seen(HOST, &packet)));
        }
    }
}

#[test]
fn the_hosts_own_addresses_loopback_and_what_the_configuration_accepts_are_judged() {
    let mapped = format!("::ffff:{HOST}");
    for destination in [
        HOST,
        &mapped,
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "203.0.113.200",
    ] {
        let mut scene = scene(&stanza("alice", ""), &["203.0.113.128/25"]);

        assert!(granted(scene.send_seen(destination, knock("alice", 1))));
    }
}

#[test]
fn a_destination_that_a_stanza_names_is_judged_for_that_stanzas_key_alone() {
    let text = stanza("alice", "DESTINATION 203.0.113.0/24") + &stanza("bob", "");
    let mut scene = scene(&text, &[]);

    for bobs in [knock("bob", 1), tagged_knock("bob", 1)] {
        assert!(!granted(scene.send_seen(OTHER, bobs)));
    }
    assert_eq!(
        scene.gate.counters().trials,
        1,
        "Alice's key alone is tried"
    );
    assert!(granted(scene.send_seen(OTHER, knock("alice", 2))));
    assert!(granted(scene.send_seen(HOST, knock("bob", 1))));
}

#[test]
fn of_two_stanzas_with_one_key_only_the_one_that_names_the_destination_permits_there() {
    let text = stanza("alice", "DESTINATION 203.0.113.0/24\nOPEN_PORTS tcp/80")
        + &stanza("alice", "OPEN_PORTS tcp/22");
    let mut scene = scene(&text, &[]);

    // It asks for tcp/22, which only the stanza without DESTINATION gives.
    assert!(!granted(scene.send_seen(OTHER, knock("alice", 1))));
    assert!(granted(scene.send_seen(HOST, knock("alice", 2))));
}

#[test]
fn a_grant_is_upheld_when_the_address_that_the_packet_was_sent_to_has_gone() {
    let mut scene = scene(&stanza("alice", ""), &[]);
    let Ok(Decision::Grant(grant)) = scene.send_seen(HOST, knock("alice", 1)) else {
        panic!("not granted");
    };

    scene.gate.set_addressees(of_host(&[], &[]));

    assert!(scene.gate.upholds(&grant, scene.now));
    assert!(scene.send_seen(HOST, knock("alice", 2)).is_err());
}

fn granted(decision: Result<Decision, NotForUs>) -> bool {
    matches!(decision, Ok(Decision::Grant(_)))
}
