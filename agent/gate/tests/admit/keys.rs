//! Which key a packet is opened with: tags, rotation, shared keys, narrowing.

use std::sync::Arc;

use gate::{Check, CompileError, CompiledPolicy, Reason, Route, Settings, SharedKeys, UserProof};
use policy::{Denied, Dialect, NoIncludes};
use spa::{ExchangeSecret, pairwise};

use crate::support::{
    NOW_SECS, Scene, at, check, keys, keys_without_hmac, knock, message, policy, reason, route,
    seal, seal_tagged, stanza, tagged_knock,
};

#[test]
fn a_tag_names_the_key_without_any_trial() {
    let mut scene = Scene::new(&crowd(50));

    assert_eq!(route(scene.send(tagged_knock("user49", 1))), Route::Tag);
    assert_eq!(scene.gate.counters().trials, 0);
}

#[test]
fn the_key_last_used_from_a_source_is_tried_first() {
    let mut scene = Scene::new(&crowd(50));

    assert_eq!(route(scene.send(knock("user49", 1))), Route::Trial);
    assert_eq!(route(scene.send(knock("user49", 2))), Route::Source);
    assert_eq!(route(scene.send(knock("user48", 3))), Route::Trial);
    assert_eq!(route(scene.send(knock("user49", 4))), Route::Source);
    let elsewhere = scene.send_from("203.0.113.5", knock("user49", 5));
    assert_eq!(route(elsewhere), Route::Trial);
}

#[test]
fn a_key_is_found_at_any_place_and_no_key_behind_it_counts_as_tried() {
    for place in 0..40 {
        let mut scene = Scene::new(&crowd(40));

        let grant = scene.granted(knock(&format!("user{place}"), 1));

        assert_eq!(grant.permit().stanza(), place + 1);
        assert_eq!(scene.gate.counters().trials, u64::from(place) + 1);
    }
}

#[test]
fn every_key_is_tried_once_on_a_packet_of_none() {
    for count in 0..40 {
        let mut scene = Scene::new(&(crowd(count) + &stanza("last", "")));

        let refused = scene.refused(knock("mallory", 1));

        assert_eq!(refused.reason, Reason::NotAuthentic);
        assert_eq!(scene.gate.counters().trials, count as u64 + 1);
    }
}

#[test]
fn tags_of_the_whole_window_are_known() {
    for offset in 0..=240 {
        let mut scene = Scene::new(&stanza("alice", ""));
        let timestamp = NOW_SECS - 120 + offset;

        let decision = scene.send(seal_tagged(&message(offset, timestamp), &keys("alice")));

        assert_eq!(route(decision), Route::Tag, "{offset}");
    }
}

#[test]
fn tags_follow_the_clock_however_it_goes() {
    let mut scene = Scene::new(&crowd(40));
    let mut number = 0;
    for step in [1, 59, 60, 61, 3600, 120, 1_000_000, 30] {
        scene.later(step);
        for _ in 0..3 {
            number += 1;
            let asked = message(number, scene.now.wall_secs);
            let decision = scene.send(seal_tagged(&asked, &keys("user39")));
            assert_eq!(route(decision), Route::Tag);
        }
    }
    scene.now.wall_secs = NOW_SECS - 500_000;
    let asked = message(999, scene.now.wall_secs);
    assert_eq!(
        route(scene.send(seal_tagged(&asked, &keys("user39")))),
        Route::Tag
    );
}

#[test]
fn tags_can_be_made_ahead_while_nothing_happens() {
    let mut scene = Scene::new(&crowd(600));
    let now = scene.now;

    let calls = (1..10).find(|_| scene.gate.precompute(now)).unwrap();

    assert!(calls > 1);
    assert!(scene.gate.precompute(now));
}

#[test]
fn the_tag_of_another_minute_or_another_user_opens_nothing() {
    let mut scene = Scene::new(&crowd(2));
    let packet = tagged_knock("user1", 1);
    let other_minute = seal_tagged(&message(2, NOW_SECS - 60), &keys("user1"));
    let other_user = tagged_knock("user0", 3);

    let minute = format!("{}{}", &other_minute[..8], &packet[8..]);
    let user = format!("{}{}", &other_user[..8], &packet[8..]);

    assert_eq!(reason(scene.send(minute)), Reason::ForeignTag);
    assert_eq!(reason(scene.send(user)), Reason::NotAuthentic);
    assert!(scene.replays.is_empty());
    scene.granted(packet);
}

