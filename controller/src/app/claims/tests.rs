use super::*;
use fleet::Role;

use crate::app::fixture::{Fleet, NOW, caller};

const SHARED: &str = "SOURCE ANY\nKEY a-rather-secret-thing\nHMAC_KEY another-secret-thing\n\
                      OPEN_PORTS tcp/22\n";

/// A domain that two hosts share, and those two.
async fn sharing(fleet: &Fleet) -> ([u8; 32], Caller, Caller) {
    let one = caller(&fleet.join(Role::Host, "web-1").await);
    let other = caller(&fleet.join(Role::Host, "web-2").await);
    fleet.apply(0, SHARED).await.unwrap();
    let target = fleet.context.rollout.target("web-1").unwrap();
    (target.compiled.domains[0], one, other)
}

fn new_claim(domain: [u8; 32], seq: u64) -> NewClaim {
    NewClaim {
        domain,
        digest: [1; 32],
        seq,
        forget_after_secs: NOW.secs() + 100,
        dated_secs: 0,
    }
}

#[tokio::test]
async fn the_first_host_wins_and_the_other_learns_who_did() {
    let mut fleet = Fleet::new().await;
    let (domain, one, other) = sharing(&fleet).await;

    let won = claim(&fleet.context, &one, new_claim(domain, 1), NOW)
        .await
        .unwrap();
    let retry = claim(&fleet.context, &one, new_claim(domain, 1), NOW)
        .await
        .unwrap();
    let lost = claim(&fleet.context, &other, new_claim(domain, 1), NOW)
        .await
        .unwrap();

    let held_by = "web-1".to_owned();
    assert_eq!(
        (won, retry, lost),
        (
            ClaimOutcome::Won,
            ClaimOutcome::WonBefore,
            ClaimOutcome::Lost { held_by }
        )
    );
    assert_eq!(fleet.won.recv().await.unwrap().host, "web-1");
    assert!(fleet.won.try_recv().is_err(), "a claim is told once");
}

#[tokio::test]
async fn what_one_host_won_is_told_to_those_that_share_its_key_and_not_to_itself() {
    let mut fleet = Fleet::new().await;
    let (domain, one, other) = sharing(&fleet).await;
    let sessions = &fleet.context.sessions;
    let mut own = sessions.subscribe(&one.name, || None);
    let mut others = sessions.subscribe(&other.name, || None);
    claim(&fleet.context, &one, new_claim(domain, 1), NOW)
        .await
        .unwrap();
    let won = fleet.won.recv().await.unwrap();

    sessions.announce(&fleet.context.rollout.targets(), &[won]);

    assert_eq!(others.claimed.try_recv().unwrap()[0].digest, [1; 32]);
    assert!(own.claimed.try_recv().is_err());
}

#[tokio::test]
async fn a_host_that_connects_learns_what_the_others_have_claimed() {
    let fleet = Fleet::new().await;
    let (domain, one, other) = sharing(&fleet).await;
    claim(&fleet.context, &one, new_claim(domain, 1), NOW)
        .await
        .unwrap();

    let others = known(&fleet.context, &other, NOW).await.unwrap();
    let own = known(&fleet.context, &one, NOW).await.unwrap();

    assert_eq!(others.len(), 1);
    assert_eq!(own, []);
}
