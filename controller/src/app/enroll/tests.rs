use ed25519_dalek::Signer as _;

use super::*;
use crate::app::fixture::{CALL, Fleet, Keys, NOW, after_secs};

/// The life of a token when nothing is said.
const TOKEN_LIFE_SECS: u64 = 3600;

async fn redeem_at(fleet: &Fleet, joiner: &Joiner, now: Timestamp) -> Result<Member, Error> {
    let call = Call {
        peer: "192.0.2.9".parse().ok(),
        ..CALL
    };
    let enrolled = redeem(&fleet.context, call, joiner.clone(), now).await?;
    Ok(enrolled.member)
}

fn renewal(keys: &Keys, member: &Member, signed_at_secs: u64) -> Renewal {
    let (role, name) = (member.role, member.name.clone());
    let signed = fleet::renewal_message(role, &name, &keys.csr_der, signed_at_secs);
    Renewal {
        role,
        name,
        csr_der: keys.csr_der.clone(),
        signed_at_secs,
        signature: keys.identity.sign(&signed).to_bytes().to_vec(),
        identity_key: None,
        knows_locks: false,
        keeps_set: true,
        known: Vec::new(),
    }
}

#[tokio::test]
async fn the_name_in_the_token_counts_and_a_proposed_one_only_without_it() {
    let fleet = Fleet::new().await;
    let named = fleet.token(Role::Host, "web-1").await;
    let nameless = fleet.token(Role::Host, "").await;

    let first = redeem_at(&fleet, &Keys::new().joiner(&named, "mine"), NOW).await;
    let second = redeem_at(&fleet, &Keys::new().joiner(&nameless, "mine"), NOW).await;
    let none = fleet.token(Role::Host, "").await;
    let third = redeem_at(&fleet, &Keys::new().joiner(&none, ""), NOW).await;

    assert_eq!(first.unwrap().name, "web-1");
    assert_eq!(second.unwrap().name, "mine");
    let refused = third.unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Invalid {
                field: "requested_name",
                ..
            }
        ),
        "{refused}"
    );
}

#[tokio::test]
async fn a_host_that_names_no_address_is_found_where_its_request_came_from() {
    let fleet = Fleet::new().await;
    let token = fleet.token(Role::Host, "web-1").await;

    let host = redeem_at(&fleet, &Keys::new().joiner(&token, ""), NOW)
        .await
        .unwrap();

    assert_eq!(
        (host.address.as_str(), host.spa_port),
        ("192.0.2.9", DEFAULT_SPA_PORT)
    );
}

#[tokio::test]
async fn only_hosts_have_addresses_and_only_hosts_and_users_have_exchange_keys() {
    let fleet = Fleet::new().await;

    for (role, exchanges) in [
        (Role::User, true),
        (Role::Operator, false),
        (Role::Auditor, false),
    ] {
        let token = fleet.token(role, "m").await;
        let mut joiner = Keys::new().joiner(&token, "");
        joiner.address = "192.0.2.7".to_owned();

        let member = redeem_at(&fleet, &joiner, NOW).await.unwrap();

        assert_eq!(member.exchange_key().is_some(), exchanges, "{role}");
        assert_eq!(
            (member.address.as_str(), member.spa_port),
            ("", 0),
            "{role}"
        );
    }
}

#[tokio::test]
async fn a_joiner_that_is_refused_has_not_spent_its_token() {
    let fleet = Fleet::new().await;
    let token = fleet.token(Role::Host, "").await;
    let good = Keys::new().joiner(&token, "web-1");
    let unkeyed = Joiner {
        exchange_key: None,
        ..good.clone()
    };
    let controller = Joiner {
        requested_name: "controller".to_owned(),
        ..good.clone()
    };
    let unnamed = Joiner {
        requested_name: "a/b".to_owned(),
        ..good.clone()
    };
    let nowhere = Joiner {
        address: "some where".to_owned(),
        ..good.clone()
    };
    let unsigned = Joiner {
        csr_der: vec![1, 2, 3],
        ..good.clone()
    };

    for (joiner, at_fault) in [
        (unkeyed, "exchange_key"),
        (controller, "name"),
        (unnamed, "name"),
        (nowhere, "address"),
        (unsigned, "csr_der"),
    ] {
        let refused = redeem_at(&fleet, &joiner, NOW).await.unwrap_err();
        assert!(
            matches!(&refused, Error::Invalid { field, .. } if *field == at_fault),
            "{at_fault}: {refused}"
        );
    }

    assert_eq!(redeem_at(&fleet, &good, NOW).await.unwrap().name, "web-1");
}

#[tokio::test]
async fn a_token_admits_until_the_second_before_it_expires() {
    let fleet = Fleet::new().await;
    let (late, too_late) = (after_secs(TOKEN_LIFE_SECS - 1), after_secs(TOKEN_LIFE_SECS));
    let token = fleet.token(Role::Host, "web-1").await;
    let keys = Keys::new();

    let refused = redeem_at(&fleet, &keys.joiner(&token, ""), too_late).await;
    assert!(
        matches!(refused, Err(Error::Token(TokenRefused::Expired))),
        "{refused:?}"
    );
    redeem_at(&fleet, &keys.joiner(&token, ""), late)
        .await
        .unwrap();

    let retry = redeem_at(&fleet, &keys.joiner(&token, ""), too_late).await;
    assert!(
        matches!(retry, Err(Error::Token(TokenRefused::Expired))),
        "{retry:?}"
    );
}