#[test]
fn an_untagged_key_is_not_found_behind_eight_characters() {
    let settings = Settings {
        ageing: None,
        ..Settings::default()
    };
    let mut scene = Scene::with("SOURCE ANY\nKEY alice-key\n", settings);
    let packet = seal(&message(1, NOW_SECS), &keys_without_hmac("alice"));

    assert_eq!(check(scene.send(format!("AAAAAAAA{packet}"))), Check::Match);
}

#[test]
fn without_ageing_a_tagged_packet_of_any_time_is_found_by_trying() {
    let settings = Settings {
        ageing: None,
        ..Settings::default()
    };
    let mut scene = Scene::with(&stanza("alice", ""), settings);
    let old = seal_tagged(&message(1, NOW_SECS - 86_400), &keys("alice"));
    let foreign = format!("AAAAAAAA{}", &old[8..]);

    assert_eq!(reason(scene.send(foreign)), Reason::ForeignTag);
    assert_eq!(route(scene.send(old)), Route::Trial);
}

#[test]
fn a_tag_of_another_hour_is_noise_from_strangers_and_a_wrong_clock_for_known_sources() {
    let mut scene = Scene::new(&stanza("alice", ""));
    let skewed = |number| seal_tagged(&message(number, NOW_SECS - 3600), &keys("alice"));

    assert_eq!(check(scene.send(skewed(1))), Check::Match);
    scene.granted(tagged_knock("alice", 2));
    let refusal = scene.refused(skewed(3));

    assert_eq!(refusal.check, Check::Fresh);
    assert_eq!(refusal.authentic.unwrap().user(), "alice");
}

#[test]
fn to_explain_a_packet_a_tag_of_another_hour_is_followed() {
    let settings = Settings {
        thorough: true,
        ..Settings::default()
    };
    let mut scene = Scene::with(&stanza("alice", ""), settings);

    let skewed = scene.send(seal_tagged(&message(1, NOW_SECS - 3600), &keys("alice")));

    assert_eq!(check(skewed), Check::Fresh);
}

#[test]
fn a_stanza_may_have_several_keys_while_they_are_changed() {
    let mut scene = Scene::new(
        "SOURCE ANY\nKEY old-key\nHMAC_KEY old-hmac\nMORE_KEYS_BASE64 bmV3LWtleQ== bmV3LWhtYWM=\n",
    );

    for (number, word) in (1..).zip(["old", "new", "old"]) {
        let grant = scene.granted(knock(word, number));

        assert_eq!(grant.identity().key(), keys(word).fingerprint());
        assert_eq!(grant.permit().stanza(), 1);
    }
}

#[test]
fn all_stanzas_of_a_key_are_asked_and_the_first_that_permits_decides() {
    let stanzas = [
        stanza("alice", "OPEN_PORTS tcp/443"),
        stanza("bob", "OPEN_PORTS tcp/22"),
        stanza("alice", "OPEN_PORTS tcp/22\nFW_ACCESS_TIMEOUT 11"),
        stanza("alice", "OPEN_PORTS tcp/22\nFW_ACCESS_TIMEOUT 22"),
    ];
    let mut scene = Scene::new(&stanzas.concat());

    let grant = scene.granted(knock("alice", 1));

    assert_eq!(grant.permit().stanza(), 3);
    assert_eq!(grant.permit().timeout_secs(), 11);
    assert_eq!(scene.gate.counters().trials, 1);
    assert_eq!(scene.gate.compiled().key_count(), 2);
}

#[test]
fn if_no_stanza_of_the_key_permits_the_one_that_lists_the_port_says_why() {
    let stanzas = [
        stanza("alice", "OPEN_PORTS tcp/443"),
        stanza("alice", "OPEN_PORTS tcp/22\nREQUIRE_USERNAME bob"),
        stanza("alice", "REQUIRE_SOURCE_ADDRESS Y\nREQUIRE_USERNAME carl"),
    ];
    let mut scene = Scene::new(&stanzas.concat());

    let refusal = scene.refused(knock("alice", 1));

    let user = Denied::Username("alice".to_owned());
    assert_eq!(refusal.reason, Reason::Denied(user));
}

