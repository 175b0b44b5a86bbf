//! Joining, loading, renewing and connecting, against an Enrollment service over real TLS.
#![expect(clippy::unwrap_used, reason = "in a test, what cannot be had ends it")]

mod again;
mod controllers;
mod fake;
mod keyring;
mod rotation;
mod trust;

use std::error::Error as _;
use std::fs;
use std::future::poll_fn;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::task::Poll;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleet::wire::SyncRequest;
use fleet::wire::directory_client::DirectoryClient;
use fleet::{Role, Token};
use member::{ConnectError, FilesError, JoinError, JoinOptions, Membership, join};
use program::{Exit, Failure as _};
use rcgen::KeyPair;
use tempfile::TempDir;
use tonic::transport::Channel;

use fake::{CLOCK_TOLERANCE, Ca, Fake, HOUR, now_secs};

const URI: &str = "postern://test/host/web-1";

async fn joined(fake: &Fake) -> (TempDir, Membership) {
    let dir = TempDir::new().unwrap();
    let token = fake.token(Role::Host, "web-1");
    let member = join(&token, dir.path(), JoinOptions::default())
        .await
        .unwrap();
    (dir, member)
}

/// The certificate that the controller saw on this channel.
async fn seen(channel: Channel) -> Vec<u8> {
    let answer = DirectoryClient::new(channel)
        .sync(SyncRequest {})
        .await
        .unwrap();
    answer.into_inner().body
}

/// Replaces the stored certificate by one with another life (seconds before and after now).
fn store_certificate(fake: &Fake, dir: &Path, uri: &str, life: (i64, i64)) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let certificate = fake.state.ca.member(uri, &key, life);
    let file = serde_json::json!({
        "version": 1,
        "certificate": STANDARD.encode(&certificate),
        "key": STANDARD.encode(key.serialize_der()),
    });
    fs::write(dir.join("certificate.json"), file.to_string()).unwrap();
    certificate
}

#[tokio::test]
async fn a_token_makes_a_member_that_loads_again_and_is_known_by_its_certificate() {
    let fake = Fake::start();
    let (dir, joined) = joined(&fake).await;

    let loaded = Membership::load(dir.path()).unwrap();
    let certificate = seen(loaded.channel().await.unwrap()).await;

    assert_eq!(
        (loaded.role, &*loaded.name, &*loaded.fleet),
        (Role::Host, "web-1", "test")
    );
    assert_eq!(loaded.exchange_public(), joined.exchange_public());
    assert!(loaded.exchange_public().is_some());
    let (_, certificate) = x509_parser::parse_x509_certificate(&certificate).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    assert!(format!("{:?}", names.value).contains(URI));
}

#[tokio::test]
async fn an_operator_has_no_exchange_key() {
    let fake = Fake::start();
    let dir = TempDir::new().unwrap();

    let member = join(
        &fake.token(Role::Operator, "ops"),
        dir.path(),
        JoinOptions::default(),
    )
    .await
    .unwrap();

    assert!(member.exchange().unwrap().is_none());
}

#[tokio::test]
async fn a_token_for_another_ca_is_refused_at_the_handshake() {
    let fake = Fake::start();
    let dir = TempDir::new().unwrap();
    let mut token = fake.token(Role::Host, "web-1");
    token.ca_fingerprint[0] ^= 1;

    let refused = join(&token, dir.path(), JoinOptions::default()).await;

    assert!(matches!(
        refused,
        Err(JoinError::Connect(ConnectError::NotTheController { .. }))
    ));
    assert_eq!(fake.tokens_spent(), 0);
    assert!(matches!(
        Membership::load(dir.path()),
        Err(FilesError::NotMember { .. })
    ));
}

#[tokio::test]
async fn showing_the_right_ca_does_not_help_a_server_that_the_ca_did_not_sign() {
    let (real, evil) = (Ca::new(), Ca::new());
    let chain = evil.chain(fleet::SERVER_NAME, &real.pem);
    let fake = Fake::start_with(real, chain);
    let dir = TempDir::new().unwrap();

    let refused = join(
        &fake.token(Role::Host, "web-1"),
        dir.path(),
        JoinOptions::default(),
    )
    .await;

    assert!(matches!(
        refused,
        Err(JoinError::Connect(ConnectError::NotTheController { .. }))
    ));
    assert_eq!(fake.tokens_spent(), 0);
}

