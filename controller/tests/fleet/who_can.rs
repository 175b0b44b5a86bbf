//! Who may open what, over the wire.

use fleet::Role;
use fleet::wire::{DiffPolicyRequest, UserIdentity, WhatIfRequest, WhoCanRequest};
use tonic::Code;

use crate::support::Fleet;

const POLICY: &str = "\
%test allow alice web-1 tcp/22 from 10.0.0.7
#line 7 \"conf.d/ssh.conf\"
NAME ssh
SOURCE 10.0.0.0/8
REQUIRE_USERNAME alice
OPEN_PORTS tcp/22
MAX_FW_TIMEOUT 60

#line 3 \"conf.d/old.conf\"
NAME old
SOURCE ANY
OPEN_PORTS tcp/80
KEY a-secret-thing
HMAC_KEY another-secret-thing
FORCE_NAT 10.9.0.5 8080
";

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_names_stanza_file_line_proof_source_and_where_it_leads() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let auditor = fleet.join(Role::Auditor, "ann").await;
    let user = fleet.join(Role::User, "alice").await;
    fleet.join(Role::Host, "web-1").await;
    operator.apply(0, POLICY).await.unwrap();

    let all = auditor.operator().who_can(WhoCanRequest::default()).await;
    let all = all.unwrap().into_inner();
    let ask = WhoCanRequest {
        user: "alice".to_owned(),
        host: "web-1".to_owned(),
        port: "tcp/22".to_owned(),
        source: "192.0.2.1".to_owned(),
        ..WhoCanRequest::default()
    };
    let from_elsewhere = auditor
        .operator()
        .can(ask.clone())
        .await
        .unwrap()
        .into_inner();
    let at_home = WhoCanRequest {
        source: "10.0.0.7".to_owned(),
        ..ask.clone()
    };
    let at_home = auditor.operator().can(at_home).await.unwrap().into_inner();
    let denied = user.operator().can(ask).await.unwrap_err();

    let [old, ssh] = all.access.as_slice() else {
        panic!("{all:?}");
    };
    let (old, ssh) = if old.stanza == "old" {
        (old, ssh)
    } else {
        (ssh, old)
    };
    assert_eq!((ssh.user.as_str(), ssh.host.as_str()), ("alice", "web-1"));
    assert_eq!((ssh.file.as_str(), ssh.line), ("conf.d/ssh.conf", 7));
    assert_eq!(
        (&ssh.ports[..], &ssh.sources[..]),
        (&["tcp/22".to_owned()][..], &["10.0.0.0/8".to_owned()][..])
    );
    assert_eq!(
        (ssh.timeout_secs, ssh.user_identity()),
        (60, UserIdentity::Proven)
    );
    assert_eq!(
        (old.user.as_str(), old.user_identity()),
        ("", UserIdentity::Asserted)
    );
    assert!(!old.key.is_empty());
    assert_eq!(old.forwarded_to, "10.9.0.5:8080");
    assert_eq!((old.file.as_str(), old.line), ("conf.d/old.conf", 3));
    assert!(!format!("{all:?}").contains("secret-thing"));
    assert!(!from_elsewhere.allowed && at_home.allowed);
    assert_eq!(
        from_elsewhere.reasons[0],
        "stanza ssh (conf.d/ssh.conf:7): source 192.0.2.1 is not in SOURCE"
    );
    assert_eq!(denied.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_test_refuses_an_apply_with_its_line_and_a_diff_shows_it() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let validator = fleet.join(Role::Validator, "ci").await;
    fleet.join(Role::Host, "web-1").await;
    operator.apply(0, POLICY).await.unwrap();
    let wrong = POLICY.replace("10.0.0.0/8", "10.1.0.0/16");

    let refused = operator.apply(1, &wrong).await.unwrap_err();
    let ask = |text: &str| DiffPolicyRequest {
        text: text.to_owned(),
        file: "fleet.conf".to_owned(),
    };
    let diff = validator.operator().diff_policy(ask(&wrong)).await;
    let diff = diff.unwrap().into_inner();
    let same = validator.operator().diff_policy(ask(POLICY)).await;

    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused
            .message()
            .contains("access.conf:1: %test allow alice web-1 tcp/22 from 10.0.0.7: "),
        "{refused:?}"
    );
    let [test] = diff.tests.as_slice() else {
        panic!("{diff:?}");
    };
    assert!(!test.passed && !test.not_run && test.line == 1, "{test:?}");
    assert_eq!(
        diff.access[0].changes,
        ["tcp/22 from 10.1.0.0/16, instead of from 10.0.0.0/8"]
    );
    assert!(!diff.unchanged && same.unwrap().into_inner().unchanged);
    let applied = operator.apply(1, POLICY).await.unwrap();
    assert!(applied.unchanged && applied.generation == 1, "{applied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_checks_policy_may_ask_what_a_text_would_have_done() {
    let fleet = Fleet::start().await;
    let validator = fleet.join(Role::Validator, "ci").await;
    let user = fleet.join(Role::User, "alice").await;
    let ask = WhatIfRequest {
        text: POLICY.to_owned(),
        ..WhatIfRequest::default()
    };

    let answer = validator
        .operator()
        .what_if(ask.clone())
        .await
        .unwrap()
        .into_inner();
    let denied = user.operator().what_if(ask).await.unwrap_err();

    assert_eq!((answer.judged, answer.tests.len()), (0, 1));
    assert_eq!(denied.code(), Code::PermissionDenied);
}
