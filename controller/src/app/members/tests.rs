mod told;

use policy::{Dialect, NoIncludes};

use super::*;
use crate::app::fixture::{CALL, Fleet, Keys, NOW, after_secs, caller, root};
use crate::app::tokens::{self, NewToken};
use crate::app::{enroll, hosts};
use crate::error::TokenRefused;
use crate::sessions::session::Directive;
use crate::store::model::{Acknowledgement, Opening};

const POLICY: &str = "\
PROTECT tcp/22\n
NAME ssh\nSOURCE ANY\nREQUIRE_USERNAME alice, bob\nOPEN_PORTS tcp/22\n
NAME db\nHOSTS name=db-1\nSOURCE ANY\nREQUIRE_USERNAME bob\nOPEN_PORTS tcp/5432\n
NAME old\nHOSTS name=db-1\nSOURCE ANY\nREQUIRE_USERNAME alice, carol\nKEY a-secret-thing\nHMAC_KEY another\n";

fn user(name: &str, key: Option<&str>) -> Whom {
    Whom {
        role: Role::User,
        name: name.to_owned(),
        key: key.map(str::to_owned),
    }
}

fn operator(name: &str) -> Whom {
    Whom {
        role: Role::Operator,
        ..user(name, None)
    }
}

/// Adds a key to a user, or replaces her or it; returns the joiner's keys too.
async fn token(fleet: &Fleet, name: &str, key_name: &str, replaces: bool) -> fleet::Token {
    let new = NewToken {
        role: Role::User,
        name: name.to_owned(),
        labels: [].into(),
        scope: [].into(),
        ttl: Duration::ZERO,
        key_name: key_name.to_owned(),
        replaces,
    };
    let issued = tokens::create(&fleet.context, &root(), new, NOW).await;
    issued.unwrap().token
}

async fn redeem(fleet: &Fleet, token: &fleet::Token, exchange: u8) -> Result<Arc<Member>, Error> {
    let mut joiner = Keys::new().joiner(token, "");
    joiner.exchange_key = Some([exchange; 32]);
    let enrolled = enroll::redeem(&fleet.context, CALL, joiner, NOW).await?;
    let member = enrolled.member;
    Ok(fleet
        .context
        .roster
        .find(member.role, &member.name)
        .unwrap())
}

/// Users of the stanzas of a host's text, in its order.
fn users_on(fleet: &Fleet, host: &str) -> Vec<String> {
    let target = fleet.context.rollout.target(host).unwrap();
    let text = &target.compiled.text.0;
    let policy = policy::parse_as(Dialect::Compiled, host, text, &NoIncludes).unwrap();
    let stanzas = policy.stanzas.iter();
    stanzas
        .map(|stanza| {
            let names: Vec<_> = stanza.require_username.iter().collect();
            format!("{}: {}", stanza.label(), names.join(" "))
        })
        .collect()
}