#[tokio::test]
async fn a_server_of_the_right_ca_with_another_name_is_refused() {
    let ca = Ca::new();
    let chain = ca.chain("web-2.example.org", &ca.pem);
    let fake = Fake::start_with(ca, chain);
    let dir = TempDir::new().unwrap();

    let refused = join(
        &fake.token(Role::Host, "web-1"),
        dir.path(),
        JoinOptions::default(),
    )
    .await;

    assert!(matches!(
        refused,
        Err(JoinError::Connect(ConnectError::NotTheController { .. }))
    ));
    assert_eq!(fake.tokens_spent(), 0);
}

#[tokio::test]
async fn a_member_refuses_the_controller_of_another_fleet() {
    let (ours, theirs) = (Fake::start(), Fake::start());
    let (_dir, member) = joined(&ours).await;

    let refused = member.channel_to(&theirs.address).await;

    assert!(matches!(
        refused,
        Err(ConnectError::NotTheController { .. })
    ));
}

#[tokio::test]
async fn an_expired_token_is_refused_without_dialling() {
    let fake = Fake::start();
    let dir = TempDir::new().unwrap();
    let mut token = fake.token(Role::Host, "web-1");
    token.expires_at_secs = now_secs() - 10;

    let refused = join(&token, dir.path(), JoinOptions::default()).await;

    assert!(matches!(refused, Err(JoinError::TokenExpired { ago_secs }) if ago_secs >= 10));
    assert_eq!(fake.tokens_spent(), 0);
}

#[tokio::test]
async fn a_token_is_redeemed_once() {
    let fake = Fake::start();
    let (_first, _) = joined(&fake).await;
    let second = TempDir::new().unwrap();

    let refused = join(
        &fake.token(Role::Host, "web-1"),
        second.path(),
        JoinOptions::default(),
    )
    .await;

    assert!(
        matches!(refused, Err(JoinError::TokenRefused { message }) if message == "the token is used")
    );
}

#[tokio::test]
async fn a_token_is_not_lost_with_an_answer() {
    let fake = Fake::start();
    *fake.state.lose_answer.lock().unwrap() = true;

    let (dir, _) = joined(&fake).await;

    assert!(Membership::load(dir.path()).is_ok());
    assert_eq!(fake.tokens_spent(), 1);
}

/// Joins for so many polls at most, and then is gone as whoever is killed.
async fn join_for(
    polls: usize,
    token: &Token,
    dir: &Path,
) -> Option<Result<Membership, JoinError>> {
    let mut joining = Box::pin(join(token, dir, JoinOptions::default()));
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        joining.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test]
async fn a_join_that_is_broken_off_anywhere_goes_on_when_it_is_begun_again_with_the_same_token() {
    let fake = Fake::start();
    let mut token = fake.token(Role::Host, "web-1");
    for polls in 1.. {
        let dir = TempDir::new().unwrap();
        token.secret = [u8::try_from(polls).unwrap(); 32];
        let broken_off = join_for(polls, &token, dir.path()).await;
        if let Some(ended) = broken_off {
            ended.unwrap();
            break;
        }

        let joined = join(&token, dir.path(), JoinOptions::default()).await;
        let again = join(&token, dir.path(), JoinOptions::default()).await;

        let joined = joined.unwrap_or_else(|error| panic!("after {polls} polls: {error}"));
        assert_eq!(again.unwrap().exchange_public(), joined.exchange_public());
        seen(joined.channel().await.unwrap()).await;
    }
    assert!(fake.tokens_spent() > 2);
}

/// The files are written one after the other: between any two the power may fail.
#[tokio::test]
async fn a_join_goes_on_from_whatever_files_a_crash_has_left() {
    let fake = Fake::start();
    let token = fake.token(Role::Host, "web-1");
    let whole = TempDir::new().unwrap();
    let file = |dir: &Path, name: &str| dir.join(name);
    *fake.state.deaf.lock().unwrap() = true;
    join(&token, whole.path(), JoinOptions::default())
        .await
        .unwrap_err();
    let with_keys = fs::read(file(whole.path(), "joining.json")).unwrap();
    *fake.state.deaf.lock().unwrap() = false;
    let member = join(&token, whole.path(), JoinOptions::default())
        .await
        .unwrap();
    let keys = member.exchange_public();

    for written in [
        &[][..],
        &["certificate.json"],
        &["certificate.json", "membership.json"],
    ] {
        let crashed = TempDir::new().unwrap();
        fs::write(file(crashed.path(), "joining.json"), &with_keys).unwrap();
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(file(crashed.path(), "joining.json"), private).unwrap();
        for name in written {
            fs::copy(file(whole.path(), name), file(crashed.path(), name)).unwrap();
        }
        let joined = join(&token, crashed.path(), JoinOptions::default())
            .await
            .unwrap();

        assert_eq!(joined.exchange_public(), keys, "{written:?}");
        let left = fs::read_to_string(file(crashed.path(), "joining.json")).unwrap();
        assert!(left.contains("\"identity_key\": null"), "{left}");
        assert!(left.contains("\"exchange_key\": null"), "{left}");
    }
    assert_eq!(fake.tokens_spent(), 1);
}

