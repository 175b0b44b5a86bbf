mod permitted;

use super::*;
use crate::app::enroll;
use crate::app::fixture::{CALL, Fleet, Keys, NOW, root};

#[tokio::test]
async fn a_token_names_who_made_it_and_the_call() {
    let fleet = Fleet::new().await;

    fleet.token(Role::Host, "web-1").await;

    let by = ("owner/root".to_owned(), "root".to_owned());
    assert_eq!(fleet.newest_is_by().await, by);
}

#[tokio::test]
async fn a_token_that_no_member_made_is_the_controllers_own() {
    let fleet = Fleet::new().await;
    let new = NewToken {
        role: Role::Operator,
        name: String::new(),
        labels: BTreeMap::new(),
        scope: BTreeMap::new(),
        ttl: Duration::ZERO,
        key_name: String::new(),
        replaces: false,
    };
    let creator = Creator {
        name: "init".to_owned(),
        member: None,
        origin: Origin::controller(CALL.id.to_string()),
    };
    let context = &fleet.context;

    issue(&context.store, &context.endpoint(), new, creator, NOW)
        .await
        .unwrap();

    let by = ("controller".to_owned(), "init".to_owned());
    assert_eq!(fleet.newest_is_by().await, by);
}

fn new(role: Role, name: &str) -> NewToken {
    NewToken {
        role,
        name: name.to_owned(),
        labels: BTreeMap::new(),
        scope: BTreeMap::new(),
        ttl: Duration::ZERO,
        key_name: String::new(),
        replaces: false,
    }
}

#[tokio::test]
async fn a_taken_name_is_said_when_the_token_is_made_unless_it_replaces_or_adds_a_key() {
    let fleet = Fleet::new().await;
    fleet.join(Role::User, "alice").await;
    let create = async |new| create(&fleet.context, &root(), new, NOW).await;
    let key = |key_name: &str| NewToken {
        key_name: key_name.to_owned(),
        ..new(Role::User, "alice")
    };

    let taken = create(new(Role::User, "alice")).await;
    let key_taken = create(key("default")).await;

    assert!(matches!(taken, Err(Error::NameTaken { .. })), "{taken:?}");
    assert!(
        matches!(key_taken, Err(Error::KeyTaken { .. })),
        "{key_taken:?}"
    );
    create(key("phone")).await.unwrap();
    for new in [new(Role::User, "alice"), key("default")] {
        let replacing = NewToken {
            replaces: true,
            ..new
        };
        create(replacing).await.unwrap();
    }
}

#[tokio::test]
async fn a_name_or_a_label_that_no_stanza_knows_is_warned_of_when_the_token_is_made() {
    let fleet = Fleet::new().await;
    let policy = "NAME ssh\nHOSTS role=web\nSOURCE ANY\nREQUIRE_USERNAME alice\n";
    fleet.apply(0, policy).await.unwrap();
    let mut host = new(Role::Host, "web-1");
    host.labels = [("rloe", "web"), ("role", "web")]
        .map(|(label, value)| (label.to_owned(), value.to_owned()))
        .into();
    let warnings = async |new| {
        let issued = create(&fleet.context, &root(), new, NOW).await;
        issued.unwrap().warnings
    };

    assert!(warnings(new(Role::User, "alice")).await.is_empty());
    let slip = warnings(new(Role::User, "alcie")).await;
    assert!(slip[0].contains("permits user alcie anything"), "{slip:?}");
    let label = warnings(host).await;
    assert!(
        label.len() == 1 && label[0].contains("rloe=web"),
        "{label:?}"
    );
}

#[tokio::test]
async fn a_revoked_token_admits_nobody_and_is_listed_as_what_it_is() {
    let fleet = Fleet::new().await;
    let made = async |name: &str| {
        let new = new(Role::User, name);
        create(&fleet.context, &root(), new, NOW).await.unwrap()
    };
    let (one, other) = (made("alice").await, made("bob").await);

    let revoked = revoke(&fleet.context, &root(), one.id[..11].to_owned(), NOW).await;

    assert_eq!(revoked.unwrap().fate(NOW.ms()), TokenFate::Revoked);
    let joiner = Keys::new().joiner(&one.token, "");
    let refused = enroll::redeem(&fleet.context, CALL, joiner, NOW).await;
    assert!(refused.unwrap_err().to_string().contains("token refused"));
    let open = list(&fleet.context, &root(), false, NOW).await.unwrap();
    let ids: Vec<_> = open
        .iter()
        .map(|token| token.invitation.id.as_str())
        .collect();
    assert_eq!(ids, [other.id.as_str()]);
    assert_eq!(
        list(&fleet.context, &root(), true, NOW)
            .await
            .unwrap()
            .len(),
        2
    );
    let again = revoke(&fleet.context, &root(), one.id.clone(), NOW).await;
    assert!(matches!(again, Err(Error::Conflict(_))), "{again:?}");
    let unknown = revoke(&fleet.context, &root(), "ffffffffffff0".to_owned(), NOW).await;
    assert!(
        matches!(unknown, Err(Error::NotFound { .. })),
        "{unknown:?}"
    );
    let recorded = fleet.recorded().await;
    let told = format!("token for user alice ({}) revoked", one.id);
    assert_eq!(recorded.last(), Some(&told));
}

#[tokio::test]
async fn no_hidden_port_becomes_public_by_a_token_with_other_labels() {
    let fleet = Fleet::new().await;
    let labels = |env: &str| BTreeMap::from([("env".to_owned(), env.to_owned())]);
    let host = |env: &str, replaces| NewToken {
        labels: labels(env),
        replaces,
        ..new(Role::Host, "web-1")
    };
    let hides = "NAME ssh\nHOSTS env=prod\nSOURCE ANY\nPROTECT tcp/22\nOPEN_PORTS tcp/22\n";
    let create = async |new| create(&fleet.context, &root(), new, NOW).await;
    let redeem = async |token: &Token| {
        let joiner = Keys::new().joiner(token, "");
        enroll::redeem(&fleet.context, CALL, joiner, NOW).await
    };
    redeem(&create(host("prod", false)).await.unwrap().token)
        .await
        .unwrap();
    let before_the_policy = create(host("dev", true)).await.unwrap().token;
    fleet.apply(0, hides).await.unwrap();

    for refused in [
        create(host("dev", true)).await.map(drop),
        redeem(&before_the_policy).await.map(drop),
    ] {
        let refused = refused.unwrap_err();
        assert!(refused.to_string().contains("tcp/22 on web-1"), "{refused}");
    }
    create(host("prod", true)).await.unwrap();
    create(NewToken {
        labels: BTreeMap::new(),
        scope: BTreeMap::new(),
        ..host("dev", true)
    })
    .await
    .unwrap();
}