#[tokio::test]
async fn a_lost_answer_is_given_again_to_the_same_keys_only() {
    let fleet = Fleet::new().await;
    let token = fleet.token(Role::Host, "").await;
    let keys = Keys::new();
    let first = redeem_at(&fleet, &keys.joiner(&token, "web-1"), NOW)
        .await
        .unwrap();

    let again = redeem_at(&fleet, &keys.joiner(&token, "not a name"), NOW)
        .await
        .unwrap();
    let other = redeem_at(&fleet, &Keys::new().joiner(&token, "web-1"), NOW).await;

    assert_eq!(again, first);
    assert!(
        matches!(other, Err(Error::Token(TokenRefused::Used))),
        "{other:?}"
    );
    let recorded = fleet.recorded().await;
    let [token, joined] = recorded.as_slice() else {
        panic!("{recorded:?}");
    };
    assert!(token.starts_with("token for host ("), "{token}");
    assert!(joined.starts_with("host web-1 joined (token "), "{joined}");
}

#[tokio::test]
async fn a_user_who_joins_is_in_the_hosts_text_when_her_answer_arrives() {
    let fleet = Fleet::new().await;
    fleet.join(Role::Host, "web-1").await;
    fleet
        .apply(0, "NAME ssh\nSOURCE ANY\nOPEN_PORTS tcp/22\n")
        .await
        .unwrap();
    let before = fleet.context.rollout.target("web-1").unwrap();

    fleet.join(Role::User, "mbr").await;

    let after = fleet.context.rollout.target("web-1").unwrap();
    assert_ne!(after.compiled.digest, before.compiled.digest);
    assert!(after.compiled.text.0.contains("mbr"), "her stanza");
}

#[tokio::test]
async fn a_renewal_is_good_for_five_minutes_around_its_signature() {
    let fleet = Fleet::new().await;
    let token = fleet.token(Role::Host, "web-1").await;
    let keys = Keys::new();
    let host = redeem_at(&fleet, &keys.joiner(&token, ""), NOW)
        .await
        .unwrap();

    for (signed_at_secs, is_good) in [
        (NOW.secs() - 301, false),
        (NOW.secs() - 300, true),
        (NOW.secs() + 300, true),
        (NOW.secs() + 301, false),
    ] {
        let renewal = renewal(&keys, &host, signed_at_secs);
        let renewed = renew(&fleet.context, renewal, NOW).await;
        match renewed {
            Ok(_) => assert!(is_good, "{signed_at_secs}"),
            Err(refused) => {
                assert!(
                    matches!(refused, Error::Renewal(RenewalRefused::Clock)),
                    "{refused}"
                );
                assert!(!is_good, "{signed_at_secs}");
            }
        }
    }
}

#[tokio::test]
async fn a_renewal_that_the_member_did_not_sign_learns_nothing_of_it() {
    let fleet = Fleet::new().await;
    let token = fleet.token(Role::Host, "web-1").await;
    let keys = Keys::new();
    let host = redeem_at(&fleet, &keys.joiner(&token, ""), NOW)
        .await
        .unwrap();
    fleet.lock_host("web-1").await;
    let nobody = Member {
        name: "web-2".to_owned(),
        ..host.clone()
    };

    let ask = async |renewal| renew(&fleet.context, renewal, NOW).await;
    let forged = ask(renewal(&Keys::new(), &host, NOW.secs())).await;
    let unknown = ask(renewal(&keys, &nobody, NOW.secs())).await;
    let locked = ask(renewal(&keys, &host, NOW.secs())).await;

    for refused in [forged, unknown] {
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, Error::Renewal(RenewalRefused::Signature)),
            "{refused}"
        );
    }
    assert!(matches!(locked, Err(Error::Locked { .. })), "{locked:?}");
}

#[tokio::test]
async fn a_member_who_joins_is_named_beside_who_invited_and_the_call() {
    let fleet = Fleet::new().await;
    let token = fleet.token(Role::Host, "").await;

    redeem_at(&fleet, &Keys::new().joiner(&token, "web-1"), NOW)
        .await
        .unwrap();

    let by = ("host/web-1".to_owned(), "root".to_owned());
    assert_eq!(fleet.newest_is_by().await, by);
}

#[tokio::test]
async fn an_old_key_that_renews_is_an_event_and_one_that_is_refused_gets_no_certificate() {
    let mut fleet = Fleet::new().await;
    let token = fleet.token(Role::Host, "web-1").await;
    let keys = Keys::new();
    let member = redeem_at(&fleet, &keys.joiner(&token, ""), NOW)
        .await
        .unwrap();
    let later = Timestamp::from_ms(NOW.ms() + 100 * 24 * 3600 * 1000);

    renew(&fleet.context, renewal(&keys, &member, later.secs()), later)
        .await
        .unwrap();

    let recorded = fleet.recorded().await;
    let said = recorded.last().unwrap();
    assert!(said.contains("nobody came for 100 days"), "{said}");
    renew(&fleet.context, renewal(&keys, &member, later.secs()), later)
        .await
        .unwrap();
    assert_eq!(
        fleet.recorded().await,
        recorded,
        "it is here again, and was said"
    );
    fleet.context.settings.identity.refuse = true;
    let later = Timestamp::from_ms(later.ms() + 100 * 24 * 3600 * 1000);
    let refused = renew(&fleet.context, renewal(&keys, &member, later.secs()), later).await;
    let expected = RenewalRefused::Away { days: 100 };
    assert!(
        matches!(&refused, Err(Error::Renewal(why)) if *why == expected),
        "{refused:?}"
    );
}