#[test]
fn if_no_stanza_of_the_key_permits_or_lists_the_port_the_first_one_says_why() {
    let stanzas = [
        stanza("alice", "OPEN_PORTS tcp/443"),
        stanza("alice", "OPEN_PORTS tcp/80\nREQUIRE_USERNAME bob"),
    ];
    let mut scene = Scene::new(&stanzas.concat());

    let refusal = scene.refused(knock("alice", 1));

    let port = "tcp/22".parse().unwrap();
    assert_eq!(refusal.reason, Reason::Denied(Denied::PortNotOpen(port)));
}

#[test]
fn stanzas_with_one_hmac_key_and_two_encryption_keys_are_told_apart() {
    let mut scene = Scene::new(
        "SOURCE ANY\nKEY other-key\nHMAC_KEY alice-hmac\nSOURCE ANY\nKEY alice-key\nHMAC_KEY alice-hmac\n",
    );

    assert_eq!(scene.granted(knock("alice", 1)).permit().stanza(), 2);
    assert_eq!(scene.granted(knock("alice", 2)).permit().stanza(), 2);
}

#[test]
fn they_are_told_apart_in_a_crowd_as_well() {
    let twin = "SOURCE ANY\nKEY other-key\nHMAC_KEY alice-hmac\n";
    let mut scene = Scene::new(&(crowd(20) + twin + &stanza("alice", "") + &crowd(10)));

    assert_eq!(scene.granted(knock("alice", 1)).permit().stanza(), 22);
    assert_eq!(scene.gate.counters().trials, 22);
}

#[test]
fn keys_of_other_sources_are_not_tried() {
    let access_conf = "SOURCE 192.0.2.0/24\nKEY alice-key\nHMAC_KEY alice-hmac\n";
    let mut scene = Scene::new(access_conf);

    let refused = scene.refused(knock("alice", 1));
    let elsewhere = scene.send_from("192.0.2.9", knock("alice", 1));

    assert_eq!(refused.reason, Reason::NoCandidate);
    assert_eq!(route(elsewhere), Route::Trial);
    assert_eq!(scene.gate.counters().trials, 1);
}

#[test]
fn to_explain_a_packet_the_rule_that_refuses_its_source_is_named() {
    let access_conf = "SOURCE 192.0.2.0/24\nKEY alice-key\nHMAC_KEY alice-hmac\n";
    let settings = Settings {
        thorough: true,
        ..Settings::default()
    };
    let mut scene = Scene::with(access_conf, settings);

    let refusal = scene.refused(knock("alice", 1));

    assert_eq!(refusal.reason, Reason::Denied(Denied::Source(scene.source)));
}

#[test]
fn a_key_with_one_stanza_for_any_source_is_tried_for_any_source() {
    let narrow = "SOURCE 192.0.2.0/24\nKEY alice-key\nHMAC_KEY alice-hmac\n";
    let mut scene = Scene::new(&(narrow.to_owned() + &stanza("alice", "")));

    assert_eq!(scene.granted(knock("alice", 1)).permit().stanza(), 2);
}

#[test]
fn a_user_is_known_by_her_own_key_with_this_host() {
    let (user, host) = (
        ExchangeSecret::from_bytes([1; 32]),
        ExchangeSecret::from_bytes([2; 32]),
    );
    let keys = pairwise(&user, &host.public(), &user.public(), &host.public()).unwrap();
    let text = format!(
        "SOURCE ANY\nNAME ssh\nREQUIRE_USERNAME alice\nUSER_PUBLIC_KEY {}\nOPEN_PORTS tcp/22\n",
        user.public()
    );
    let compiled =
        Arc::new(policy::parse_as(Dialect::Compiled, "compiled", &text, &NoIncludes).unwrap());
    let compiled = |identity: Option<&ExchangeSecret>| {
        CompiledPolicy::new(&compiled, identity, 3, SharedKeys::AllStatic, at(NOW_SECS))
    };
    let mut scene = Scene::new(&stanza("bob", ""));
    scene.gate.replace(Arc::new(compiled(Some(&host)).unwrap()));

    let grant = scene.granted(seal_tagged(&message(1, NOW_SECS), &keys));
    let mut impostor = message(2, NOW_SECS);
    impostor.username = "root".to_owned();
    let refusal = scene.refused(seal(&impostor, &keys));

    assert_eq!(grant.identity().user(), "alice");
    assert_eq!(grant.identity().user_proof(), UserProof::Proven);
    assert_eq!(grant.claim(), gate::Claimed::NotNeeded);
    assert_eq!(refusal.authentic.unwrap().user(), "alice");
    assert_eq!(
        compiled(None).unwrap_err(),
        CompileError::NoIdentity {
            stanza: "ssh".to_owned()
        }
    );
}

