//! Another authority follows the one that a member joined with.

use std::fs;

use fleet::Role;
use fleet::wire::TrustSet;
use member::{ConnectError, JoinError, JoinOptions, Membership, join};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::fake::{Ca, Chain, Fake};
use crate::{joined, seen};

fn fingerprint(der: &[u8]) -> Vec<u8> {
    Sha256::digest(der).to_vec()
}

/// A controller of `new`, which shows what `old` has signed for it, and says that both count.
fn following(old: &Ca, new: Ca) -> Fake {
    let told = vec![new.der.clone(), old.der.clone()];
    let behind = format!("{}{}{}", new.pem, old.vouch_for(&new), old.pem);
    let chain = new.chain(fleet::SERVER_NAME, &behind);
    let fake = Fake::start_with(new, chain);
    *fake.state.trust.lock().unwrap() = Some(TrustSet {
        authorities: told,
        directory_keys: vec![vec![7; 32]],
    });
    fake
}

#[tokio::test]
async fn a_member_that_knows_only_the_old_authority_learns_the_new_one_and_says_so_when_it_is_kept()
{
    let before = Fake::start();
    let (dir, member) = joined(&before).await;
    let after = following(&before.state.ca, Ca::new());
    after.admit_those_of(&before);
    assert!(member.is_behind(&[1; 32]) && !member.is_behind(&[]));

    member.renew_at(&after.address).await.unwrap();

    let known = after.state.known.lock().unwrap().clone();
    let [old, new] = [&before, &after].map(|fake| fingerprint(&fake.state.ca.der));
    assert_eq!(known, [vec![old.clone()], vec![new, old]]);
    let loaded = Membership::load(dir.path()).unwrap();
    assert_eq!(
        loaded.authorities(),
        [after.state.ca.der.clone(), before.state.ca.der.clone()]
    );
    assert_eq!(loaded.directory_keys(), [[7; 32]]);
    assert!(!loaded.is_behind(&fleet::trust_digest(&loaded.authorities(), &[[7; 32]])));
    seen(loaded.channel_to(&after.address).await.unwrap()).await;
}

#[tokio::test]
async fn an_authority_that_is_not_named_any_more_is_not_believed_any_more() {
    let before = Fake::start();
    let (dir, member) = joined(&before).await;
    let after = following(&before.state.ca, Ca::new());
    after.admit_those_of(&before);
    *after.state.trust.lock().unwrap() = Some(TrustSet {
        authorities: vec![after.state.ca.der.clone()],
        directory_keys: Vec::new(),
    });

    member.renew_at(&after.address).await.unwrap();

    let loaded = Membership::load(dir.path()).unwrap();
    for member in [member, loaded] {
        let refused = member.renew_at(&before.address).await;
        assert!(
            matches!(refused, Err(ConnectError::NotTheController { .. })),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_token_of_before_still_joins_and_what_it_joins_believes_both() {
    let old = Ca::new();
    let after = following(&old, Ca::new());
    let mut token = after.token(Role::Host, "web-1");
    token.ca_fingerprint = Sha256::digest(&old.der).into();
    let dir = TempDir::new().unwrap();

    let member = join(&token, dir.path(), JoinOptions::default())
        .await
        .unwrap();

    assert_eq!(
        member.authorities(),
        [after.state.ca.der.clone(), old.der.clone()]
    );
    seen(member.channel().await.unwrap()).await;
    let loaded = Membership::load(dir.path()).unwrap();
    assert_eq!(loaded.authorities(), member.authorities());
    // Nobody has to vouch for a stranger: the fingerprint of an authority that is only shown is no proof.
    let stranger = Ca::new();
    let Chain {
        leaf_pem, key_pem, ..
    } = stranger.chain(fleet::SERVER_NAME, "");
    let behind = format!("{}{}", stranger.pem, old.pem);
    let chain = Chain {
        leaf_pem,
        key_pem,
        ca_pem: behind,
    };
    let fake = Fake::start_with(stranger, chain);
    token.address.clone_from(&fake.address);
    let refused = join(
        &token,
        TempDir::new().unwrap().path(),
        JoinOptions::default(),
    )
    .await;
    let is_refused = matches!(
        refused,
        Err(JoinError::Connect(ConnectError::NotTheController { .. }))
    );
    assert!(is_refused, "{refused:?}");
}

#[tokio::test]
async fn what_was_told_in_a_membership_before_is_not_believed_in_another_one() {
    let before = Fake::start();
    let (dir, member) = joined(&before).await;
    let after = following(&before.state.ca, Ca::new());
    after.admit_those_of(&before);
    member.renew_at(&after.address).await.unwrap();
    let elsewhere = Fake::start();
    let (other, _) = joined(&elsewhere).await;
    let told = dir.path().join("trust.json");
    fs::copy(told, other.path().join("trust.json")).unwrap();

    let loaded = Membership::load(other.path()).unwrap();
    let only = std::slice::from_ref(&elsewhere.state.ca.der);
    assert_eq!(loaded.authorities(), only);
}
