//! What strangers do to be in the way, and that they are not.

use std::time::Duration;

use fleet::Role;
use fleet::wire::enrollment_client::EnrollmentClient;
use fleet::wire::{ClaimRequest, ListHostsRequest, RedeemRequest};
use tokio::net::TcpStream;
use tonic::Code;

use crate::claims::{STATIC, static_domain};
use crate::raw;
use crate::support::{Fleet, Member, all, patiently};

/// As many as one stranger once needed to stop the fleet, and some more.
const MANY: usize = 1_100;
/// Longer than the controller waits for a peer that says nothing, and shorter than twice that.
const IN_TIME: Duration = Duration::from_secs(9);

/// What a fleet does all day, over new connections.
async fn go_on(fleet: &Fleet, operator: &Member, host: &Member, number: u64) {
    fleet.join(Role::User, &format!("user-{number}")).await;
    let channel = fleet.channel(&operator.answer.certificate_der, &operator.joiner);
    let mut fresh = fleet::wire::operator_client::OperatorClient::new(channel.await);
    fresh.list_hosts(ListHostsRequest {}).await.unwrap();
    let claim = ClaimRequest {
        domain: static_domain().to_vec(),
        digest: vec![u8::try_from(number).unwrap(); 32],
        seq: number,
        forget_after_secs: 0,
        dated_secs: 0,
    };
    host.agent().claim(claim).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_of_one_address_keep_nobody_out() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    operator.apply(0, STATIC).await.unwrap();
    let connector = raw::connector(&fleet);

    // Half of them are silent below TLS, half above it.
    let mut below = Vec::new();
    for _ in 0..MANY / 2 {
        below.push(TcpStream::connect(fleet.running.address()).await.unwrap());
    }
    patiently(go_on(&fleet, &operator, &host, 1)).await;
    let mut above = Vec::new();
    for _ in 0..11 {
        let wave = all((0..MANY / 22).map(|_| raw::tls(&fleet, &connector))).await;
        above.extend(wave.into_iter().flatten());
    }
    assert!(above.len() > MANY / 4, "{} got through TLS", above.len());
    patiently(go_on(&fleet, &operator, &host, 2)).await;

    // Who was there before is there still.
    let hosts = operator.operator().list_hosts(ListHostsRequest {}).await;
    assert_eq!(hosts.unwrap().into_inner().hosts.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_say_what_is_next_is_closed_in_time() {
    let fleet = Fleet::start().await;
    let connector = raw::connector(&fleet);
    let began = tokio::time::Instant::now();

    let mut below = TcpStream::connect(fleet.running.address()).await.unwrap();
    let mut above = raw::tls(&fleet, &connector).await.unwrap();
    let mut half = raw::tls(&fleet, &connector).await.unwrap();
    assert!(raw::say(&mut half, &raw::BEGINNING[..20]).await);
    tokio::join!(
        raw::until_closed(&mut below, IN_TIME),
        raw::until_closed(&mut above, IN_TIME),
        raw::until_closed(&mut half, IN_TIME),
    );

    assert!(
        began.elapsed() > Duration::from_secs(4),
        "not at once either"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_2_is_closed_at_once() {
    let fleet = Fleet::start().await;
    let mut stream = raw::tls(&fleet, &raw::connector(&fleet)).await.unwrap();

    raw::say(&mut stream, b"GET / HTTP/1.1\r\nHost: controller\r\n\r\n").await;

    raw::until_closed(&mut stream, Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_end_their_connection_and_no_other() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let mut stream = raw::tls(&fleet, &raw::connector(&fleet)).await.unwrap();
    let headers = raw::headers("/postern.v1.Enrollment/Redeem");
    let mut burst = raw::BEGINNING.to_vec();
    for number in 0..2_000 {
        let id = 2 * number + 1;
        // HEADERS with END_HEADERS, then RST_STREAM: CANCEL.
        burst.extend(raw::frame(1, 4, id, &headers));
        burst.extend(raw::frame(3, 0, id, &[0, 0, 0, 8]));
    }

    raw::say(&mut stream, &burst).await;

    raw::until_closed(&mut stream, Duration::from_secs(5)).await;
    let hosts = operator.operator().list_hosts(ListHostsRequest {}).await;
    assert!(hosts.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_long_is_refused_before_it_is_read() {
    let fleet = Fleet::start().await;
    let request = RedeemRequest {
        requested_name: "x".repeat(1_000_000),
        ..RedeemRequest::default()
    };

    let refused = EnrollmentClient::new(fleet.stranger().await)
        .redeem(request)
        .await
        .unwrap_err();

    let codes = [Code::OutOfRange, Code::ResourceExhausted];
    assert!(codes.contains(&refused.code()), "{refused:?}");
}