/// A host that has a session and enforces what it should.
async fn acknowledge(fleet: &Fleet, host: &Arc<Member>) {
    let target = fleet.context.rollout.target(&host.name).unwrap();
    let validity = crate::sessions::validity::Validity::new(target.compiled.digest, None, NOW);
    fleet
        .context
        .sessions
        .note_sent(&host.name, 1, (validity, None));
    let acknowledgement = Acknowledgement {
        generation: target.generation,
        digest: target.compiled.digest.to_vec(),
        ..Acknowledgement::default()
    };
    hosts::acknowledge(&fleet.context, &caller(host), acknowledgement, NOW)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_locked_user_is_in_no_hosts_text_and_its_hosts_are_named_until_they_acknowledge() {
    let fleet = Fleet::new().await;
    let web = fleet.join(Role::Host, "web-1").await;
    fleet.join(Role::Host, "db-1").await;
    fleet.join(Role::User, "alice").await;
    fleet.join(Role::User, "bob").await;
    fleet.apply(0, POLICY).await.unwrap();
    let web = Arc::new(web);
    let open = fleet.context.sessions.subscribe("web-1", || None);
    acknowledge(&fleet, &web).await;

    let mut acted = fleet.act(Act::Lock, user("alice", None)).await.unwrap();

    assert_eq!(users_on(&fleet, "web-1"), ["ssh: bob"]);
    assert_eq!(
        users_on(&fleet, "db-1"),
        ["ssh: bob", "db: bob", "old: carol"]
    );
    let hosts: Vec<_> = acted
        .hosts
        .iter()
        .map(|it| (it.host.as_str(), it.acknowledged))
        .collect();
    assert_eq!(hosts, [("db-1", false), ("web-1", false)]);
    assert_eq!(
        acted.member.unwrap().lock.as_ref().unwrap().reason,
        "because"
    );
    let warnings = acted.warnings.join("\n");
    assert!(
        warnings.contains("stanza old on db-1 still opens"),
        "{warnings}"
    );
    assert!(warnings.contains("host db-1 is away"), "{warnings}");
    acknowledge(&fleet, &web).await;
    let heard = acted.waiting.next(&fleet.context).await.unwrap();
    assert_eq!((heard.len(), heard[0].host.as_str()), (1, "web-1"));
    drop(open);
}

#[tokio::test]
async fn of_a_user_with_two_keys_one_can_be_locked_and_the_other_opens_on() {
    let fleet = Fleet::new().await;
    fleet.join(Role::Host, "web-1").await;
    fleet.apply(0, POLICY).await.unwrap();
    redeem(&fleet, &token(&fleet, "alice", "laptop", false).await, 3)
        .await
        .unwrap();
    let alice = redeem(&fleet, &token(&fleet, "alice", "phone", false).await, 4)
        .await
        .unwrap();
    let names: Vec<_> = alice.keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["laptop", "phone"]);
    assert_eq!(users_on(&fleet, "web-1"), ["ssh: alice", "ssh: alice"]);

    fleet
        .act(Act::Lock, user("alice", Some("laptop")))
        .await
        .unwrap();

    let target = fleet.context.rollout.target("web-1").unwrap();
    let left = spa::ExchangePublic([4; 32]).to_string();
    assert!(target.compiled.text.0.contains(&left));
    assert_eq!(users_on(&fleet, "web-1"), ["ssh: alice"]);
    let [laptop, phone] = alice.keys.as_slice() else {
        panic!("{alice:?}");
    };
    let admitted = |key: u64| {
        fleet
            .context
            .roster
            .admit(Role::User, "alice", key)
            .unwrap()
    };
    assert!(admitted(laptop.id).locked && !admitted(phone.id).locked);
}

#[tokio::test]
async fn a_removed_user_opens_nothing_until_somebody_joins_by_the_name_again() {
    let fleet = Fleet::new().await;
    fleet.join(Role::Host, "db-1").await;
    let alice = fleet.join(Role::User, "alice").await;
    fleet.apply(0, POLICY).await.unwrap();

    fleet.act(Act::Remove, user("alice", None)).await.unwrap();
    let removed = users_on(&fleet, "db-1");
    let again = fleet.join(Role::User, "alice").await;

    assert_eq!(removed, ["old: carol"]);
    assert_ne!((again.id, again.keys[0].id), (alice.id, alice.keys[0].id));
    assert!(
        fleet
            .context
            .roster
            .admit(Role::User, "alice", alice.keys[0].id)
            .is_none()
    );
    assert_eq!(users_on(&fleet, "db-1"), ["ssh: alice", "old: alice carol"]);
}

#[tokio::test]
async fn whoever_replaces_a_member_takes_its_name_and_the_old_keys_are_worth_nothing() {
    let fleet = Fleet::new().await;
    let old = fleet.join(Role::User, "alice").await;
    let key = old.keys[0].id;
    let standing = fleet
        .context
        .roster
        .admit(Role::User, "alice", key)
        .unwrap()
        .standing;
    let token = token(&fleet, "alice", "", true).await;
    assert!(!standing.is_cancelled(), "nothing before it is redeemed");

    let new = redeem(&fleet, &token, 7).await.unwrap();

    assert_ne!(new.id, old.id);
    assert!(standing.is_cancelled());
    assert!(
        fleet
            .context
            .roster
            .admit(Role::User, "alice", key)
            .is_none()
    );
}

