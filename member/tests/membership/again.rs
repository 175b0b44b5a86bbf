//! A join that is begun again after its token has expired, or under another name.

use std::path::Path;

use fleet::{Role, Token};
use member::{ConnectError, JoinError, JoinOptions, Membership, join};
use tempfile::TempDir;

use crate::fake::{Fake, now_secs};
use crate::seen;

/// Joins, and never hears that it was admitted.
async fn lost(fake: &Fake, token: &Token, dir: &Path) {
    *fake.state.deaf.lock().unwrap() = true;
    let lost = join(token, dir, JoinOptions::default()).await;
    assert!(lost.is_err());
    *fake.state.deaf.lock().unwrap() = false;
}

fn expired(token: Token) -> Token {
    let expires_at_secs = now_secs() - 10;
    Token {
        expires_at_secs,
        ..token
    }
}

#[tokio::test]
async fn whoever_was_admitted_finishes_after_the_token_has_expired_or_the_name_has_changed() {
    let fake = Fake::start();
    for is_renamed in [false, true] {
        let dir = TempDir::new().unwrap();
        let mut token = fake.token(Role::Host, "web-1");
        token.secret = [u8::from(is_renamed); 32];
        lost(&fake, &token, dir.path()).await;

        *fake.state.renamed.lock().unwrap() = is_renamed;
        let token = if is_renamed { token } else { expired(token) };
        let joined = join(&token, dir.path(), JoinOptions::default()).await;

        let joined = joined.unwrap();
        assert_eq!(
            (joined.name.as_str(), joined.fleet.as_str()),
            ("web-1", "test")
        );
        seen(joined.channel().await.unwrap()).await;
        let loaded = Membership::load(dir.path()).unwrap();
        assert_eq!(loaded.exchange_public(), joined.exchange_public());
        assert_eq!(loaded.ca_der(), fake.state.ca.der);
    }
    assert_eq!(fake.tokens_spent(), 2);
}

#[tokio::test]
async fn an_old_token_is_of_no_use_to_whoever_has_not_the_keys_that_it_was_redeemed_with() {
    let fake = Fake::start();
    let (mine, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let token = fake.token(Role::Host, "web-1");
    lost(&fake, &token, mine.path()).await;
    // It has begun, with keys of its own, and the token is used.
    let used = join(&token, other.path(), JoinOptions::default()).await;
    assert!(matches!(used, Err(JoinError::TokenRefused { .. })));

    for token in [token.clone(), expired(token)] {
        let refused = join(&token, other.path(), JoinOptions::default()).await;
        assert!(
            matches!(
                refused,
                Err(JoinError::TokenRefused { .. } | JoinError::TokenExpired { .. })
            ),
            "{refused:?}"
        );
    }
    assert!(!other.path().join("membership.json").exists());
}

#[tokio::test]
async fn whoever_was_admitted_and_locked_since_hears_that_and_not_that_the_token_expired() {
    let fake = Fake::start();
    let dir = TempDir::new().unwrap();
    let token = fake.token(Role::Host, "web-1");
    lost(&fake, &token, dir.path()).await;
    *fake.state.banned.lock().unwrap() = true;

    let refused = join(&expired(token), dir.path(), JoinOptions::default()).await;

    let Err(JoinError::Connect(ConnectError::Refused { message, .. })) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(message, "host web-1 is banned");
}
