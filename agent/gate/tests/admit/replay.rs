//! Invariant 1: a message grants at most once on a host, in whatever text it comes.

use std::collections::BTreeMap;
use std::time::Duration;

use gate::{Check, Decision, ReplayLog, Replayed, Settings};
use spa::ReplayDigest;

use crate::support::{
    NOW_SECS, Scene, check, keys, keys_without_hmac, knock, message, refusal, seal, seal_tagged,
    stanza, tagged_knock,
};

#[test]
fn a_denied_message_cannot_be_replayed_after_a_policy_change() {
    let mut scene = Scene::new(&stanza("alice", "OPEN_PORTS tcp/443"));
    let packet = knock("alice", 1);
    assert_eq!(check(scene.send(&packet)), Check::Authorize);

    scene.adopt(&stanza("alice", "OPEN_PORTS tcp/22"));

    assert_eq!(check(scene.send(&packet)), Check::Replay);
    // Neither in the other form, which no shortcut knows.
    assert_eq!(check(scene.send(tagged_knock("alice", 1))), Check::Replay);
}

#[test]
fn one_message_in_all_its_texts_grants_once() {
    let plain = "SOURCE ANY\nKEY alice-key\n".to_owned();
    let mut scene = Scene::new(&(stanza("alice", "") + &plain));
    let asked = message(1, NOW_SECS);
    let other_salt = spa::seal(&asked, &keys("alice"), [9; 8]).unwrap();

    scene.granted(seal(&asked, &keys("alice")));

    for text in [
        seal(&asked, &keys("alice")),
        other_salt,
        seal_tagged(&asked, &keys("alice")),
        seal(&asked, &keys_without_hmac("alice")),
    ] {
        assert_eq!(check(scene.send(text)), Check::Replay);
    }
}

#[test]
fn other_writings_of_the_same_base64_are_refused() {
    let mut scene = Scene::new("SOURCE ANY\nKEY alice-key\n");
    let packet = seal(&message(1, NOW_SECS), &keys_without_hmac("alice"));
    scene.granted(&packet);

    let mut variants = vec![format!("{packet}="), format!("{packet}==")];
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for character in alphabet.chars() {
        // The first character carries magic bits, the last one spare bits.
        variants.push(format!("{character}{}", &packet[1..]));
        variants.push(format!("{}{character}", &packet[..packet.len() - 1]));
    }
    for variant in variants {
        assert!(
            matches!(scene.send(&variant), Decision::Refused(_)),
            "{variant}"
        );
    }
}

#[test]
fn copies_are_numbered_and_come_from_whoever_sends_them() {
    let mut scene = Scene::new(&stanza("alice", ""));
    let packet = knock("alice", 1);
    scene.granted(&packet);

    for number in 1..=3 {
        let copy = refusal(scene.send_from("203.0.113.5", &packet));

        assert_eq!(copy.copies, number);
        assert_eq!(copy.source.to_string(), "203.0.113.5");
        assert_eq!(
            copy.authentic.unwrap().source().to_string(),
            "198.51.100.10"
        );
    }
    assert_eq!(scene.gate.counters().copies, 3);
    // One trial for the first, and no cryptography for the copies.
    assert_eq!(scene.gate.counters().trials, 1);
}

#[test]
fn a_copy_is_a_replay_also_when_the_shortcut_has_forgotten_it() {
    let mut scene = Scene::new(&stanza("alice", ""));
    let packet = knock("alice", 0);
    scene.granted(&packet);
    for number in 1..=1100 {
        scene.granted(tagged_knock("alice", number));
    }

    let refusal = scene.refused(&packet);

    assert_eq!((refusal.check, refusal.copies), (Check::Replay, 0));
}

#[test]
fn a_copy_that_has_grown_old_is_stale() {
    let mut scene = Scene::new(&stanza("alice", ""));
    let packet = knock("alice", 1);
    scene.granted(&packet);

    scene.later(121);

    assert_eq!(check(scene.send(&packet)), Check::Fresh);
}

#[test]
fn whatever_the_clock_does_no_message_grants_twice() {
    let mut scene = Scene::new(&stanza("alice", ""));
    let packet = knock("alice", 1);
    let mut grants = 0;
    for offset in [0, 60, 0, 119, 200, 0, 120, 40] {
        scene.now.wall_secs = NOW_SECS + offset;
        for text in [&packet, &tagged_knock("alice", 1)] {
            if matches!(scene.send(text), Decision::Grant(_)) {
                grants += 1;
            }
        }
    }
    assert_eq!(grants, 1);
}

/// A log that writes down until when each digest must be remembered.
#[derive(Debug, Default)]
struct Notes(BTreeMap<ReplayDigest, Option<u64>>);

impl ReplayLog for Notes {
    fn check_and_insert(
        &mut self,
        digest: ReplayDigest,
        forget_after_secs: Option<u64>,
    ) -> Result<(), Replayed> {
        self.0.insert(digest, forget_after_secs);
        Ok(())
    }
}

#[test]
fn messages_are_remembered_for_twice_the_window_or_for_ever() {
    for (ageing, forget_after_secs) in [
        (Some(Duration::from_secs(120)), Some(NOW_SECS + 240)),
        (None, None),
    ] {
        let settings = Settings {
            ageing,
            ..Settings::default()
        };
        let mut scene = Scene::with(&stanza("alice", ""), settings);
        let mut notes = Notes::default();
        let packet = knock("alice", 1);
        let datagram = gate::Datagram {
            source: scene.source,
            destination: scene.destination,
            source_port: 1,
            destination_port: 1,
            transport: gate::Transport::Udp,
            payload: packet.as_bytes(),
        };

        let _ = scene.gate.admit(&datagram, scene.now, &mut notes);

        assert_eq!(
            notes.0.into_values().collect::<Vec<_>>(),
            [forget_after_secs]
        );
    }
}

/// A log that cannot be read.
#[derive(Debug)]
struct Broken;

impl ReplayLog for Broken {
    fn check_and_insert(&mut self, _: ReplayDigest, _: Option<u64>) -> Result<(), Replayed> {
        Err(Replayed::Here)
    }
}

#[test]
fn a_log_that_cannot_tell_grants_nothing() {
    let mut scene = Scene::new(&stanza("alice", ""));
    let packet = knock("alice", 1);
    let datagram = gate::Datagram {
        source: scene.source,
        destination: scene.destination,
        source_port: 1,
        destination_port: 1,
        transport: gate::Transport::Udp,
        payload: packet.as_bytes(),
    };

    let decision = scene.gate.admit(&datagram, scene.now, &mut Broken);

    assert_eq!(check(decision), Check::Replay);
}
