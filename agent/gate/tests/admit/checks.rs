//! The order of the checks, and what each leaves behind.

use gate::{Check, Decision, Floor, Reason, Settings};
use policy::{Denied, Permitted};
use spa::{Allow, Malformed, MessageType, Request};

use crate::support::{
    NOW_SECS, Scene, check, keys, knock, message, refusal, seal, stanza, tagged_knock,
};

#[test]
fn a_permitted_message_is_granted_with_what_it_asks_for() {
    let mut scene = Scene::new(&stanza("alice", "OPEN_PORTS tcp/22"));

    let grant = scene.granted(knock("alice", 1));

    assert_eq!(grant.permit().stanza(), 1);
    assert_eq!(grant.permit().name(), None);
    assert_eq!(grant.permit().address().to_string(), "10.1.2.3");
    assert_eq!(
        grant.permit().what(),
        &Permitted::Ports(vec!["tcp/22".parse().unwrap()])
    );
    assert_eq!(grant.permit().timeout_secs(), 30);
    assert_eq!(grant.identity().user(), "alice");
    assert_eq!(grant.identity().key(), keys("alice").fingerprint());
    assert_eq!(grant.identity().generation(), 7);
    assert_eq!(scene.gate.counters().grants, 1);
}

#[test]
fn strangers_leave_counts_and_nothing_else() {
    let mut scene = Scene::new(&stanza("alice", ""));
    let junk = knock("mallory", 1);

    for payload in ["", "too short", &"!".repeat(200), &"A".repeat(1501), &junk] {
        let refusal = scene.refused(payload);

        assert!(refusal.authentic.is_none());
    }
    assert!(scene.replays.is_empty());
    let counters = scene.gate.counters();
    assert_eq!((counters.received, counters.malformed), (5, 4));
    assert_eq!((counters.not_authentic, counters.trials), (1, 1));
}

#[test]
fn junk_of_the_wrong_shape_is_tried_with_no_key() {
    let mut scene = Scene::new(&stanza("alice", ""));
    let body = "8".repeat(300);
    for payload in [&body[..204], &body[..205], &"A".repeat(204), &body] {
        scene.send(payload);
    }

    // Only the first has the length and the first character of a packet with HMAC-SHA256.
    assert_eq!(scene.gate.counters().trials, 1);
    assert_eq!(scene.gate.counters().no_candidate, 3);
}

#[test]
fn no_key_means_everything_is_refused() {
    let mut scene = Scene::new(&stanza("alice", ""));
    scene.adopt("");

    assert_eq!(check(scene.send(knock("alice", 1))), Check::Match);
}

#[test]
fn a_message_that_is_not_recent_is_refused_before_it_is_remembered() {
    let mut scene = Scene::new(&stanza("alice", ""));
    for (timestamp, check) in [
        (NOW_SECS - 121, Check::Fresh),
        (NOW_SECS + 121, Check::Fresh),
    ] {
        let refusal = scene.refused(seal(&message(1, timestamp), &keys("alice")));

        assert_eq!(refusal.check, check);
        assert_eq!(refusal.authentic.unwrap().user(), "alice");
    }
    assert!(scene.replays.is_empty());
}

#[test]
fn a_message_dated_ahead_is_granted_once_its_time_comes() {
    let mut scene = Scene::new(&stanza("alice", ""));
    let ahead = seal(&message(1, NOW_SECS + 200), &keys("alice"));

    assert_eq!(check(scene.send(&ahead)), Check::Fresh);
    assert_eq!(check(scene.send(&ahead)), Check::Fresh);
    scene.later(90);
    scene.granted(&ahead);
    assert_eq!(check(scene.send(&ahead)), Check::Replay);
}

#[test]
fn messages_from_before_the_start_are_refused_when_the_memory_may_be_damaged() {
    let mut scene = Scene::new(&stanza("alice", ""));
    scene.replays.raise(Floor {
        through_secs: NOW_SECS - 1,
        ..Floor::default()
    });

    let before = scene.refused(seal(&message(1, NOW_SECS - 1), &keys("alice")));
    assert_eq!(
        before.reason,
        Reason::BeforeFloor {
            floor_secs: NOW_SECS - 1
        }
    );
    scene.granted(seal(&message(2, NOW_SECS), &keys("alice")));
}

#[test]
fn policy_is_asked_after_freshness_and_its_answer_names_the_message() {
    let mut scene = Scene::new(&stanza("alice", "OPEN_PORTS tcp/443"));

    let refusal = scene.refused(knock("alice", 1));

    let port = "tcp/22".parse().unwrap();
    assert_eq!(refusal.check, Check::Authorize);
    assert_eq!(refusal.reason, Reason::Denied(Denied::PortNotOpen(port)));
    assert_eq!(refusal.authentic.unwrap().user(), "alice");
    assert_eq!(scene.replays.len(), 1);
}

#[test]
fn nat_is_refused_by_name_with_all_fields_known() {
    let mut scene = Scene::new(&stanza("alice", ""));
    let mut asked = message(1, NOW_SECS);
    asked.message_type = MessageType::NatAccess;
    asked.nat_access = Some(spa::NatAccess {
        host: "192.168.10.5".to_owned(),
        port: 22,
    });

    let refusal = scene.refused(seal(&asked, &keys("alice")));

    assert_eq!(refusal.reason, Reason::Denied(Denied::NatImpossible));
    let identity = refusal.authentic.unwrap();
    assert_eq!(identity.opened().nat_text(), Some("192.168.10.5,22"));
}