#[test]
fn a_user_is_known_by_a_former_key_of_this_host_as_long_as_that_is_good() {
    let secret = |byte| ExchangeSecret::from_bytes([byte; 32]);
    let (user, now, former) = (secret(1), secret(2), secret(3));
    let sealed = |host: &ExchangeSecret, number| {
        let keys = pairwise(&user, &host.public(), &user.public(), &host.public()).unwrap();
        seal_tagged(&message(number, NOW_SECS), &keys)
    };
    let text = format!(
        "SOURCE ANY\nREQUIRE_USERNAME alice\nUSER_PUBLIC_KEY {}\nOPEN_PORTS tcp/22\n",
        user.public()
    );
    let policy =
        Arc::new(policy::parse_as(Dialect::Compiled, "compiled", &text, &NoIncludes).unwrap());
    let compiled = |identity: &[ExchangeSecret]| {
        CompiledPolicy::new(&policy, identity, 3, SharedKeys::AllStatic, at(NOW_SECS)).unwrap()
    };
    let mut scene = Scene::new(&stanza("bob", ""));

    let both = compiled(&[now.clone(), former.clone()]);
    assert_eq!(both.key_count(), 2);
    scene.gate.replace(Arc::new(both));
    for (number, host) in [(1, &now), (2, &former)] {
        let grant = scene.granted(sealed(host, number));
        assert_eq!(grant.identity().user(), "alice");
    }
    scene
        .gate
        .replace(Arc::new(compiled(std::slice::from_ref(&now))));
    scene.granted(sealed(&now, 3));
    scene.refused(sealed(&former, 4));
}

#[test]
fn a_name_under_a_static_key_is_asserted_also_where_the_stanza_requires_that_one_name() {
    let mut scene = Scene::new(&stanza("alice", "REQUIRE_USERNAME alice"));

    let grant = scene.granted(knock("alice", 1));

    assert_eq!(grant.identity().user_proof(), UserProof::Asserted);
}

#[test]
fn a_stanza_without_a_key_is_refused_as_a_whole_policy() {
    let text = "SOURCE ANY\nNAME ssh\nOPEN_PORTS tcp/22\nREQUIRE_USERNAME alice\n";
    let uncompiled = policy::parse_as(Dialect::Operator, "policy", text, &NoIncludes).unwrap();

    let compiled = CompiledPolicy::new(
        &Arc::new(uncompiled),
        None,
        1,
        SharedKeys::None,
        at(NOW_SECS),
    );

    assert_eq!(
        compiled.unwrap_err(),
        CompileError::NoKey {
            stanza: "ssh".to_owned()
        }
    );
}

#[test]
fn keys_of_every_shape_live_in_one_policy() {
    let mut access_conf = String::new();
    let types = [
        "md5", "sha1", "sha256", "sha384", "sha512", "sha3_256", "sha3_512",
    ];
    for name in types {
        access_conf += &stanza(name, &format!("HMAC_DIGEST_TYPE {name}"));
    }
    access_conf += "SOURCE ANY\nKEY plain-key\n";
    let mut scene = Scene::new(&access_conf);

    for (number, name) in (1..).zip(types) {
        let base = keys(name);
        let (hmac, _) = base.hmac().unwrap();
        let own = spa::Keys::new(
            base.encryption().clone(),
            base.mode(),
            Some((hmac.clone(), name.parse().unwrap())),
        )
        .unwrap();
        let asked = message(number, NOW_SECS);

        let grant = scene.granted(seal(&asked, &own));

        assert_eq!(u64::from(grant.permit().stanza()), number, "{name}");
    }
    let plain = seal(&message(100, NOW_SECS), &keys_without_hmac("plain"));
    assert_eq!(scene.granted(plain).permit().stanza(), 8);
}

#[test]
fn a_policy_of_ten_thousand_keys_is_compiled_whole() {
    let policy = policy(&crowd(10_000));
    let compiled = CompiledPolicy::new(&policy, None, 1, SharedKeys::None, at(NOW_SECS)).unwrap();

    assert_eq!(compiled.key_count(), 10_000);
}

/// So many users, each with her own key: user0, user1, ...
fn crowd(count: usize) -> String {
    (0..count)
        .map(|number| stanza(&format!("user{number}"), ""))
        .collect()
}
