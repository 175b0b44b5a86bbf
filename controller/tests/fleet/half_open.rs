//! Peers that vanish without a word.

use std::time::Duration;

use fleet::Role;
use fleet::wire::agent_client::AgentClient;
use fleet::wire::{Directive, ListHostsRequest, SessionRequest};
use member::JoinOptions;
use tempfile::TempDir;
use tonic::Streaming;

use crate::raw::{self, Line};
use crate::support::{Fleet, Member};

/// Within this a host whose process or line is gone is shown as away.
const GONE_WITHIN: Duration = Duration::from_secs(20);
/// Within this a host leaves a controller of which it hears nothing behind a machine that takes everything: it cannot
/// be told from one that is busy.
const LEFT_WITHIN: Duration = Duration::from_secs(40);

/// Which hosts are connected.
async fn connected(operator: &Member) -> Vec<String> {
    let hosts = operator.operator().list_hosts(ListHostsRequest {}).await;
    let hosts = hosts.unwrap().into_inner().hosts.into_iter();
    let connected = hosts.filter(|host| host.connected);
    connected.map(|host| host.name).collect()
}

async fn until_away(operator: &Member, name: &str, limit: Duration) {
    let began = tokio::time::Instant::now();
    while connected(operator).await.iter().any(|host| host == name) {
        assert!(began.elapsed() < limit, "connected after {limit:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A host's session as agents have one, with the library that they use, over the line at this port.
async fn session(fleet: &Fleet, name: &str, port: u16) -> (TempDir, Streaming<Directive>) {
    let token = fleet.token(Role::Host, name, &[]).await;
    let dir = TempDir::new().unwrap();
    let options = JoinOptions {
        controller: Some(format!("127.0.0.1:{port}")),
        ..JoinOptions::default()
    };
    let member = member::join(&token, dir.path(), options).await.unwrap();
    let channel = member.channel().await.unwrap();
    let mut agent = AgentClient::new(channel);
    let session = agent.session(SessionRequest::default()).await.unwrap();
    (dir, session.into_inner())
}

/// Reads until the session fails, which must be within `limit`.
async fn until_failed(mut session: Streaming<Directive>, limit: Duration) {
    let failing = async { while let Ok(Some(_)) = session.message().await {} };
    let in_time = tokio::time::timeout(limit, failing).await;
    assert!(in_time.is_ok(), "a session after {limit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_line_is_cut_is_away_within_twenty_seconds_and_idle_strangers_go_too() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let line = Line::to(&fleet).await;
    let (_cut_dir, cut) = session(&fleet, "web-1", line.port).await;
    // Its line is whole, and nothing passes but questions whether the other is there.
    let whole = fleet.running.address().port();
    let (_idle_dir, mut idle) = session(&fleet, "web-2", whole).await;
    assert_eq!(connected(&operator).await, ["web-1", "web-2"]);

    // A stranger that speaks HTTP/2, and then nothing more, not even an answer to a ping.
    let mut stranger = raw::tls(&fleet, &raw::connector(&fleet)).await.unwrap();
    assert!(raw::say(&mut stranger, raw::BEGINNING).await);
    line.cut();
    tokio::join!(
        until_away(&operator, "web-1", GONE_WITHIN),
        until_failed(cut, LEFT_WITHIN),
        raw::until_closed(&mut stranger, GONE_WITHIN),
    );
    // Longer than anybody may be silent.
    let listening = async { while let Ok(Some(_)) = idle.message().await {} };
    let ended = tokio::time::timeout(Duration::from_secs(4), listening).await;
    assert!(ended.is_err(), "the session of an idle host has ended");
    assert_eq!(connected(&operator).await, ["web-2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_session_ends_is_away_at_once() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let session = host.session().await;
    assert_eq!(connected(&operator).await, ["web-1"]);

    drop(session);

    until_away(&operator, "web-1", Duration::from_secs(5)).await;
}
