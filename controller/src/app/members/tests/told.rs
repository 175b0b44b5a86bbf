//! What those are told whom a change concerns, and what an operator is told of them.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_removed_host_has_acknowledged_only_what_it_said_itself() {
    let fleet = Fleet::new().await;
    let told = |acted: &Acted| {
        let [host] = acted.hosts.as_slice() else {
            panic!("{acted:?}");
        };
        (host.acknowledged, host.connected)
    };
    let remove = |name: &str| fleet.act(Act::Remove, Whom::host(name.to_owned()));
    for name in ["away", "mute", "there"] {
        fleet.join(Role::Host, name).await;
    }
    let _mute = fleet.context.sessions.subscribe("mute", || None);
    let there = fleet.context.roster.find(Role::Host, "there").unwrap();
    let mut session = fleet.context.sessions.subscribe("there", || None);

    let mut away = remove("away").await.unwrap();
    let mute = remove("mute").await.unwrap();
    let (heard, ()) = tokio::join!(remove("there"), async {
        session.locked.changed().await.unwrap();
        hosts::note_locked(&fleet.context, &caller(&there));
    });

    assert_eq!(told(&away), (false, false));
    assert!(away.warnings.join("\n").contains("host away is away"));
    assert_eq!(told(&mute), (false, true));
    assert!(told(&heard.unwrap()).0);
    assert!(away.waiting.next(&fleet.context).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_replaced_is_told_to_close_what_is_open_before_its_session_ends() {
    let fleet = Fleet::new().await;
    let old = fleet.join(Role::Host, "web-1").await;
    let mut session = fleet.context.sessions.subscribe("web-1", || None);
    let new = NewToken {
        role: Role::Host,
        name: "web-1".to_owned(),
        labels: [].into(),
        scope: [].into(),
        ttl: Duration::ZERO,
        key_name: String::new(),
        replaces: true,
    };
    let issued = tokens::create(&fleet.context, &root(), new, NOW).await;
    let token = issued.unwrap().token;

    let (new, was_member) = tokio::join!(redeem(&fleet, &token, 7), async {
        session.locked.changed().await.unwrap();
        assert!(!session.ended.is_cancelled());
        let is_member = fleet.context.roster.find(Role::Host, "web-1").unwrap();
        hosts::note_locked(&fleet.context, &caller(&is_member));
        is_member.id
    });

    assert_eq!(was_member, old.id, "who hears it may still say so");
    assert_ne!(new.unwrap().id, old.id);
    assert!(session.ended.is_cancelled());
    assert!(session.locked.borrow().is_some());
}

#[tokio::test]
async fn an_operator_can_replace_herself() {
    let fleet = Fleet::new().await;
    let mbr = fleet.join(Role::Operator, "mbr").await;
    let new = |role, name: &str, replaces| NewToken {
        role,
        name: name.to_owned(),
        labels: [].into(),
        scope: [].into(),
        ttl: Duration::ZERO,
        key_name: String::new(),
        replaces,
    };
    let by = caller(&mbr);
    let own = tokens::create(&fleet.context, &by, new(Role::Operator, "mbr", true), NOW).await;
    let other = tokens::create(&fleet.context, &by, new(Role::User, "eve", false), NOW).await;

    let replaced = redeem(&fleet, &own.unwrap().token, 1).await.unwrap();

    assert_ne!(replaced.id, mbr.id);
    let refused = redeem(&fleet, &other.unwrap().token, 2).await.unwrap_err();
    assert!(
        matches!(refused, Error::Token(TokenRefused::Revoked)),
        "{refused}"
    );
}

#[tokio::test]
async fn a_host_is_never_told_of_a_lock_without_a_reason() {
    let fleet = Fleet::new().await;
    fleet.join(Role::Host, "web-1").await;
    let session = fleet.context.sessions.subscribe("web-1", || None);

    let whom = (Whom::host("web-1".to_owned()), String::new());
    let acted = act(&fleet.context, &root(), Act::Lock, whom, NOW).await;

    assert!(!acted.unwrap().hosts[0].acknowledged);
    let told = session.locked.borrow().clone().unwrap();
    assert!(!told.is_empty());
}

#[tokio::test]
async fn each_host_that_acknowledges_is_told_of_once() {
    let fleet = Fleet::new().await;
    let web = Arc::new(fleet.join(Role::Host, "web-1").await);
    fleet.apply(0, "PROTECT tcp/22\n").await.unwrap();
    let _session = fleet.context.sessions.subscribe("web-1", || None);
    acknowledge(&fleet, &web).await;
    let acks = fleet.context.sessions.acknowledgements();
    let mut waiting = Waiting::new(vec!["web-1".to_owned()], acks);

    let first = waiting.first(&fleet.context);

    assert!(first[0].acknowledged);
    assert!(waiting.next(&fleet.context).await.is_none());
}

#[tokio::test]
async fn a_locked_user_is_shown_as_one_who_may_open_nothing() {
    let fleet = Fleet::new().await;
    fleet.join(Role::Host, "web-1").await;
    fleet.join(Role::User, "alice").await;
    fleet.apply(0, POLICY).await.unwrap();

    fleet.act(Act::Lock, user("alice", None)).await.unwrap();

    let (_, stanzas) = show(&fleet.context, &root(), (Role::User, "alice")).unwrap();
    assert!(stanzas.is_empty(), "{stanzas:?}");
}

#[tokio::test]
async fn a_reason_is_one_line_so_that_it_forges_no_other() {
    let fleet = Fleet::new().await;
    fleet.join(Role::User, "alice").await;

    for reason in ["left\njoined yesterday", "left\rjoined", "\u{1b}[2J"] {
        let whom = (user("alice", None), reason.to_owned());
        let refused = act(&fleet.context, &root(), Act::Lock, whom, NOW).await;
        let refused = refused.unwrap_err();
        assert!(
            matches!(
                refused,
                Error::Invalid {
                    field: "reason",
                    ..
                }
            ),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_user_who_is_locked_after_a_restore_is_said_to_be_open_at_hosts_that_do_not_hear_of_it() {
    let fleet = Fleet::new().await;
    fleet.join(Role::User, "alice").await;
    fleet.join(Role::User, "bob").await;
    fleet.apply(0, POLICY).await.unwrap();
    let says = |acted: &Acted| acted.warnings.join("\n").contains("--after-restore");

    let before = fleet.act(Act::Lock, user("bob", None)).await.unwrap();
    fleet
        .context
        .fleet
        .send_modify(|fleet| fleet.set_back = Some("it was restored".to_owned()));
    let after = fleet.act(Act::Lock, user("alice", None)).await.unwrap();

    assert!(!says(&before) && says(&after), "{after:?}");
}
