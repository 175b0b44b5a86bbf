//! Programs of version 1 of the contract, frozen in tests/contract-1, at today's controller: they
//! join, get policy, claim, push and ask as they always did, and nothing of theirs is called damaged.

use std::time::{SystemTime, UNIX_EPOCH};

use contract_1::wire as old;
use contract_1::wire::agent_client::AgentClient;
use contract_1::wire::audit_client::AuditClient;
use contract_1::wire::directory_client::DirectoryClient;
use contract_1::wire::enrollment_client::EnrollmentClient;
use contract_1::wire::operator_client::OperatorClient;
use ed25519_dalek::Signer as _;
use fleet::wire::ListEventsRequest;
use fleet::{Event, EventKind, EventRecord, Role};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::support::{Fleet, Joiner, patiently};

const EPOCH: &str = "00112233445566778899aabbccddeeff";
const SSH: &str = "NAME ssh\nSOURCE ANY\nOPEN_PORTS tcp/22\nFW_ACCESS_TIMEOUT 30\n";

/// A journal as agents of version 1 chained and sent it.
fn journal(events: u64) -> Vec<old::Event> {
    let mut chain = [0; 32];
    let mut journal = Vec::new();
    for seq in 1..=events {
        let kind = contract_1::EventKind::GrantOpened;
        let mut event = contract_1::Event::new(kind, 1_000_000 + seq * 1_000);
        event.seq = seq;
        event.user = "alice".to_owned();
        event.source = format!("192.0.2.{seq}");
        event.opened.clone_from(&event.source);
        event.ports = vec!["tcp/22".to_owned()];
        event.replay_digest = format!("{seq:064x}");
        chain = event.chain(&chain);
        journal.push(event.into_wire(chain));
    }
    journal
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_version_1_joins_enforces_claims_and_is_heard() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let token = fleet.token(Role::Host, "web-1", &[]).await;
    let joiner = Joiner::new();
    let redeem = old::RedeemRequest {
        token_secret: token.secret.to_vec(),
        csr_der: joiner.csr(),
        identity_key: joiner.identity.verifying_key().to_bytes().to_vec(),
        exchange_key: joiner.exchange.to_vec(),
        requested_name: String::new(),
        address: "192.0.2.7".to_owned(),
        spa_port: 0,
    };
    let stranger = fleet.stranger().await;
    let joined = EnrollmentClient::new(stranger).redeem(redeem).await;
    let certificate = joined.unwrap().into_inner().certificate_der;
    let mut agent = AgentClient::new(fleet.channel(&certificate, &joiner).await);
    operator.apply(0, SSH).await.unwrap();

    let session = old::SessionRequest {
        generation: 0,
        policy_digest: Vec::new(),
        agent_version: "0.1.0".to_owned(),
    };
    let mut directives = agent.session(session).await.unwrap().into_inner();
    let first = patiently(directives.message()).await.unwrap().unwrap();
    let Some(old::directive::Directive::Policy(policy)) = first.directive else {
        panic!("the first directive is no policy: {first:?}")
    };
    assert_eq!(Sha256::digest(&policy.text).to_vec(), policy.digest);
    let applied = old::AcknowledgeRequest {
        generation: policy.generation,
        policy_digest: policy.digest,
        rejected: Vec::new(),
        drift: String::new(),
    };
    agent.acknowledge(applied).await.unwrap();

    let shared = format!("{SSH}\n{}", crate::claims::STATIC);
    operator.apply(1, &shared).await.unwrap();
    let claim = old::ClaimRequest {
        domain: crate::claims::static_domain().to_vec(),
        digest: vec![2; 32],
        seq: 7,
        forget_after_secs: 4_000_000_000,
    };
    assert!(agent.claim(claim).await.unwrap().into_inner().won);

    let push = old::PushEventsRequest {
        epoch: EPOCH.to_owned(),
        events: journal(3),
    };
    let pushed = agent.push_events(push).await.unwrap().into_inner();
    assert_eq!(pushed.acknowledged_seq, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_version_1_goes_on_under_its_new_name_and_knows_nothing_of_it() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    operator.apply(0, SSH).await.unwrap();
    let mut agent = AgentClient::new(host.channel.clone());
    let push = |events: Vec<old::Event>| old::PushEventsRequest {
        epoch: EPOCH.to_owned(),
        events,
    };
    agent.push_events(push(journal(3))).await.unwrap();

    let rename = fleet::wire::RenameHostRequest {
        name: "web-1".to_owned(),
        new_name: "www-1".to_owned(),
        ..fleet::wire::RenameHostRequest::default()
    };
    operator.operator().rename_host(rename).await.unwrap();

    let session = old::SessionRequest {
        generation: 0,
        policy_digest: Vec::new(),
        agent_version: "0.1.0".to_owned(),
    };
    let mut directives = agent.session(session).await.unwrap().into_inner();
    let first = patiently(directives.message()).await.unwrap().unwrap();
    assert!(matches!(
        first.directive,
        Some(old::directive::Directive::Policy(_))
    ));
    let pushed = agent.push_events(push(journal(5))).await.unwrap();
    assert_eq!(pushed.into_inner().acknowledged_seq, 5);
    // Its renewal says no key, so the signature alone tells who it is.
    fleet
        .renew(&host, crate::support::now_secs())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_version_1_is_shown_as_old_until_it_is_upgraded() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let shown = async || {
        let request = fleet::wire::ListHostsRequest {};
        let listed = operator.operator().list_hosts(request).await.unwrap();
        listed.into_inner().hosts.remove(0)
    };

    assert!(!shown().await.agent_old, "it has said nothing yet");
    // As a program that says nothing of a contract.
    let mut agent = AgentClient::new(host.channel.clone());
    let session = old::SessionRequest {
        generation: 0,
        policy_digest: Vec::new(),
        agent_version: "0.1.0".to_owned(),
    };
    let _old = agent.session(session).await.unwrap();
    let before = shown().await;
    let _new = host.again(&fleet).await.session().await;
    let after = shown().await;

    assert!(before.agent_old);
    let [warning] = before.warnings.as_slice() else {
        panic!("{:?}", before.warnings);
    };
    assert!(
        warning.starts_with("its agent is old (version 0.1.0, contract 1 of 2"),
        "{warning}"
    );
    assert_eq!((after.agent_old, after.warnings), (false, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_version_1_is_found_whole_and_goes_on_in_the_version_of_today() {
    let fleet = Fleet::start().await;
    let auditor = fleet.join(Role::Auditor, "eve").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let old_journal = journal(3);
    let last = old_journal[2].chain.as_slice().try_into().unwrap();
    let push = old::PushEventsRequest {
        epoch: EPOCH.to_owned(),
        events: old_journal,
    };
    let mut agent = AgentClient::new(host.channel.clone());
    agent.push_events(push).await.unwrap();

    // The agent is replaced by one of today.
    let event = Event::new(EventKind::AgentStarted, 1_009_000);
    let push = fleet::wire::PushEventsRequest {
        epoch: EPOCH.to_owned(),
        events: Vec::new(),
        records: vec![EventRecord::after(3, &last, event)],
    };
    let pushed = host.agent().push_events(push).await.unwrap().into_inner();

    assert_eq!(pushed.acknowledged_seq, 4);
    let records = auditor.events(ListEventsRequest::default()).await;
    let flaws: Vec<_> = records.iter().filter(|r| !r.flaw.is_empty()).collect();
    assert_eq!(flaws.len(), 0, "{flaws:?}");
    let kinds = records.iter().map(|r| r.record.as_ref().unwrap().event());
    assert!(
        kinds
            .into_iter()
            .all(|e| e.unwrap().kind() != EventKind::AuditGap)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_of_version_1_reads_what_agents_of_today_write() {
    let fleet = Fleet::start().await;
    let auditor = fleet.join(Role::Auditor, "eve").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let mut event = Event::new(EventKind::GrantOpened, 1_000_000);
    event.user = "alice".to_owned();
    event.grant_id = "0".repeat(32);
    let push = fleet::wire::PushEventsRequest {
        epoch: EPOCH.to_owned(),
        events: Vec::new(),
        records: vec![EventRecord::after(0, &[0; 32], event)],
    };
    host.agent().push_events(push).await.unwrap();

    let question = old::ListEventsRequest {
        user: "alice".to_owned(),
        ..old::ListEventsRequest::default()
    };
    let mut client = AuditClient::new(auditor.channel.clone());
    let mut answer = client.list_events(question).await.unwrap().into_inner();
    let record = patiently(answer.message()).await.unwrap().unwrap();

    let (event, _) = contract_1::Event::from_wire(record.event.unwrap()).unwrap();
    assert_eq!(event.kind, contract_1::EventKind::GrantOpened);
    assert_eq!((event.seq, event.user.as_str()), (1, "alice"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_of_version_1_applies_and_lists() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    fleet.join(Role::Host, "web-1").await;
    let mut client = OperatorClient::new(operator.channel.clone());
    let apply = old::ApplyPolicyRequest {
        text: SSH.to_owned(),
        base_generation: 0,
        message: "because".to_owned(),
        file: "access.conf".to_owned(),
    };

    let applied = client.apply_policy(apply).await.unwrap().into_inner();
    let listed = client.list_hosts(old::ListHostsRequest {}).await;

    assert_eq!(applied.generation, 1);
    assert_eq!(listed.unwrap().into_inner().hosts[0].name, "web-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_version_1_gets_a_directory_that_is_signed_by_the_fleet() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let user = fleet.join(Role::User, "alice").await;
    operator.apply(0, SSH).await.unwrap();

    let mut client = DirectoryClient::new(user.channel.clone());
    let synced = client.sync(old::SyncRequest {}).await.unwrap().into_inner();

    let body = old::DirectoryBody::decode(synced.body.as_slice()).unwrap();
    let said = (body.fleet.as_str(), body.user.as_str(), body.generation);
    assert_eq!(said, ("prod", "alice", 1));
    let expected = old::DirectoryHost {
        name: "web-1".to_owned(),
        address: "192.0.2.7".to_owned(),
        spa_port: 62201,
        exchange_key: host.joiner.exchange.to_vec(),
        ports: vec!["tcp/22".to_owned()],
        stanza: "ssh".to_owned(),
    };
    assert_eq!(body.hosts, [expected]);
    // What it does not know, as further addresses and labels, it skips; it verifies and keeps the
    // bytes as they were signed.
    assert!(fleet.openssl_verifies(&synced.body, &synced.signature));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_version_1_renews_its_certificate_and_goes_on_with_it() {
    let fleet = Fleet::start().await;
    let user = fleet.join(Role::User, "alice").await;
    #[expect(clippy::disallowed_methods, reason = "renewals are signed now")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let signed_at_secs = now.as_secs();
    let role = contract_1::Role::User;
    let csr_der = user.joiner.csr();
    let signed = contract_1::renewal_message(role, "alice", &csr_der, signed_at_secs);
    let renew = old::RenewRequest {
        role: old::Role::from(role).into(),
        name: "alice".to_owned(),
        csr_der,
        signed_at_secs,
        signature: user.joiner.identity.sign(&signed).to_bytes().to_vec(),
    };

    let stranger = fleet.stranger().await;
    let renewed = EnrollmentClient::new(stranger).renew(renew).await;

    let renewed = renewed.unwrap().into_inner();
    assert_eq!(renewed.ca_der, user.answer.ca_der);
    assert_ne!(renewed.certificate_der, user.answer.certificate_der);
    let channel = fleet.channel(&renewed.certificate_der, &user.joiner).await;
    let synced = DirectoryClient::new(channel)
        .sync(old::SyncRequest {})
        .await;
    assert!(synced.is_ok(), "{synced:?}");
}
