//! Who may invite whom, and for which hosts.

use super::*;
use crate::app::fixture::caller;
use crate::app::members::Act;
use crate::store::model::{Scope, Whom};

fn pairs(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(label, value): &(&str, &str)| ((*label).to_owned(), (*value).to_owned());
    labels.iter().map(owned).collect()
}

/// Somebody of this role whose business is `env=stage`.
async fn of_stage(fleet: &Fleet, role: Role) -> Caller {
    let scoped = NewToken {
        scope: pairs(&[("env", "stage")]),
        ..new(role, "mbr")
    };
    let issued = create(&fleet.context, &root(), scoped, NOW).await.unwrap();
    let joiner = Keys::new().joiner(&issued.token, "");
    let joined = enroll::redeem(&fleet.context, CALL, joiner, NOW).await;
    let member = joined.unwrap().member;
    assert_eq!(member.scope, Scope(pairs(&[("env", "stage")])));
    caller(&member)
}

#[tokio::test]
async fn an_operator_invites_hosts_and_users_and_nobody_above_them() {
    let fleet = Fleet::new().await;
    let operator = caller(&fleet.join(Role::Operator, "mbr").await);

    for role in Role::ALL {
        let made = create(&fleet.context, &operator, new(role, "n"), NOW).await;
        match role {
            Role::Host | Role::User => drop(made.unwrap()),
            Role::Auditor | Role::Helpdesk | Role::Operator | Role::Owner | Role::Validator => {
                let is_said = matches!(made, Err(Error::NotYours { .. }));
                assert!(is_said, "{role} {made:?}");
            }
        }
    }
    let of_owner = create(&fleet.context, &root(), new(Role::Auditor, "eve"), NOW).await;
    let revoked = revoke(&fleet.context, &operator, of_owner.unwrap().id, NOW).await;
    assert!(
        matches!(revoked, Err(Error::NotYours { .. })),
        "{revoked:?}"
    );
}

#[tokio::test]
async fn a_helpdesk_invites_a_user_again_who_is_there_and_not_locked_and_nobody_else() {
    let fleet = Fleet::new().await;
    let helpdesk = caller(&fleet.join(Role::Helpdesk, "desk").await);
    fleet.join(Role::User, "alice").await;
    fleet.join(Role::Host, "web-1").await;
    let ask = async |role, name: &str, replaces| {
        let new = NewToken {
            replaces,
            ..new(role, name)
        };
        create(&fleet.context, &helpdesk, new, NOW).await
    };

    ask(Role::User, "alice", true).await.unwrap();
    let slip = ask(Role::User, "alcie", true).await.unwrap_err();
    assert!(slip.to_string().contains("did you mean alice?"), "{slip}");
    for (role, name, replaces) in [
        (Role::User, "alice", false),
        (Role::User, "bob", false),
        (Role::User, "", true),
        (Role::Host, "web-1", true),
        (Role::Owner, "root", true),
    ] {
        ask(role, name, replaces).await.unwrap_err();
    }
    let key = NewToken {
        key_name: "phone".to_owned(),
        replaces: true,
        ..new(Role::User, "alice")
    };
    let adds = create(&fleet.context, &helpdesk, key, NOW).await;
    assert!(matches!(adds, Err(Error::NotFound { .. })), "{adds:?}");
    let alice = Whom {
        role: Role::User,
        ..Whom::host("alice".to_owned())
    };
    fleet.act(Act::Lock, alice).await.unwrap();
    let locked = ask(Role::User, "alice", true).await.unwrap_err();
    assert!(locked.to_string().contains("cannot undo that"), "{locked}");
}

#[tokio::test]
async fn whoever_has_a_scope_invites_hosts_of_it_and_users_who_may_open_nothing_else() {
    let fleet = Fleet::new().await;
    let operator = of_stage(&fleet, Role::Operator).await;
    fleet.join_labelled("web-1", "prod").await;
    fleet.join_labelled("web-2", "stage").await;
    let policy = "NAME stage\nHOSTS env=stage\nSOURCE ANY\nREQUIRE_USERNAME alice\n\n\
                  NAME prod\nHOSTS env=prod\nSOURCE ANY\nREQUIRE_USERNAME bob\n";
    fleet.apply(0, policy).await.unwrap();
    let ask = async |role, name: &str, labels: &[(&str, &str)], replaces| {
        let new = NewToken {
            labels: pairs(labels),
            replaces,
            ..new(role, name)
        };
        create(&fleet.context, &operator, new, NOW).await
    };

    let web = [("env", "stage"), ("role", "web")];
    ask(Role::Host, "web-3", &web, false).await.unwrap();
    ask(Role::Host, "web-2", &[], true).await.unwrap();
    ask(Role::User, "alice", &[], false).await.unwrap();
    for (role, name, labels, replaces) in [
        (Role::Host, "web-3", &[][..], false),
        (Role::Host, "web-3", &[("env", "prod")], false),
        (Role::Host, "web-1", &[], true),
        (Role::Host, "web-1", &[("env", "stage")], true),
        (Role::Host, "web-2", &[("env", "prod")], true),
        (Role::User, "bob", &[], false),
        (Role::User, "", &[], false),
    ] {
        let refused = ask(role, name, labels, replaces).await;
        let is_said = matches!(&refused, Err(Error::OutOfScope { .. }));
        assert!(is_said, "{role} {name} {labels:?} {refused:?}");
    }
}