#[tokio::test]
async fn a_replaced_key_leaves_the_others_as_they_are() {
    let fleet = Fleet::new().await;
    redeem(&fleet, &token(&fleet, "alice", "laptop", false).await, 3)
        .await
        .unwrap();
    let before = redeem(&fleet, &token(&fleet, "alice", "phone", false).await, 4)
        .await
        .unwrap();

    let after = redeem(&fleet, &token(&fleet, "alice", "phone", true).await, 5)
        .await
        .unwrap();

    assert_eq!(after.id, before.id);
    assert_eq!(after.keys[0], before.keys[0]);
    assert_ne!(after.keys[1].id, before.keys[1].id);
}

#[tokio::test]
async fn the_last_owner_who_can_do_something_is_neither_locked_nor_removed() {
    let fleet = Fleet::new().await;
    let owner = |name: &str| Whom {
        role: Role::Owner,
        ..operator(name)
    };
    fleet.join(Role::Owner, "root").await;
    fleet.join(Role::Owner, "mbr").await;
    fleet.join(Role::Operator, "ops").await;
    fleet.act(Act::Lock, owner("mbr")).await.unwrap();

    for act in [Act::Lock, Act::Remove] {
        let refused = fleet.act(act, owner("root")).await.unwrap_err();
        assert!(matches!(refused, Error::LastOwner { .. }), "{refused}");
        assert!(
            refused
                .to_string()
                .contains("postern-controller token create --role owner")
        );
    }
    fleet.act(Act::Remove, owner("mbr")).await.unwrap();
    fleet.act(Act::Lock, owner("root")).await.unwrap_err();
    fleet.act(Act::Remove, operator("ops")).await.unwrap();
}

#[tokio::test]
async fn with_an_operator_goes_every_open_token_that_it_made_and_whom_it_let_in_is_named() {
    let fleet = Fleet::new().await;
    fleet.join(Role::Owner, "root").await;
    let thief = caller(&fleet.join(Role::Owner, "mbr").await);
    let new = |name: &str| NewToken {
        role: Role::Operator,
        name: name.to_owned(),
        labels: [].into(),
        scope: [].into(),
        ttl: Duration::ZERO,
        key_name: String::new(),
        replaces: false,
    };
    let used = tokens::create(&fleet.context, &thief, new("eve"), NOW)
        .await
        .unwrap();
    let open = tokens::create(&fleet.context, &thief, new("eva"), NOW)
        .await
        .unwrap();
    redeem(&fleet, &used.token, 1).await.unwrap();

    let mbr = Whom {
        role: Role::Owner,
        ..operator("mbr")
    };
    let acted = fleet.act(Act::Lock, mbr).await.unwrap();

    let warnings = acted.warnings.join("\n");
    assert!(
        warnings.contains(&open.id) && !warnings.contains(&used.id),
        "{warnings}"
    );
    assert!(warnings.contains("operator eve"), "{warnings}");
    let refused = redeem(&fleet, &open.token, 2).await.unwrap_err();
    assert!(
        matches!(refused, Error::Token(TokenRefused::Revoked)),
        "{refused}"
    );
    let recorded = fleet.recorded().await;
    let revoked = format!("token {} revoked with owner mbr", open.id);
    assert!(recorded.contains(&revoked), "{recorded:?}");
}

#[tokio::test]
async fn a_locked_host_is_told_so_in_its_session_and_has_no_target_any_more() {
    let fleet = Fleet::new().await;
    fleet.join(Role::Host, "web-1").await;
    fleet.apply(0, "PROTECT tcp/22\n").await.unwrap();
    let session = fleet.context.sessions.subscribe("web-1", || None);

    fleet.lock_host("web-1").await;

    let reason = session.locked.borrow().clone();
    assert_eq!(reason.as_deref(), Some("because"));
    let host = fleet.context.roster.find(Role::Host, "web-1").unwrap();
    assert!(host.lock.is_some());
    assert!(fleet.context.rollout.target("web-1").is_none());
    let recorded = fleet.recorded().await;
    assert_eq!(recorded.last().unwrap(), "host web-1 locked: because");
}

