//! The life of a policy, from an operator to the hosts.

use fleet::Role;
use fleet::wire::directive::Directive as Kind;
use fleet::wire::{
    ApplyPolicyRequest, DiffPolicyRequest, DirectoryBody, ListHostsRequest, PolicyHistoryRequest,
    RenderPolicyRequest, RollbackPolicyRequest, ShowPolicyRequest, SyncRequest, WhoAmIRequest,
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tonic::Code;

use crate::support::{Fleet, all, next, policy};

const SSH: &str = "NAME ssh\nSOURCE ANY\nOPEN_PORTS tcp/22\nFW_ACCESS_TIMEOUT 30\n";

#[tokio::test(flavor = "multi_thread")]
async fn of_two_applies_from_one_base_one_is_stored_and_one_is_stale() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;

    let answers = all([SSH, "SOURCE ANY\n"]
        .iter()
        .map(|text| operator.apply(0, text)))
    .await;

    let stored: Vec<_> = answers.iter().flatten().map(|a| a.generation).collect();
    assert_eq!(stored, [1]);
    let stale = answers.into_iter().find_map(Result::err).unwrap();
    assert_eq!(stale.code(), Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_base_is_refused_and_both_generations_are_named() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    operator.apply(0, SSH).await.unwrap();
    operator.apply(1, &SSH.replace("30", "60")).await.unwrap();

    let stale = operator.apply(1, "SOURCE ANY\n").await.unwrap_err();

    assert_eq!(stale.code(), Code::FailedPrecondition);
    assert!(
        stale.message().contains("generation 2, not at 1"),
        "{stale:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_policy_names_all_its_mistakes_and_stores_nothing() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;

    let text = "SOURCE nowhere\nOPEN_PORTS tcp/99999\nNO_SUCH_WORD 1\n";
    let refused = operator.apply(0, text).await.unwrap_err();

    assert_eq!(refused.code(), Code::InvalidArgument);
    for place in ["access.conf:1:", "access.conf:2:", "access.conf:3:"] {
        assert!(refused.message().contains(place), "{}", refused.message());
    }
    let history = operator
        .operator()
        .policy_history(PolicyHistoryRequest { limit: 0 })
        .await;
    assert!(history.unwrap().into_inner().generations.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_reaches_the_host_it_touches_and_no_other() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    fleet.join(Role::User, "mbr").await;
    let one = fleet.join(Role::Host, "web-1").await;
    let two = fleet.join(Role::Host, "web-2").await;
    operator.apply(0, SSH).await.unwrap();
    let (mut first, mut second) = (one.session().await, two.session().await);
    let before = policy(&mut first).await;
    policy(&mut second).await;

    let edit = format!("{SSH}\nNAME web\nHOSTS name=web-1\nSOURCE ANY\nOPEN_PORTS tcp/443\n");
    let applied = operator.apply(1, &edit).await.unwrap();
    let after = policy(&mut first).await;
    let applied_to_all = operator.apply(2, &SSH.replace("30", "60")).await.unwrap();
    let next_of_second = policy(&mut second).await;

    assert_eq!(applied.changed_hosts, ["web-1"]);
    assert_eq!((before.generation, after.generation), (1, 2));
    assert_eq!(after.digest, Sha256::digest(&after.text).to_vec());
    assert_eq!(applied_to_all.changed_hosts, ["web-1", "web-2"]);
    assert_eq!(next_of_second.generation, 3, "the second host never saw 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_joins_appears_on_the_hosts_that_let_her_in() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let text = format!("{SSH}REQUIRE_USERNAME mbr\n");
    operator.apply(0, &text).await.unwrap();
    let mut session = host.session().await;
    let before = policy(&mut session).await;

    fleet.join(Role::User, "mbr").await;
    let after = policy(&mut session).await;

    assert!(!before.text.contains("mbr"));
    assert!(after.text.contains("mbr"));
    assert_eq!(after.generation, 1, "nobody edited the policy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_has_the_policy_and_said_so_is_not_sent_it_again() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    fleet.join(Role::User, "mbr").await;
    operator.apply(0, SSH).await.unwrap();
    let mut session = host.session().await;
    let snapshot = policy(&mut session).await;
    host.acknowledge(&snapshot, &[]).await;
    drop(session);

    let again = host.session_with(snapshot.generation, snapshot.digest.clone());
    let mut again = again.await.unwrap();
    operator.apply(1, &SSH.replace("30", "60")).await.unwrap();

    assert_eq!(policy(&mut again).await.generation, 2);
    assert!(snapshot.not_after_secs > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_and_rejections_are_shown_to_operators() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    fleet.join(Role::User, "mbr").await;
    operator.apply(0, SSH).await.unwrap();
    let mut session = host.session().await;
    let snapshot = policy(&mut session).await;
    let shown = async || {
        let hosts = operator.operator().list_hosts(ListHostsRequest {}).await;
        hosts.unwrap().into_inner().hosts.remove(0)
    };

    let before = shown().await;
    host.acknowledge(&snapshot, &[]).await;
    let applied = shown().await;
    host.acknowledge(&snapshot, &["no set of that size"]).await;
    let rejected = shown().await;

    assert!(before.connected && !before.in_sync);
    assert!(applied.in_sync);
    assert_eq!(
        (applied.target_generation, applied.applied_generation),
        (1, 1)
    );
    assert_eq!(applied.stanzas, 1);
    assert!(!rejected.in_sync);
    assert_eq!(rejected.rejected, ["no set of that size"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_a_new_generation_with_the_old_text() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    operator.apply(0, SSH).await.unwrap();
    operator.apply(1, "SOURCE ANY\n").await.unwrap();

    let request = RollbackPolicyRequest {
        generation: 1,
        message: "too wide".to_owned(),
        ..RollbackPolicyRequest::default()
    };
    let rolled_back = operator.operator().rollback_policy(request).await.unwrap();

    assert_eq!(rolled_back.into_inner().generation, 3);
    let mut client = operator.operator();
    let current = client
        .show_policy(ShowPolicyRequest { generation: 0 })
        .await;
    let current = current.unwrap().into_inner();
    assert_eq!(current.text, SSH);
    let history = client
        .policy_history(PolicyHistoryRequest { limit: 0 })
        .await;
    let history = history.unwrap().into_inner().generations;
    let shown: Vec<_> = history
        .iter()
        .map(|g| (g.generation, g.rollback_of))
        .collect();
    assert_eq!(shown, [(3, 1), (2, 0), (1, 0)]);
    assert_eq!(history[0].author, "root");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diff_names_the_hosts_and_stanzas_that_would_change() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    fleet.join(Role::Host, "web-1").await;
    fleet.join(Role::Host, "web-2").await;
    fleet.join(Role::User, "mbr").await;
    operator.apply(0, SSH).await.unwrap();

    let request = DiffPolicyRequest {
        text: format!("{SSH}\nNAME web\nHOSTS name=web-1\nSOURCE ANY\n"),
        file: "new.conf".to_owned(),
    };
    let diff = operator.operator().diff_policy(request).await.unwrap();

    let diff = diff.into_inner();
    assert_eq!(diff.base_generation, 1);
    assert_eq!(diff.hosts.len(), 1);
    assert_eq!(diff.hosts[0].host, "web-1");
    assert_eq!(diff.hosts[0].added, ["web"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn static_keys_are_never_shown_nor_found_in_the_database() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let text = "NAME old\nSOURCE ANY\nKEY correcthorsebattery\nHMAC_KEY staplestaplestaple\n";
    operator.apply(0, text).await.unwrap();
    let mut session = host.session().await;
    let sent = policy(&mut session).await;

    let mut client = operator.operator();
    let shown = client
        .show_policy(ShowPolicyRequest { generation: 1 })
        .await;
    let rendered = client
        .render_policy(RenderPolicyRequest {
            host: "web-1".to_owned(),
        })
        .await;

    let mut seen = vec![
        shown.unwrap().into_inner().text.into_bytes(),
        rendered.unwrap().into_inner().text.into_bytes(),
    ];
    fleet.running.stop().await;
    for entry in std::fs::read_dir(fleet.dir.path().join("data")).unwrap() {
        seen.push(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let keys = [
        "correcthorsebattery",
        "staplestaplestaple",
        "Y29ycmVjdGhvcnNl",
    ];
    for key in keys {
        for bytes in &seen {
            let found = bytes
                .windows(key.len())
                .any(|window| window == key.as_bytes());
            assert!(!found, "{key} in {}", String::from_utf8_lossy(bytes));
        }
    }
    let reads_back = ::policy::parse_as(
        ::policy::Dialect::Compiled,
        "web-1",
        &sent.text,
        &::policy::NoIncludes,
    );
    assert_eq!(reads_back.unwrap().stanzas[0].static_keys().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_gets_a_directory_that_openssl_finds_signed_by_the_fleet() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let user = fleet.join(Role::User, "mbr").await;
    let other = fleet.join(Role::User, "alice").await;
    let text = format!(
        "{SSH}REQUIRE_USERNAME mbr\n\nNAME web\nSOURCE ANY\nHOSTS ANY\nREQUIRE_USERNAME mbr\nOPEN_PORTS tcp/443\nSPA_SERVER_PORT 4001\n"
    );
    operator.apply(0, &text).await.unwrap();

    let signed = user.directory().sync(SyncRequest {}).await.unwrap();
    let theirs = other.directory().sync(SyncRequest {}).await.unwrap();

    let signed = signed.into_inner();
    let body = DirectoryBody::decode(signed.body.as_slice()).unwrap();
    assert_eq!((body.user.as_str(), body.generation), ("mbr", 1));
    let [entry, web] = body.hosts.as_slice() else {
        panic!("{:?}", body.hosts);
    };
    assert_eq!((web.stanza.as_str(), web.spa_port), ("web", 4001));
    assert_eq!(
        (entry.name.as_str(), entry.stanza.as_str()),
        ("web-1", "ssh")
    );
    assert_eq!(
        (entry.address.as_str(), entry.spa_port),
        ("192.0.2.7", 62201)
    );
    assert_eq!(entry.exchange_key, host.joiner.exchange);
    assert_eq!(entry.ports, ["tcp/22"]);
    let theirs = DirectoryBody::decode(theirs.into_inner().body.as_slice()).unwrap();
    assert!(theirs.hosts.is_empty());
    assert!(fleet.openssl_verifies(&signed.body, &signed.signature));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_told_from_which_address_she_comes_and_nobody_else_is() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let user = fleet.join(Role::User, "mbr").await;

    let told = user.directory().who_am_i(WhoAmIRequest {}).await.unwrap();
    let refused = operator.directory().who_am_i(WhoAmIRequest {}).await;

    let told = told.into_inner();
    assert_eq!(
        (told.address.as_str(), told.name.as_str()),
        ("127.0.0.1", "mbr")
    );
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_session_of_a_host_ends_the_first() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    operator.apply(0, SSH).await.unwrap();
    let mut first = host.session().await;
    policy(&mut first).await;

    let mut second = host.session().await;

    assert!(matches!(next(&mut second).await, Kind::Policy(_)));
    let ended = crate::support::patiently(first.message()).await;
    assert!(matches!(ended, Ok(None) | Err(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn un_protecting_is_refused_on_the_wire_and_named_until_it_is_said_to_be_meant() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    fleet.join(Role::Host, "web-1").await;
    let hidden = operator.apply(0, "PROTECT tcp/22\n").await.unwrap();
    let meant = ApplyPolicyRequest {
        base_generation: 1,
        message: "public again".to_owned(),
        allow_public: true,
        ..ApplyPolicyRequest::default()
    };

    let refused = operator.apply(1, "").await.unwrap_err();
    let mut rpc = operator.operator();
    let diff = rpc.diff_policy(DiffPolicyRequest::default()).await;
    let diff = diff.unwrap().into_inner();
    let applied = operator.operator().apply_policy(meant).await.unwrap();

    assert_eq!(hidden.exposure[0].becomes_hidden, ["tcp/22"]);
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(refused.message().contains("tcp/22 on web-1"), "{refused:?}");
    assert_eq!(diff.exposure[0].becomes_public, ["tcp/22"]);
    assert_eq!(applied.into_inner().exposure, diff.exposure);
}