/// The name is free when the token is made, and another host's when it is redeemed.
#[tokio::test]
async fn a_token_of_somebody_with_a_scope_never_replaces_a_host_that_is_none_of_hers() {
    let fleet = Fleet::new().await;
    let operator = of_stage(&fleet, Role::Operator).await;
    let ahead = NewToken {
        labels: pairs(&[("env", "stage")]),
        replaces: true,
        ..new(Role::Host, "web-1")
    };
    let ahead = create(&fleet.context, &operator, ahead, NOW).await;
    fleet.join_labelled("web-1", "prod").await;

    let joiner = Keys::new().joiner(&ahead.unwrap().token, "");
    let refused = enroll::redeem(&fleet.context, CALL, joiner, NOW).await;

    let refused = refused.unwrap_err().to_string();
    let reason = "none of those that mbr may replace";
    assert!(refused.contains(reason), "{refused}");
}

/// What policy gives the names, when the tokens are made and when they are redeemed, differs.
#[tokio::test]
async fn scope_and_role_of_whoever_made_a_token_are_judged_again_when_it_is_redeemed() {
    let fleet = Fleet::new().await;
    let bob = fleet.join(Role::User, "bob").await;
    fleet.join_labelled("web-1", "prod").await;
    let policy = "NAME stage\nHOSTS env=stage\nSOURCE ANY\nREQUIRE_USERNAME bob\n";
    fleet.apply(0, policy).await.unwrap();
    let operator = of_stage(&fleet, Role::Operator).await;
    let ask = async |name: &str, key_name: &str, replaces| {
        let new = NewToken {
            key_name: key_name.to_owned(),
            replaces,
            ..new(Role::User, name)
        };
        let issued = create(&fleet.context, &operator, new, NOW).await;
        issued.unwrap().token
    };
    let whole = ask("bob", "", true).await;
    let default = ask("bob", "default", true).await;
    let phone = ask("bob", "phone", false).await;
    let nobody = ask("carl", "", false).await;
    let harmless = ask("dave", "", false).await;
    let policy = "NAME prod\nHOSTS env=prod\nSOURCE ANY\nREQUIRE_USERNAME bob, carl\n";
    fleet.apply(1, policy).await.unwrap();
    let redeem = async |token: &Token| {
        let joiner = Keys::new().joiner(token, "");
        enroll::redeem(&fleet.context, CALL, joiner, NOW).await
    };

    for token in [&whole, &default, &phone, &nobody] {
        let refused = redeem(token).await.unwrap_err().to_string();
        let reason = "none of those whom mbr may invite so";
        assert!(refused.contains(reason), "{refused}");
    }

    redeem(&harmless).await.unwrap();
    let now = fleet.context.roster.find(Role::User, "bob").unwrap();
    assert_eq!((now.id, now.keys.len()), (bob.id, 1));
    assert!(fleet.context.roster.find(Role::User, "carl").is_none());
}

/// As when a helpdesk made two because the first went to a wrong address.
#[tokio::test]
async fn an_invitation_to_replace_ends_when_its_target_is_replaced_locked_or_removed_otherwise() {
    let fleet = Fleet::new().await;
    let ask = async |name: &str, key_name: &str| {
        let new = NewToken {
            key_name: key_name.to_owned(),
            replaces: true,
            ..new(Role::User, name)
        };
        let issued = create(&fleet.context, &root(), new, NOW).await;
        issued.unwrap().token
    };
    let redeem = async |token: &Token| {
        let joiner = Keys::new().joiner(token, "");
        enroll::redeem(&fleet.context, CALL, joiner, NOW).await
    };
    // Nobody there, somebody there; a key that is new, and one that is not.
    for (name, key_name) in [("bob", ""), ("bob", ""), ("bob", "phone"), ("bob", "phone")] {
        let (mislaid, used) = (ask(name, key_name).await, ask(name, key_name).await);
        redeem(&used).await.unwrap();
        let refused = redeem(&mislaid).await.unwrap_err();
        let refused = program::one_line(&refused).to_string();
        assert!(refused.contains("it was revoked"), "{key_name} {refused}");
    }
    let (mislaid, used) = (ask("bob", "phone").await, ask("bob", "").await);
    redeem(&used).await.unwrap();
    redeem(&mislaid).await.unwrap_err();
    for act in [Act::Lock, Act::Remove] {
        let mislaid = ask("bob", "").await;
        let bob = Whom {
            role: Role::User,
            ..Whom::host("bob".to_owned())
        };
        fleet.act(act, bob).await.unwrap();
        redeem(&mislaid).await.unwrap_err();
    }
    let recorded = fleet.recorded().await.join("\n");
    assert!(recorded.contains("revoked with user bob"), "{recorded}");
}

#[tokio::test]
async fn a_scope_that_no_host_has_and_a_user_whom_nobody_knows_are_said_when_the_token_is_made() {
    let fleet = Fleet::new().await;
    fleet.join_labelled("web-1", "stage").await;
    let policy = "NAME ssh\nHOSTS env=stage\nSOURCE ANY\nREQUIRE_USERNAME alice\n";
    fleet.apply(0, policy).await.unwrap();
    let warnings = async |new| {
        let issued = create(&fleet.context, &root(), new, NOW).await;
        issued.unwrap().warnings.join("\n")
    };
    let slip = pairs(&[("env", "satge")]);
    let scope = NewToken {
        scope: slip.clone(),
        ..new(Role::Auditor, "eve")
    };
    let label = NewToken {
        labels: slip,
        ..new(Role::Host, "web-2")
    };

    for (new, reason) in [
        (scope, "joined has env=satge; did you mean env=stage?"),
        (label, "names env=satge; did you mean env=stage?"),
        (new(Role::User, "alcie"), "anything; did you mean alice?"),
        (new(Role::User, ""), "the token names nobody"),
    ] {
        let said = warnings(new).await;
        assert!(said.contains(reason), "{said}");
    }
}