#[tokio::test]
async fn what_is_locked_already_is_not_recorded_again_and_an_unlocked_host_has_its_policy() {
    let fleet = Fleet::new().await;
    fleet.join(Role::Host, "web-1").await;
    fleet.apply(0, "PROTECT tcp/22\n").await.unwrap();
    fleet.lock_host("web-1").await;
    let recorded = fleet.recorded().await;

    fleet.lock_host("web-1").await;
    assert_eq!(fleet.recorded().await, recorded);
    let whom = Whom::host("web-1".to_owned());
    fleet.act(Act::Unlock, whom).await.unwrap();

    assert!(fleet.context.rollout.target("web-1").is_some());
    let by = ("owner/root".to_owned(), "root".to_owned());
    assert_eq!(fleet.newest_is_by().await, by);
}

#[tokio::test]
async fn nobody_is_locked_by_a_name_that_no_member_of_that_role_has() {
    let fleet = Fleet::new().await;
    fleet.join(Role::User, "web-1").await;

    let host = fleet.act(Act::Lock, Whom::host("web-1".to_owned())).await;
    let key = fleet.act(Act::Lock, user("web-1", Some("phone"))).await;
    let only = fleet.act(Act::Remove, user("web-1", Some("default"))).await;

    assert!(matches!(host, Err(Error::NotFound { .. })), "{host:?}");
    assert!(matches!(key, Err(Error::NotFound { .. })), "{key:?}");
    assert!(matches!(only, Err(Error::Conflict(_))), "{only:?}");
    assert!(
        fleet
            .context
            .roster
            .find(Role::User, "web-1")
            .unwrap()
            .is_active()
    );
}

