//! Peers that vanish without a word.

use std::time::Duration;

use fleet::Role;
use fleet::wire::agent_client::AgentClient;
use fleet::wire::{ListHostsRequest, SessionRequest};
use tonic::transport::{Endpoint, Identity};

use crate::raw::{self, Line};
use crate::support::{Fleet, Member, pem};

/// Within this a host whose process or line is gone is shown as away.
const GONE_WITHIN: Duration = Duration::from_secs(17);

async fn is_connected(operator: &Member) -> bool {
    let hosts = operator.operator().list_hosts(ListHostsRequest {}).await;
    hosts.unwrap().into_inner().hosts[0].connected
}

async fn until_away(operator: &Member, limit: Duration) {
    let began = tokio::time::Instant::now();
    while is_connected(operator).await {
        assert!(began.elapsed() < limit, "connected after {limit:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_line_is_cut_is_away_within_twenty_seconds_and_idle_strangers_go_too() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let line = Line::to(&fleet).await;
    let identity = Identity::from_pem(
        pem(&host.answer.certificate_der),
        host.joiner.tls.serialize_pem(),
    );
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", line.port))
        .unwrap()
        .tls_config(fleet.tls().identity(identity))
        .unwrap();
    let mut agent = AgentClient::new(endpoint.connect().await.unwrap());
    let session = agent.session(SessionRequest::default()).await.unwrap();
    assert!(is_connected(&operator).await);

    // A stranger that speaks HTTP/2, and then nothing more, not even an answer to a ping.
    let mut idle = raw::tls(&fleet, &raw::connector(&fleet)).await.unwrap();
    assert!(raw::say(&mut idle, raw::BEGINNING).await);
    line.cut();
    tokio::join!(
        until_away(&operator, GONE_WITHIN),
        raw::until_closed(&mut idle, GONE_WITHIN),
    );
    drop(session);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_session_ends_is_away_at_once() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let session = host.session().await;
    assert!(is_connected(&operator).await);

    drop(session);

    until_away(&operator, Duration::from_secs(5)).await;
}
