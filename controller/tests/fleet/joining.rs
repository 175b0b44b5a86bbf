//! Tokens, certificates and bans.

use fleet::Role;
use fleet::wire::{BanHostRequest, CreateTokenRequest, ListHostsRequest, RemoveMemberRequest};
use tonic::Code;

use crate::support::{Fleet, Joiner, all, now_secs, patiently};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_redeemed_twice_at_once_is_won_once() {
    let fleet = Fleet::start().await;
    let token = fleet.token(Role::Host, "web-1", &[]).await;
    let joiners: Vec<_> = (0..8).map(|_| Joiner::new()).collect();

    let attempts = joiners.iter().map(|joiner| fleet.redeem(&token, joiner));
    let answers = all(attempts).await;

    let won = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(won, 1);
    for status in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(status.code(), Code::PermissionDenied);
        assert!(status.message().contains("redeemed already"), "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_with_the_same_identity_is_the_same_member() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let token = fleet.token(Role::Host, "", &[]).await;
    let joiner = Joiner::new();

    let first = fleet.redeem(&token, &joiner).await.unwrap();
    let again = fleet.redeem(&token, &joiner).await.unwrap();

    assert_eq!(first.name, "somebody");
    assert_eq!(again.name, first.name);
    let hosts = operator.operator().list_hosts(ListHostsRequest {}).await;
    assert_eq!(hosts.unwrap().into_inner().hosts.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_does_not_spend_the_token() {
    let fleet = Fleet::start().await;
    fleet.join(Role::Host, "somebody").await;
    let token = fleet.token(Role::Host, "", &[]).await;
    let named = fleet.token(Role::Host, "web-1", &[]).await;

    let refused = fleet.redeem(&token, &Joiner::new()).await.unwrap_err();
    fleet.redeem(&named, &Joiner::new()).await.unwrap();

    assert_eq!(refused.code(), Code::AlreadyExists);
    let again = fleet.redeem(&token, &Joiner::new()).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists, "the token is still good");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_token_makes_an_operator_and_a_member_library_joins_with_it() {
    let fleet = Fleet::start().await;
    let dir = fleet.dir.path().join("member");
    let options = member::JoinOptions {
        requested_name: Some("root".to_owned()),
        controller: Some(fleet.running.address().to_string()),
        ..member::JoinOptions::default()
    };

    let membership = member::join(&fleet.first, &dir, options).await.unwrap();
    let channel = membership.channel().await.unwrap();

    let request = CreateTokenRequest {
        role: fleet::wire::Role::User.into(),
        name: "mbr".to_owned(),
        labels: [].into(),
        ttl_secs: 60,
        ..CreateTokenRequest::default()
    };
    let mut operator = fleet::wire::operator_client::OperatorClient::new(channel);
    let answer = operator.create_token(request).await.unwrap().into_inner();
    let token: fleet::Token = answer.token.parse().unwrap();
    assert_eq!((token.role, token.name.as_str()), (Role::User, "mbr"));
    assert_eq!(token.address, "controller.example:7443");
    membership.renew().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_fleet_is_refused() {
    let fleet = Fleet::start().await;
    let mut token = fleet.token(Role::Host, "web-1", &[]).await;
    token.secret[0] ^= 1;

    let refused = fleet.redeem(&token, &Joiner::new()).await.unwrap_err();

    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("none of this fleet's"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_by_the_identity_key_only() {
    let fleet = Fleet::start().await;
    let mut host = fleet.join(Role::Host, "web-1").await;

    let renewed = fleet.renew(&host, now_secs()).await.unwrap();
    let channel = fleet.channel(&renewed.certificate_der, &host.joiner).await;
    host.channel = channel;
    host.session().await;

    let old = fleet.renew(&host, now_secs() - 3600).await.unwrap_err();
    assert!(old.message().contains("clock"), "{old:?}");
    host.joiner.identity = Joiner::new().identity;
    let forged = fleet.renew(&host, now_secs()).await.unwrap_err();
    assert_eq!(forged.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_hosts_stream_ends_and_it_does_not_come_back() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    operator.apply(0, "SOURCE ANY\n").await.unwrap();
    let mut session = host.session().await;
    crate::support::policy(&mut session).await;

    let request = BanHostRequest {
        name: "web-1".to_owned(),
        reason: "rooted".to_owned(),
    };
    operator.operator().ban_host(request).await.unwrap();

    let ended = patiently(session.message()).await;
    assert!(matches!(ended, Ok(None) | Err(_)), "{ended:?}");
    let again = host.session_with(0, Vec::new()).await.unwrap_err();
    assert_eq!(again.code(), Code::PermissionDenied);
    assert!(again.message().contains("banned"), "{again:?}");
    let renewal = fleet.renew(&host, now_secs()).await.unwrap_err();
    assert_eq!(renewal.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_given_again_after_a_removal_is_another_member() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let old = fleet.join(Role::Host, "web-1").await;
    let request = BanHostRequest {
        name: "web-1".to_owned(),
        reason: String::new(),
    };
    operator.operator().ban_host(request).await.unwrap();
    let taken = operator
        .operator()
        .create_token(CreateTokenRequest {
            role: fleet::wire::Role::Host.into(),
            name: "web-1".to_owned(),
            ..CreateTokenRequest::default()
        })
        .await;
    assert_eq!(taken.unwrap_err().code(), Code::AlreadyExists);
    let request = RemoveMemberRequest {
        role: fleet::wire::Role::Host.into(),
        name: "web-1".to_owned(),
        ..RemoveMemberRequest::default()
    };
    operator.operator().remove_member(request).await.unwrap();

    let new = fleet.join(Role::Host, "web-1").await;

    new.session().await;
    let refused = old.session_with(0, Vec::new()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}