#[tokio::test]
async fn a_name_that_policy_trusts_is_taken_only_with_a_token_that_carries_it() {
    let fleet = Fleet::new().await;
    fleet
        .apply(0, &format!("%group dba dora\n{POLICY}"))
        .await
        .unwrap();

    for (role, name) in [
        (Role::User, "alice"),
        (Role::User, "dora"),
        (Role::Host, "db-1"),
    ] {
        let nameless = fleet.token(role, "").await;
        let joiner = Keys::new().joiner(&nameless, name);
        let refused = enroll::redeem(&fleet.context, CALL, joiner, NOW).await;
        assert!(
            matches!(refused, Err(Error::NameTrusted { .. })),
            "{refused:?}"
        );
        fleet.join(role, name).await;
    }
    let nameless = fleet.token(Role::User, "").await;
    let joiner = Keys::new().joiner(&nameless, "zoe");
    enroll::redeem(&fleet.context, CALL, joiner, after_secs(1))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_a_user_may_is_told_with_the_hosts_where_she_may() {
    let fleet = Fleet::new().await;
    fleet.join(Role::Host, "web-1").await;
    fleet.join(Role::Host, "db-1").await;
    fleet.join(Role::User, "alice").await;
    fleet.apply(0, POLICY).await.unwrap();

    let (member, stanzas) = show(&fleet.context, &root(), (Role::User, "alice")).unwrap();

    assert_eq!(member.name, "alice");
    assert_eq!(stanzas, ["ssh on db-1, web-1", "old on db-1"]);
    assert_eq!(list(&fleet.context, &root(), Some(Role::Host)).len(), 2);
    assert_eq!(list(&fleet.context, &root(), None).len(), 3);
}

/// The next directive of a session, by name.
async fn said(directives: &mut tokio::sync::mpsc::Receiver<Box<Directive>>) -> String {
    match *directives.recv().await.unwrap() {
        Directive::Opened { .. } => "opened".to_owned(),
        Directive::Policy { .. } => "policy".to_owned(),
        Directive::Locked { reason } => format!("locked: {reason}"),
        Directive::Ended => "ended".to_owned(),
        other @ (Directive::Claimed(_) | Directive::NewJournal { .. }) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_locked_host_stays_to_hear_of_it_in_every_session_and_has_its_policy_when_unlocked() {
    let fleet = Fleet::new().await;
    let host = caller(&fleet.join(Role::Host, "web-1").await);
    fleet.apply(0, "PROTECT tcp/22\n").await.unwrap();
    let open = async || {
        let hello = hosts::Hello {
            policy_digest: Vec::new(),
            policy_until_secs: None,
            packs: false,
            audit_checkpoint: String::new(),
            opening: Opening {
                keeps_passes: true,
                ..Opening::default()
            },
        };
        let opened = hosts::open_session(&fleet.context, &host, hello, NOW, || NOW).await;
        let opened = opened.unwrap();
        tokio::spawn(opened.session.run(opened.known_claims));
        opened.directives
    };
    let mut first = open().await;
    assert_eq!(
        [said(&mut first).await, said(&mut first).await],
        ["opened", "policy"]
    );

    let whom = Whom::host("web-1".to_owned());
    let mut acted = fleet.act(Act::Lock, whom.clone()).await.unwrap();
    assert_eq!(said(&mut first).await, "locked: because");
    assert!(!acted.hosts[0].acknowledged);
    hosts::note_locked(&fleet.context, &host);
    let heard = acted.waiting.next(&fleet.context).await.unwrap();
    assert_eq!(heard[0].host, "web-1");
    let mut second = open().await;
    assert_eq!(
        [said(&mut second).await, said(&mut second).await],
        ["opened", "locked: because"]
    );
    let shown = hosts::show(&fleet.context, &root(), "web-1", NOW)
        .await
        .unwrap();
    assert!(!shown.connected, "it serves nobody");
    fleet.act(Act::Unlock, whom).await.unwrap();

    assert_eq!(said(&mut second).await, "ended");
    let mut third = open().await;
    assert_eq!(
        [said(&mut third).await, said(&mut third).await],
        ["opened", "policy"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_removed_is_told_first_to_close_what_is_open() {
    let fleet = Fleet::new().await;
    fleet.join(Role::Host, "web-1").await;
    let session = fleet.context.sessions.subscribe("web-1", || None);

    fleet
        .act(Act::Remove, Whom::host("web-1".to_owned()))
        .await
        .unwrap();

    let told = session.locked.borrow().clone().unwrap();
    assert_eq!(told, "is to be removed: because");
    assert!(session.ended.is_cancelled());
    assert!(fleet.context.roster.find(Role::Host, "web-1").is_none());
}

#[tokio::test]
async fn about_hosts_outside_of_a_scope_the_same_is_said_everywhere_as_about_none() {
    use crate::app::host_changes::{self, Consent, Wanted};
    use crate::app::{policy, who_can};
    use crate::store::model::Scope;

    let fleet = Fleet::new().await;
    fleet.join_labelled("mailhost", "prod").await;
    fleet.join_labelled("web-1", "stage").await;
    fleet.join(Role::User, "alice").await;
    let stan = Caller {
        role: Role::Operator,
        scope: Scope([("env".to_owned(), "stage".to_owned())].into()),
        ..root()
    };
    let context = &fleet.context;
    let dry = Consent {
        public: policy::Public::Allowed,
        is_dry: true,
    };
    for (name, near) in [
        ("mailhost", ""),
        ("printer", ""),
        ("web-2", "; did you mean web-1?"),
    ] {
        let said = format!(
            "only hosts with env=stage are your business: none of them is called `{name}`{near}"
        );
        let wanted = Wanted {
            name: Some("new".to_owned()),
            ..Wanted::default()
        };
        let asked = || who_can::WhoCan {
            host: name.to_owned(),
            user: "alice".to_owned(),
            port: "tcp/22".to_owned(),
            ..who_can::WhoCan::default()
        };
        let whom = (Whom::host(name.to_owned()), String::new());
        let refusals = [
            host_changes::change(context, &stan, (name, wanted), dry, NOW)
                .await
                .map(drop),
            hosts::show(context, &stan, name, NOW).await.map(drop),
            show(context, &stan, (Role::Host, name)).map(drop),
            act(context, &stan, Act::Lock, whom, NOW).await.map(drop),
            policy::render(context, &stan, name).map(drop),
            who_can::who_can(context, &stan, asked(), NOW)
                .await
                .map(drop),
            who_can::can(context, &stan, asked(), NOW).await.map(drop),
        ];
        for (number, refused) in refusals.into_iter().enumerate() {
            assert_eq!(refused.unwrap_err().to_string(), said, "{number}");
        }
    }
}
