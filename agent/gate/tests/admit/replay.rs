//! Invariant 1: a message grants at most once on a host, in whatever text it comes.

use std::collections::BTreeMap;
use std::time::Duration;

use gate::{Check, Decision, Floor, Reason, ReplayLog, Replayed, Settings};
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

/// A log that writes down under which date each digest is kept.
#[derive(Debug, Default)]
struct Notes(BTreeMap<ReplayDigest, u64>);

impl ReplayLog for Notes {
    fn floor_over(&self, _: u64) -> Option<u64> {
        None
    }

    fn check_and_insert(
        &mut self,
        digest: ReplayDigest,
        dated_secs: u64,
        _: u64,
    ) -> Result<(), Replayed> {
        self.0.insert(digest, dated_secs);
        Ok(())
    }
}

#[test]
fn messages_are_remembered_by_the_date_inside_them_with_ageing_or_without() {
    for ageing in [Some(Duration::from_secs(120)), None] {
        let settings = Settings {
            ageing,
            ..Settings::default()
        };
        let mut scene = Scene::with(&stanza("alice", ""), settings);
        let mut notes = Notes::default();
        let packet = seal(&message(1, NOW_SECS + 100), &keys("alice"));
        let datagram = gate::Datagram {
            source: scene.source,
            destination: scene.destination,
            source_port: 1,
            destination_port: 1,
            transport: gate::Transport::Udp,
            payload: packet.as_bytes(),
        };

        let _ = scene.gate.admit(&datagram, scene.now, &mut notes);

        let dates = notes.0.into_values().collect::<Vec<_>>();
        assert_eq!(dates, [NOW_SECS + 100]);
    }
}

#[test]
fn one_packet_seen_by_two_captures_is_counted_and_no_replay() {
    let stanzas = stanza("alice", "") + &stanza("bob", "OPEN_PORTS tcp/443");
    let mut scene = Scene::with_duplicates(&stanzas, Settings::default());
    let denied = seal(&message(2, NOW_SECS), &keys("bob"));
    for packet in [knock("alice", 1), denied] {
        let _ = scene.send(&packet);
        for _ in 0..3 {
            scene.now.steady += Duration::from_millis(600);
            assert!(matches!(scene.send(&packet), Decision::Duplicate));
        }

        // Two seconds after the first it is a replay, however many came between.
        scene.now.steady += Duration::from_millis(300);
        assert_eq!(check(scene.send(&packet)), Check::Replay);
    }
    assert_eq!(scene.gate.counters().duplicates, 6);
    assert_eq!(scene.gate.counters().copies, 2);
}

#[test]
fn a_copy_from_elsewhere_or_in_another_text_is_a_replay_at_once() {
    let mut scene = Scene::with_duplicates(&stanza("alice", ""), Settings::default());
    scene.granted(knock("alice", 1));

    let elsewhere = scene.send_from("203.0.113.5", knock("alice", 1));
    assert_eq!(check(elsewhere), Check::Replay);
    assert_eq!(check(scene.send(tagged_knock("alice", 1))), Check::Replay);
}

#[test]
fn what_is_dated_at_or_before_the_floor_is_refused_also_as_a_copy_and_in_another_text() {
    let settings = Settings {
        ageing: None,
        ..Settings::default()
    };
    let mut scene = Scene::with(&stanza("alice", ""), settings);
    scene.replays.raise(Floor {
        through_secs: NOW_SECS,
        ..Floor::default()
    });
    for (text, source) in [
        (knock("alice", 1), "203.0.113.5"),
        (knock("alice", 1), "203.0.113.6"),
        (tagged_knock("alice", 1), "203.0.113.7"),
    ] {
        let refusal = refusal(scene.send_from(source, &text));
        let floor_secs = NOW_SECS;
        assert_eq!(refusal.reason, Reason::BeforeFloor { floor_secs });
    }
    // The copy cost no cryptography.
    assert_eq!(scene.gate.counters().copies, 1);

    scene.granted(seal(&message(2, NOW_SECS + 1), &keys("alice")));
}

/// A log that cannot be read.
#[derive(Debug)]
struct Broken;

impl ReplayLog for Broken {
    fn floor_over(&self, _: u64) -> Option<u64> {
        None
    }

    fn check_and_insert(&mut self, _: ReplayDigest, _: u64, _: u64) -> Result<(), Replayed> {
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
