//! Every packet of the real client that is not GPG's, judged by the access.conf that the real server
//! had, against the rules that the real server made.

use gate::{Check, Decision, Settings};
use vectors::{Expected, Valid, valid};

use crate::rules::{NAT_ON, granted, rules_of_grant, rules_of_server};
use crate::support::Scene;

/// Refused by the real server, granted here.
const WE_GRANT: [&str; 5] = [
    // fwknop ends in 2038; the field has 32 bits.
    "edge_time_2038",
    // fwknop takes 400 characters and more for GPG (docs/compatibility.md, W28); here the key of
    // the stanza decides.
    "size_nohmac_body417",
    "size_sha1_body374_over",
    "size_sha256_body374_over",
    "size_sha512_body332_over",
];

/// Granted by the real server, refused here: an octet with a leading zero is octal to some and
/// decimal to others (docs/compatibility.md, W13).
const WE_REFUSE: &str = "edge_ip_leading_zero";

/// The real server leads the first of several ports on; ours all.
const WE_LEAD_MORE: &str = "mix_all_nat_timeout_any";

/// access.conf cannot express an empty key.
const NO_SUCH_POLICY: &str = "edge_empty_passphrase";

#[test]
fn what_the_real_server_grants_is_granted_with_the_same_rules() {
    let mut granted_count = 0;
    for vector in judged() {
        let decision = admit(&vector);

        if vector.name == WE_REFUSE {
            assert!(vector.fwknopd_accepts);
            assert!(matches!(decision, Decision::Refused(_)));
        } else if vector.fwknopd_accepts {
            let grant = granted(&vector.name, decision);

            let (ours, real) = (
                rules_of_grant(&grant),
                rules_of_server(&vector.fwknopd_rules),
            );
            if vector.name == WE_LEAD_MORE {
                assert!(ours.is_superset(&real), "{ours:?} {real:?}");
            } else {
                assert_eq!(ours, real, "{}", vector.name);
            }
            assert_fields(&vector, grant.identity());
            granted_count += 1;
        }
    }
    assert!(granted_count > 90, "{granted_count}");
}

#[test]
fn what_the_real_server_refuses_is_refused_unless_listed() {
    for vector in judged().filter(|vector| !vector.fwknopd_accepts) {
        let decision = admit(&vector);

        if WE_GRANT.contains(&vector.name.as_str()) {
            let grant = granted(&vector.name, decision);
            assert_fields(&vector, grant.identity());
        } else {
            assert!(matches!(decision, Decision::Refused(_)), "{}", vector.name);
        }
    }
}

#[test]
fn every_packet_is_a_replay_when_it_comes_again() {
    for vector in judged() {
        let mut scene = scene(&vector);
        let first = scene.send(&vector.packet);
        let again = scene.refused(&vector.packet);

        let authentic = match first {
            Decision::Refused(refusal) => refusal.authentic.is_some(),
            Decision::Grant(_) | Decision::Claim(_) => true,
            Decision::Duplicate => false,
        };
        assert_eq!(again.check == Check::Replay, authentic, "{}", vector.name);
    }
}

fn judged() -> impl Iterator<Item = Valid> {
    let vectors = valid();
    assert_eq!(vectors.len(), 145);
    vectors
        .into_iter()
        .filter(|vector| vector.encryption_type == "rijndael" && vector.name != NO_SUCH_POLICY)
}

fn admit(vector: &Valid) -> Decision {
    scene(vector).send(&vector.packet)
}

fn scene(vector: &Valid) -> Scene {
    let settings = Settings {
        ageing: None,
        nat: NAT_ON,
        ..Settings::default()
    };
    Scene::with(&vector.access_conf, settings)
}

fn assert_fields(vector: &Valid, identity: &gate::Identity) {
    let Expected {
        random,
        username,
        timestamp,
        version,
        message_type,
        message,
        nat_access,
        client_timeout,
        digest,
    } = &vector.expected;
    let opened = &identity.opened();
    let ours = opened.message();
    assert_eq!(ours.random, random.as_bytes(), "{}", vector.name);
    assert_eq!(&ours.username, username);
    assert_eq!(&identity.user(), username);
    assert_eq!(ours.timestamp_secs, *timestamp);
    assert_eq!(&ours.version, version);
    assert_eq!(ours.message_type.number(), *message_type);
    assert_eq!(opened.message_text(), message);
    assert_eq!(opened.nat_text(), nat_access.as_deref());
    assert_eq!(ours.client_timeout_secs, *client_timeout);
    assert_eq!(opened.digest_text(), digest);
}
