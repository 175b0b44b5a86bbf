//! The shared replay list.

use fleet::wire::directive::Directive as Kind;
use fleet::wire::{ClaimRequest, ClaimResponse, ListEventsRequest};
use fleet::{EventKind, Role};
use tonic::Code;

use crate::support::{Fleet, Member, all, next, policy};

pub(crate) const STATIC: &str = "SOURCE ANY\nKEY_BASE64 MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n\
                      HMAC_KEY_BASE64 YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY=\n";

pub(crate) fn static_domain() -> [u8; 32] {
    let policy = ::policy::parse("access.conf", STATIC, &::policy::NoIncludes).unwrap();
    policy.stanzas[0].static_keys()[0].domain()
}

async fn claim(host: &Member, digest: u8, seq: u64) -> ClaimResponse {
    let request = ClaimRequest {
        domain: static_domain().to_vec(),
        digest: vec![digest; 32],
        seq,
        forget_after_secs: 4_000_000_000,
        dated_secs: 0,
    };
    host.agent().claim(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_won_exactly_once_by_hosts_that_race() {
    let fleet = Fleet::start().await;
    let mut hosts = Vec::new();
    for number in 0..8 {
        hosts.push(fleet.join(Role::Host, &format!("web-{number}")).await);
    }
    let operator = fleet.join(Role::Operator, "root").await;
    operator.apply(0, STATIC).await.unwrap();

    for digest in 0..20 {
        let answers = all(hosts.iter().map(|host| claim(host, digest, 1))).await;

        let won: Vec<_> = (0..hosts.len()).filter(|host| answers[*host].won).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        for answer in answers.iter().filter(|answer| !answer.won) {
            assert_eq!(answer.held_by, format!("web-{}", won[0]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_claimant_that_retries_wins_again_and_its_next_packet_does_not() {
    let fleet = Fleet::start().await;
    let host = fleet.join(Role::Host, "web-1").await;
    let operator = fleet.join(Role::Operator, "root").await;
    operator.apply(0, STATIC).await.unwrap();

    assert!(claim(&host, 1, 7).await.won);
    assert!(claim(&host, 1, 7).await.won);

    let replay = claim(&host, 1, 8).await;
    assert!(!replay.won);
    assert_eq!(replay.held_by, "web-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn siblings_hear_of_a_claim_and_hosts_without_the_key_do_not() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let shared = [("role", "web")];
    let first = fleet.join_labelled(Role::Host, "web-1", &shared).await;
    let second = fleet.join_labelled(Role::Host, "web-2", &shared).await;
    let other = fleet.join(Role::Host, "db-1").await;
    let text = format!("NAME web\nHOSTS role=web\n{STATIC}");
    operator.apply(0, &text).await.unwrap();
    let mut sibling = second.session().await;
    let mut stranger = other.session().await;
    policy(&mut sibling).await;
    policy(&mut stranger).await;

    claim(&first, 5, 1).await;

    let Kind::Claimed(claimed) = next(&mut sibling).await else {
        panic!("no claimed digests");
    };
    assert_eq!(claimed.digests.len(), 1);
    assert_eq!(claimed.digests[0].digest, vec![5; 32]);
    assert_eq!(claimed.digests[0].domain, static_domain());
    // What the other host hears next is the policy that follows, and not the claim.
    operator
        .apply(1, "SOURCE ANY\nPROTECT tcp/22\n")
        .await
        .unwrap();
    policy(&mut stranger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_connects_later_hears_what_its_siblings_claimed() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let first = fleet.join(Role::Host, "web-1").await;
    let second = fleet.join(Role::Host, "web-2").await;
    let text = format!("NAME web\n{STATIC}");
    operator.apply(0, &text).await.unwrap();
    claim(&first, 5, 1).await;
    claim(&second, 6, 1).await;

    let mut session = second.session().await;
    policy(&mut session).await;

    let Kind::Claimed(claimed) = next(&mut session).await else {
        panic!("no claimed digests");
    };
    assert_eq!(claimed.digests.len(), 1, "its own is not told");
    assert_eq!(claimed.digests[0].digest, vec![5; 32]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_claims_only_with_keys_of_its_own_policy_and_that_it_tried_is_an_event() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let shared = [("role", "web")];
    let honest = fleet.join_labelled(Role::Host, "web-1", &shared).await;
    let rooted = fleet.join(Role::Host, "db-1").await;
    let text = format!("NAME web\nHOSTS role=web\n{STATIC}");
    operator.apply(0, &text).await.unwrap();

    for digest in 0..20 {
        let request = ClaimRequest {
            domain: static_domain().to_vec(),
            digest: vec![digest; 32],
            seq: 1,
            forget_after_secs: 0,
            dated_secs: 0,
        };
        let refused = rooted.agent().claim(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }

    assert!(claim(&honest, 5, 1).await.won, "nothing of it is stored");
    let question = ListEventsRequest {
        kind: EventKind::Refused.into(),
        ..ListEventsRequest::default()
    };
    let events = operator.events(question).await;
    assert_eq!(events.len(), 1, "once an hour: {events:?}");
    let event = events[0].record.as_ref().unwrap().event().unwrap();
    assert!(event.reason.contains("db-1"), "{event:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_claim_is_remembered_longer_than_a_message_can_be_recent_whatever_its_host_asks() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let sibling = fleet.join(Role::Host, "web-2").await;
    operator.apply(0, STATIC).await.unwrap();
    let mut session = sibling.session().await;
    policy(&mut session).await;

    let mut asked = vec![0, u64::MAX, 4_000_000_000];
    for (digest, forget_after_secs) in (1..).zip(asked.drain(..)) {
        let request = ClaimRequest {
            domain: static_domain().to_vec(),
            digest: vec![digest; 32],
            seq: digest.into(),
            forget_after_secs,
            dated_secs: 0,
        };
        let answer = host.agent().claim(request).await;
        assert!(answer.unwrap().into_inner().won);
        let Kind::Claimed(told) = next(&mut session).await else {
            panic!("no claimed digests");
        };
        let until = told.digests[0].forget_after_secs;
        assert!(until > 1_700_000_000 && until < 4_000_000_000, "{until}");
    }
}
