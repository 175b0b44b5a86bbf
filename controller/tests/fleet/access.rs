//! Every RPC there is, called by everybody who may not.

use std::collections::BTreeMap;

use controller::{Permission, Requirement, may, requirement};
use fleet::Role;
use fleet::wire::{self, ListEventsRequest};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::support::Fleet;

/// The path of every RPC of the contract.
fn paths() -> Vec<String> {
    let set = FileDescriptorSet::decode(fleet::DESCRIPTORS).unwrap();
    let mut paths = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let (package, service) = (file.package(), service.name());
                paths.push(format!("/{package}.{service}/{}", method.name()));
            }
        }
    }
    paths
}

/// Calls an RPC with an empty message.
async fn call(channel: &Channel, path: &str) -> Result<(), Status> {
    let mut client = Grpc::new(channel.clone());
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let path: PathAndQuery = path.parse().unwrap();
    let codec: ProstCodec<(), ()> = ProstCodec::default();
    client
        .server_streaming(Request::new(()), path, codec)
        .await
        .map(drop)
}

#[test]
fn every_rpc_of_the_contract_says_who_may_call_it() {
    let paths = paths();

    assert!(paths.len() > 15, "{paths:?}");
    for path in paths {
        assert!(requirement(&path).is_some(), "{path} is not in the table");
        let is_called = controller::hostile::RPCS.contains(&path.as_str());
        assert!(is_called, "{path} is not called with any bytes");
    }
}