#[tokio::test]
async fn a_join_with_another_token_makes_other_keys_and_one_at_a_time_joins_in_a_directory() {
    let fake = Fake::start();
    let mut token = fake.token(Role::User, "alice");
    let dir = TempDir::new().unwrap();
    let keys = || fs::read(dir.path().join("joining.json")).unwrap();
    *fake.state.deaf.lock().unwrap() = true;
    let at = dir.path();
    let ask = |token: Token| async move { join(&token, at, JoinOptions::default()).await };

    ask(token.clone()).await.unwrap_err();
    let first = keys();
    ask(token.clone()).await.unwrap_err();
    assert_eq!(keys(), first, "the same token, the same keys");
    token.secret = [9; 32];
    ask(token.clone()).await.unwrap_err();
    assert_ne!(keys(), first);

    let held = fs::File::open(dir.path()).unwrap();
    held.lock().unwrap();
    let refused = ask(token).await;
    assert!(matches!(refused, Err(JoinError::Running { .. })));
}

#[tokio::test]
async fn a_second_join_is_refused_before_the_token_is_spent_unless_forced() {
    let fake = Fake::start();
    let (dir, first) = joined(&fake).await;
    let mut token = fake.token(Role::Host, "web-1");
    token.secret = [8; 32];

    let refused = join(&token, dir.path(), JoinOptions::default()).await;
    assert!(
        matches!(refused, Err(JoinError::AlreadyMember { member, .. }) if member == "host web-1 of fleet test")
    );
    assert_eq!(fake.tokens_spent(), 1);

    let options = JoinOptions {
        force: true,
        ..JoinOptions::default()
    };
    join(&token, dir.path(), options).await.unwrap();
    let now = Membership::load(dir.path()).unwrap();
    assert_ne!(now.exchange_public(), first.exchange_public());
}

#[tokio::test]
async fn an_unwritable_directory_does_not_cost_the_token() {
    let fake = Fake::start();
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();

    let refused = join(
        &fake.token(Role::Host, "web-1"),
        &file.join("state"),
        JoinOptions::default(),
    )
    .await;

    assert!(matches!(
        refused,
        Err(JoinError::Files(FilesError::Io { .. }))
    ));
    assert_eq!(fake.tokens_spent(), 0);
}

#[tokio::test]
async fn a_half_written_membership_is_never_loaded() {
    let fake = Fake::start();
    let (dir, _) = joined(&fake).await;
    let path = dir.path().join("membership.json");
    let whole = fs::read(&path).unwrap();

    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let refused = Membership::load(dir.path());
        assert!(
            matches!(&refused, Err(FilesError::Damaged { path: named, .. }) if *named == path),
            "{length} bytes: {refused:?}"
        );
    }
}

#[tokio::test]
async fn what_a_crash_left_beside_the_files_is_no_membership() {
    let fake = Fake::start();
    let (dir, _) = joined(&fake).await;
    let crashed = TempDir::new().unwrap();
    // The certificate is written first, then the membership under a temporary name.
    for (from, to) in [
        ("certificate.json", "certificate.json"),
        ("membership.json", ".membership.json.1.new"),
    ] {
        fs::copy(dir.path().join(from), crashed.path().join(to)).unwrap();
    }

    let loaded = Membership::load(crashed.path());

    assert!(matches!(loaded, Err(FilesError::NotMember { .. })));
}

#[tokio::test]
async fn the_files_are_for_their_owner_alone_and_are_refused_otherwise() {
    let fake = Fake::start();
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("new/state");
    let token = fake.token(Role::Host, "web-1");
    join(&token, &dir, JoinOptions::default()).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = dir.join("membership.json");

    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(&dir.join("certificate.json")), 0o600);

    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(
        Membership::load(&dir),
        Err(FilesError::Exposed { mode: 0o640, .. })
    ));
}

