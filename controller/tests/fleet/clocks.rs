//! Clocks that differ, here and there.

use std::time::{SystemTime, UNIX_EPOCH};

use fleet::wire::agent_client::AgentClient;
use fleet::wire::{AcknowledgeRequest, EventKind, ListEventsRequest, SessionRequest};
use fleet::{CONTROLLER_TIME, Role};
use rcgen::{CertificateParams, Issuer, KeyPair, SanType, SerialNumber};
use tonic::{Code, Status};

use crate::support::{Fleet, Member};

const HOUR: i64 = 3_600;

fn now_secs() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "certificates are of real time")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What the controller would have given this host `hours` ago: a certificate of a day.
fn certificate_of(fleet: &Fleet, host: &Member, hours: i64) -> Vec<u8> {
    let read = |name| std::fs::read_to_string(fleet.dir.path().join("data").join(name)).unwrap();
    let key = KeyPair::from_pem(&read("ca-key.pem")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), key).unwrap();
    let (_, given) = x509_parser::parse_x509_certificate(&host.answer.certificate_der).unwrap();
    let uri = fleet::member_uri("prod", Role::Host, &host.answer.name);
    let begin = time::OffsetDateTime::from_unix_timestamp(now_secs().cast_signed() - hours * HOUR);
    let mut params = CertificateParams::default();
    params.not_before = begin.unwrap();
    params.not_after = begin.unwrap() + std::time::Duration::from_secs(24 * 3_600);
    params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
    params.serial_number = Some(SerialNumber::from_slice(given.raw_serial()));
    let signed = params.signed_by(&host.joiner.tls, &issuer);
    signed.unwrap().der().to_vec()
}

async fn session(fleet: &Fleet, host: &Member, certificate_der: &[u8]) -> Result<(), Status> {
    let channel = fleet.channel(certificate_der, &host.joiner).await;
    let opened = AgentClient::new(channel)
        .session(SessionRequest::default())
        .await;
    opened.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_time_is_refused_in_words_that_name_the_controllers_clock() {
    let fleet = Fleet::start().await;
    let host = fleet.join(Role::Host, "web-1").await;
    // The authority must be older than what it signed.
    assert!(
        session(&fleet, &host, &host.answer.certificate_der)
            .await
            .is_ok()
    );

    let future = certificate_of(&fleet, &host, -2);
    let refused = session(&fleet, &host, &future).await.unwrap_err();

    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(
        refused.message().contains("the controller's clock says"),
        "{refused:?}"
    );
    let time = refused.metadata().get(CONTROLLER_TIME).unwrap();
    let secs: u64 = time.to_str().unwrap().parse().unwrap();
    assert!(now_secs().abs_diff(secs) < 60);
}

/// As after `init` with a clock that was two days ahead.
fn make_the_controllers_certificate_begin_in_two_days(fleet: &Fleet) {
    let data = fleet.dir.path().join("data");
    let read = |name: &str| std::fs::read_to_string(data.join(name)).unwrap();
    let key = KeyPair::from_pem(&read("ca-key.pem")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), key).unwrap();
    let own = KeyPair::from_pem(&read("server-key.pem")).unwrap();
    let begin = time::OffsetDateTime::from_unix_timestamp(now_secs().cast_signed() + 48 * HOUR);
    let mut params = CertificateParams::default();
    params.not_before = begin.unwrap();
    params.not_after = begin.unwrap() + std::time::Duration::from_secs(24 * 3_600);
    params.subject_alt_names = vec![SanType::DnsName(fleet::SERVER_NAME.try_into().unwrap())];
    let signed = params.signed_by(&own, &issuer).unwrap();
    std::fs::write(data.join("server.pem"), signed.pem() + &read("ca.pem")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_set_back_behind_its_own_certificate_serves_with_one_of_now() {
    let fleet = Fleet::start().await;
    let host = fleet.join(Role::Host, "web-1").await;
    make_the_controllers_certificate_begin_in_two_days(&fleet);

    let fleet = fleet.restart().await;

    session(&fleet, &host, &host.answer.certificate_der)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_signed_at_another_time_is_refused_with_the_controllers_time() {
    let fleet = Fleet::start().await;
    let host = fleet.join(Role::Host, "web-1").await;

    let refused = fleet
        .renew(&host, now_secs() - 26 * 3_600)
        .await
        .unwrap_err();

    assert!(
        refused.metadata().get(CONTROLLER_TIME).is_some(),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_clock_goes_off_is_an_event_and_one_when_it_agrees_again() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let acknowledge = async |ahead_secs: u64| {
        let request = AcknowledgeRequest {
            host_time_ms: (now_secs() + ahead_secs) * 1_000,
            ..AcknowledgeRequest::default()
        };
        host.agent().acknowledge(request).await.unwrap();
    };
    for ahead_secs in [0, 26 * 3_600, 26 * 3_600, 0, 0] {
        acknowledge(ahead_secs).await;
    }

    let question = ListEventsRequest {
        kind: EventKind::Clock.into(),
        ..ListEventsRequest::default()
    };
    let events = operator.events(question).await;
    let reasons: Vec<String> = events
        .into_iter()
        .map(|row| row.record.unwrap().event().unwrap().reason)
        .collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].contains("web-1 agrees"), "{reasons:?}");
    assert!(
        reasons[1].contains("ahead of the controller's"),
        "{reasons:?}"
    );
}