#[test]
fn only_enrollment_and_health_are_open_to_strangers() {
    for path in paths() {
        let open = requirement(&path) == Some(Requirement::Nothing);
        assert_eq!(open, path.starts_with("/postern.v1.Enrollment/"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_is_denied_to_every_other_role_and_to_strangers() {
    let fleet = Fleet::start().await;
    let stranger = fleet.stranger().await;
    let mut members = BTreeMap::new();
    for role in Role::ALL {
        members.insert(role, fleet.join(role, "m").await.channel);
    }

    for path in paths() {
        let Some(Requirement::Permission(permission)) = requirement(&path) else {
            continue;
        };
        let refused = call(&stranger, &path).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{path}");
        for role in Role::ALL {
            let answer = call(&members[&role], &path).await;
            let denied = answer.as_ref().is_err_and(|status| {
                status
                    .message()
                    .starts_with(&format!("role {role} may not"))
            });
            assert_eq!(denied, !may(role, permission), "{path} {role}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_auditor_a_helpdesk_or_a_validator_reads_is_an_event() {
    let fleet = Fleet::start().await;
    let owner = fleet.join(Role::Owner, "root").await;
    let reads = |permission| match permission {
        Permission::Audit
        | Permission::CheckPolicy
        | Permission::VerifyAudit
        | Permission::ViewAccess
        | Permission::ViewHosts
        | Permission::ViewMembers
        | Permission::ViewPolicy
        | Permission::ViewSinks => true,
        Permission::ApplyPolicy
        | Permission::ClaimMessages
        | Permission::CreateTokens
        | Permission::ManageHosts
        | Permission::ManageMembers
        | Permission::ServeAsHost
        | Permission::SyncDirectory => false,
    };

    for role in [Role::Auditor, Role::Helpdesk, Role::Validator] {
        let reader = fleet.join(role, "eve").await;
        let mut readable = 0;
        for path in paths() {
            let Some(Requirement::Permission(permission)) = requirement(&path) else {
                continue;
            };
            if may(role, permission) && reads(permission) {
                // Again and again: that is one event.
                for _ in 0..3 {
                    let _empty = call(&reader.channel, &path).await;
                }
                readable += 1;
            }
        }
        let request = ListEventsRequest {
            kind: wire::EventKind::Read.into(),
            user: "eve".to_owned(),
            ..ListEventsRequest::default()
        };
        let events = owner.events(request).await;
        let actor = format!("{role}/eve");
        let events = events
            .into_iter()
            .map(|event| event.record.unwrap().event().unwrap());
        let of_her: Vec<_> = events.filter(|event| event.actor == actor).collect();
        assert_eq!(of_her.len(), readable, "{role}: {of_her:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_in_and_who_reads_the_log_or_a_policy_is_an_event_whatever_her_role() {
    let fleet = Fleet::start().await;
    let owner = fleet.join(Role::Owner, "root").await;
    for path in [
        "/postern.v1.Operator/ShowPolicy",
        "/postern.v1.Operator/RenderPolicy",
        "/postern.v1.Operator/ListHosts",
        "/postern.v1.Audit/ListEvents",
        "/postern.v1.Audit/ReadLog",
    ] {
        let _whatever = call(&owner.channel, path).await;
    }
    let of_kind = async |kind: wire::EventKind| -> Vec<fleet::Event> {
        let request = ListEventsRequest {
            kind: kind.into(),
            ..ListEventsRequest::default()
        };
        let rows = owner.events(request).await.into_iter();
        rows.map(|row| row.record.unwrap().event().unwrap())
            .collect()
    };

    let read = of_kind(wire::EventKind::Read).await;
    let mut read: Vec<&str> = read.iter().map(|event| &*event.reason).collect();
    read.retain(|what| !what.contains("kind="));
    read.sort_unstable();
    assert_eq!(
        read,
        ["audit list", "audit verify", "policy render", "policy show"]
    );
    let signed_in = of_kind(wire::EventKind::SignIn).await;
    let [event] = signed_in.as_slice() else {
        panic!("{signed_in:?}");
    };
    assert_eq!((&*event.actor, &*event.user), ("owner/root", "root"));
    assert_eq!(event.source, "127.0.0.1");
    let enrolled = of_kind(wire::EventKind::Enrolled).await;
    assert_eq!(enrolled[0].source, "127.0.0.1", "and not what she says");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rpc_that_is_not_listed_is_denied_to_everyone() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;

    for path in [
        "/postern.v1.Operator/Everything",
        "/postern.v2.Operator/ListHosts",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ] {
        let refused = call(&operator.channel, path).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_answers_anyone() {
    let fleet = Fleet::start().await;
    let stranger = fleet.stranger().await;

    let mut health = tonic_health::pb::health_client::HealthClient::new(stranger);
    let request = tonic_health::pb::HealthCheckRequest {
        service: String::new(),
    };

    assert!(health.check(request).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_fleets_authority_is_refused() {
    let fleet = Fleet::start().await;
    let other = Fleet::start().await;
    let stranger = other.join(Role::Operator, "root").await;

    let channel = crate::support::try_channel(&fleet, &stranger).await;

    let refused = match channel {
        Err(_) => return,
        Ok(channel) => call(&channel, "/postern.v1.Operator/ListHosts").await,
    };
    assert!(refused.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_is_recorded_whoever_refuses_it() {
    let fleet = Fleet::start().await;
    let owner = fleet.join(Role::Owner, "root").await;
    let auditor = fleet.join(Role::Auditor, "otto").await;
    let operator = fleet.join(Role::Operator, "olga").await;
    let lock = || wire::LockMemberRequest {
        role: wire::Role::Auditor.into(),
        name: "otto".to_owned(),
        ..wire::LockMemberRequest::default()
    };

    // By the table of permissions, and by the use case.
    for member in [&auditor, &operator, &operator] {
        let refused = member.operator().lock_member(lock()).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }

    let question = ListEventsRequest {
        kind: fleet::EventKind::Operator.into(),
        ..ListEventsRequest::default()
    };
    let events = owner.events(question).await;
    let denied: Vec<(String, String)> = events
        .iter()
        .map(|record| record.record.as_ref().unwrap().event().unwrap())
        .filter(|event| event.outcome() == fleet::Outcome::Denied)
        .map(|event| (event.actor, event.reason))
        .collect();
    let denied: Vec<(&str, &str)> = denied
        .iter()
        .map(|(actor, reason)| (actor.as_str(), reason.as_str()))
        .collect();
    assert_eq!(
        denied,
        [
            (
                "operator/olga",
                "refused: lock member: an operator manages hosts and users only: who is auditor is \
                 for an owner to say"
            ),
            (
                "auditor/otto",
                "refused: lock member: role auditor may not lock, unlock or remove members"
            ),
        ]
    );
}