#[tokio::test]
async fn an_expired_certificate_renews_by_identity() {
    let fake = Fake::start();
    let (dir, _) = joined(&fake).await;
    let expired = store_certificate(&fake, dir.path(), URI, (2 * HOUR, -HOUR));

    let member = Membership::load(dir.path()).unwrap();
    let certificate = seen(member.channel().await.unwrap()).await;

    assert_ne!(certificate, expired);
    assert_eq!(*fake.state.renewals.lock().unwrap(), 1);
    let again = Membership::load(dir.path()).unwrap();
    assert_eq!(seen(again.channel().await.unwrap()).await, certificate);
    assert_eq!(*fake.state.renewals.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_certificate_that_is_lost_damaged_or_somebody_elses_renews_by_identity() {
    let fake = Fake::start();
    let (dir, _) = joined(&fake).await;
    let path = dir.path().join("certificate.json");
    let whole = fs::read(&path).unwrap();

    let harms: [&dyn Fn(); 3] = [
        &|| fs::remove_file(&path).unwrap(),
        &|| fs::write(&path, &whole[..whole.len() / 2]).unwrap(),
        &|| {
            store_certificate(
                &fake,
                dir.path(),
                "postern://test/host/web-2",
                (CLOCK_TOLERANCE, HOUR),
            );
        },
    ];
    for (n, harm) in harms.iter().enumerate() {
        harm();
        let member = Membership::load(dir.path()).unwrap();
        seen(member.channel().await.unwrap()).await;
        assert_eq!(*fake.state.renewals.lock().unwrap() as usize, n + 1);
    }
}

#[tokio::test]
async fn a_certificate_past_its_half_life_renews_and_serves_on_when_it_cannot() {
    let fake = Fake::start();
    let (dir, _) = joined(&fake).await;
    let ripe = store_certificate(&fake, dir.path(), URI, (2 * HOUR, HOUR));

    *fake.state.banned.lock().unwrap() = true;
    let member = Membership::load(dir.path()).unwrap();
    assert_eq!(seen(member.channel().await.unwrap()).await, ripe);

    *fake.state.banned.lock().unwrap() = false;
    assert_ne!(seen(member.channel().await.unwrap()).await, ripe);
}

#[tokio::test]
async fn a_certificate_of_the_future_is_renewed_and_serves_where_it_cannot_be() {
    let fake = Fake::start();
    let (dir, _) = joined(&fake).await;
    let early = store_certificate(&fake, dir.path(), URI, (-2 * HOUR, 24 * HOUR));

    // As when only this machine's clock is behind: the renewal is refused, the certificate is not.
    *fake.state.banned.lock().unwrap() = true;
    let member = Membership::load(dir.path()).unwrap();
    assert!(member.channel().await.is_ok());

    // As when the whole site was ahead, and is not any more.
    *fake.state.banned.lock().unwrap() = false;
    assert_ne!(seen(member.channel().await.unwrap()).await, early);
}

#[tokio::test]
async fn a_banned_member_is_told_so() {
    let fake = Fake::start();
    let (_dir, member) = joined(&fake).await;
    *fake.state.banned.lock().unwrap() = true;

    let refused = member.renew().await.unwrap_err();

    assert_eq!(
        refused.to_string(),
        "the controller refuses: host web-1 is banned"
    );
    assert_eq!(refused.exit(), Exit::Refused);
}

#[tokio::test]
async fn nobody_answering_is_unreachable_and_says_why() {
    let fake = Fake::start();
    let (_dir, member) = joined(&fake).await;
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };

    let error = member.channel_to(&closed).await.unwrap_err();

    assert_eq!(
        error.to_string(),
        format!("cannot reach the controller at {closed}")
    );
    assert_eq!(error.exit(), Exit::Unreachable);
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("refused"), "{cause}");
}

#[tokio::test]
async fn a_certificate_from_the_future_is_blamed_on_the_clock() {
    let fake = Fake::start();
    *fake.state.life_secs.lock().unwrap() = (-2 * HOUR, 24 * HOUR);
    let dir = TempDir::new().unwrap();

    let refused = join(
        &fake.token(Role::Host, "web-1"),
        dir.path(),
        JoinOptions::default(),
    )
    .await;

    assert!(matches!(
        refused,
        Err(JoinError::Connect(ConnectError::Clock { .. }))
    ));
}

#[tokio::test]
async fn nothing_secret_is_shown_by_debug() {
    let fake = Fake::start();
    let (dir, member) = joined(&fake).await;
    let text = fs::read_to_string(dir.path().join("membership.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();

    let shown = format!("{member:?}");

    for key in ["identity_key", "exchange_key"] {
        assert!(!shown.contains(file[key].as_str().unwrap()));
    }
}
