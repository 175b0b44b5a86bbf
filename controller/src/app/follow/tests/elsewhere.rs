//! Two controllers that run over one PostgreSQL server, and who has joined at one of them dials the other.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleet::wire::ListHostsRequest;
use fleet::wire::operator_client::OperatorClient;
use rcgen::{CertificateParams, KeyPair};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::*;
use crate::app::fixture::{CALL, Keys, root};
use crate::app::tokens::NewToken;
use crate::store::fixture::Server;

/// An operator with certificates made by the fleet's authority, who calls `at`.
async fn call(at: SocketAddr, certified: &enroll::Certified, key: &KeyPair) -> Result<(), String> {
    let pem = |der: &[u8]| {
        let text = STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(pem(&certified.ca_der)))
        .identity(Identity::from_pem(
            pem(&certified.certificate_der),
            key.serialize_pem(),
        ))
        .domain_name(fleet::SERVER_NAME);
    let endpoint = Endpoint::from_shared(format!("https://{at}"));
    let endpoint = endpoint.unwrap().tls_config(tls).unwrap();
    let channel = endpoint.connect().await.map_err(|it| format!("{it:?}"))?;
    let mut operator = OperatorClient::new(channel);
    let listed = operator.list_hosts(ListHostsRequest {}).await;
    listed.map(drop).map_err(|it| format!("{it:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_joined_at_one_controller_is_served_at_the_other_at_once() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = ["a", "b"].map(|name| dir.path().join(name));
    let named = ("localhost:7443", "prod");
    crate::init_over(&first, named, Some(server.settings()))
        .await
        .unwrap();
    let listen = || Some("127.0.0.1:0".parse().unwrap());
    let a = crate::Running::start(&first, listen()).await.unwrap();
    let made = crate::data_dir::DataDir::open(&first).unwrap();
    let seal = made.seal_key_bytes().unwrap();
    crate::init_join(&second, "localhost:7444", server.settings(), &seal)
        .await
        .unwrap();
    let b = crate::Running::start(&second, listen()).await.unwrap();

    for number in 0..8 {
        let new = NewToken {
            role: Role::Operator,
            name: format!("operator-{number}"),
            labels: [].into(),
            scope: [].into(),
            ttl: Duration::ZERO,
            key_name: String::new(),
            replaces: false,
        };
        let context = a.context();
        let issued = tokens::create(&context, &root(), new, clock::now()).await;
        let tls = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&tls);
        let joiner = enroll::Joiner {
            csr_der: request.unwrap().der().to_vec(),
            ..Keys::new().joiner(&issued.unwrap().token, "")
        };
        let joined = enroll::redeem(&context, CALL, joiner, clock::now()).await;
        let certified = joined.unwrap().certified;
        assert_eq!(
            call(b.address(), &certified, &tls).await,
            Ok(()),
            "{number}"
        );
    }
    b.stop().await;
    a.stop().await;
}