#[test]
fn commands_run_where_stanza_and_host_both_say_so() {
    let mut asked = message(1, NOW_SECS);
    asked.message_type = MessageType::Command;
    asked.request = Request::Command {
        allow: Allow::Source,
        command: "/usr/bin/id -u".to_owned(),
    };
    let packet = seal(&asked, &keys("alice"));
    let enabled = stanza("alice", "ENABLE_CMD_EXEC Y");
    let off = Settings {
        commands: false,
        ..Settings::default()
    };

    let granted = Scene::new(&enabled).granted(&packet);
    let not_in_stanza = Scene::new(&stanza("alice", "")).refused(&packet);
    let not_on_host = Scene::with(&enabled, off).refused(&packet);

    assert!(matches!(granted.permit().what(), Permitted::Command { .. }));
    assert_eq!(
        not_in_stanza.reason,
        Reason::Denied(Denied::CommandNotEnabled)
    );
    assert_eq!(not_on_host.reason, Reason::Denied(Denied::CommandsOff));
}

#[test]
fn an_authentic_packet_that_is_no_message_says_so_and_names_nobody() {
    let mut scene = Scene::new(&stanza("alice", ""));
    // Made by openssl from the text of a message with a wrong digest:
    // openssl enc -aes-256-cbc -md md5 -S 0102030405060708 -pass pass:alice-key, then
    // openssl dgst -sha256 -hmac alice-hmac over its base64.
    let refusal = scene.refused(include_str!("wrong_digest.txt").trim_end());

    assert_eq!(refusal.check, Check::Authenticate);
    assert_eq!(
        refusal.reason,
        Reason::NotOpened(spa::OpenError::Message(Malformed::DigestMismatch))
    );
    assert_eq!(
        refusal.reason.to_string(),
        "authentic, but not a message: message: digest does not match"
    );
    assert!(refusal.authentic.is_none());
}

#[test]
fn a_policy_past_its_date_grants_nothing_and_an_extended_one_does() {
    let access_conf = stanza("alice", "");
    let mut scene = Scene::new(&access_conf);
    let dated = |not_after_secs| {
        let compiled = crate::support::compiled(&access_conf, crate::support::at(NOW_SECS));
        std::sync::Arc::new(compiled.with_not_after_secs(not_after_secs))
    };

    scene.gate.replace(dated(NOW_SECS - 1));
    let refused = scene.refused(knock("alice", 1));
    scene.gate.replace(dated(NOW_SECS));
    scene.granted(knock("alice", 2));
    scene.gate.replace(dated(0));
    scene.granted(knock("alice", 3));

    assert_eq!(refused.reason, Reason::PolicyExpired);
}

#[test]
fn a_grant_is_upheld_exactly_while_the_policy_would_give_it() {
    let mut scene = Scene::new(&stanza("alice", "OPEN_PORTS tcp/22"));
    let grant = scene.granted(knock("alice", 1));

    let cases = [
        (stanza("alice", "OPEN_PORTS tcp/22,tcp/443"), true),
        (stanza("alice", "OPEN_PORTS tcp/443"), false),
        (stanza("bob", "OPEN_PORTS tcp/22"), false),
        (stanza("alice", "REQUIRE_USERNAME bob"), false),
        (String::new(), false),
    ];
    for (access_conf, upheld) in cases {
        scene.adopt(&access_conf);

        assert_eq!(
            scene.gate.upholds(&grant, scene.now),
            upheld,
            "{access_conf}"
        );
    }
}

#[test]
fn a_mapped_ipv4_source_is_its_ipv4_address() {
    let mut scene = Scene::new("SOURCE 198.51.100.0/24\nKEY alice-key\nHMAC_KEY alice-hmac\n");
    let mut asked = message(1, NOW_SECS);
    asked.request = Request::Access {
        allow: Allow::Source,
        ports: vec!["tcp/22".parse().unwrap()],
    };

    let decision = scene.send_from("::ffff:198.51.100.10", seal(&asked, &keys("alice")));

    let grant = crate::rules::granted("mapped", decision);
    assert_eq!(grant.permit().address().to_string(), "198.51.100.10");
}

#[test]
fn secrets_are_not_in_what_the_gate_shows_of_itself() {
    let mut scene = Scene::new(&stanza("alice", "OPEN_PORTS tcp/443"));
    let decision = scene.send(tagged_knock("alice", 1));

    for text in [
        format!("{:?}", scene.gate.compiled()),
        format!("{decision:?}"),
        refusal(decision).reason.to_string(),
    ] {
        assert!(!text.contains("alice-key"), "{text}");
        assert!(!text.contains("alice-hmac"), "{text}");
    }
}

#[test]
fn every_decision_is_counted_once() {
    let mut scene = Scene::new(&stanza("alice", ""));
    let packets = [knock("alice", 1), knock("alice", 1), knock("bob", 2)];
    for packet in &packets {
        let _: Decision = scene.send(packet);
    }
    scene.send("junk");

    let counters = scene.gate.counters();
    assert_eq!(counters.received, 4);
    assert_eq!(counters.grants, 1);
    assert_eq!(counters.copies, 1);
    assert_eq!(counters.not_authentic, 1);
    assert_eq!(counters.malformed, 1);
    assert_eq!(counters.by_trial, 1);
}
