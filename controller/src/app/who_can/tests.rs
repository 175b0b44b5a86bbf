//! Who may, who could, and what another text would have done.

use fleet::{Event, EventKind, EventRecord, Outcome, Role, UserIdentity};

use super::*;
use crate::app::events::push;
use crate::app::fixture::past::{act_at, remove_host, rename, replace};
use crate::app::fixture::{Fleet, NOW, after_secs, caller, draft, root};
use crate::app::members::Act;
use crate::app::policy::{Draft, Public};
use crate::store::model::{EventFilter, Scope, Whom};

const POLICY: &str = "\
NAME ssh
HOSTS name=web-1
SOURCE 10.0.0.0/8
REQUIRE_USERNAME alice, bob
OPEN_PORTS tcp/22

NAME web
SOURCE ANY
OPEN_PORTS tcp/443
";

async fn fleet() -> Fleet {
    let fleet = Fleet::new().await;
    fleet.join(Role::Host, "web-1").await;
    fleet.join(Role::Host, "web-2").await;
    fleet.join(Role::User, "alice").await;
    fleet.apply(0, POLICY).await.unwrap();
    fleet
}

fn asked(host: &str, user: &str, port: &str) -> WhoCan {
    WhoCan {
        host: host.to_owned(),
        user: user.to_owned(),
        port: port.to_owned(),
        ..WhoCan::default()
    }
}

fn shown(listed: &Listed) -> Vec<String> {
    let rows = listed.access.iter().map(|access| {
        let Terms {
            stanza, file, line, ..
        } = &access.terms;
        let (user, host, ports) = (access.user(), &access.host, &access.right.ports);
        format!("{user} {host} {ports} {stanza} {file}:{line}")
    });
    rows.collect()
}

#[tokio::test]
async fn who_can_names_user_host_port_stanza_file_and_line() {
    let fleet = fleet().await;

    let all = who_can(&fleet.context, &root(), WhoCan::default(), NOW)
        .await
        .unwrap();
    let ssh = who_can(&fleet.context, &root(), asked("", "", "tcp/22"), NOW)
        .await
        .unwrap();
    let one = who_can(&fleet.context, &root(), asked("web-2", "alice", ""), NOW)
        .await
        .unwrap();

    assert_eq!(
        shown(&all),
        [
            "alice web-1 tcp/22 ssh policy:1",
            "alice web-1 tcp/443 web policy:7",
            "alice web-2 tcp/443 web policy:7",
        ]
    );
    assert_eq!(shown(&ssh), ["alice web-1 tcp/22 ssh policy:1"]);
    assert_eq!(ssh.access[0].terms.sources, ["10.0.0.0/8"]);
    assert_eq!(shown(&one), ["alice web-2 tcp/443 web policy:7"]);
    assert_eq!((all.generation, all.at), (1, NOW));
}

#[tokio::test]
async fn a_name_that_nobody_has_is_an_error_with_the_one_that_may_be_meant() {
    let fleet = fleet().await;
    let error = |asked| async {
        let answer = who_can(&fleet.context, &root(), asked, NOW).await;
        answer.unwrap_err().to_string()
    };

    assert_eq!(
        error(asked("web1", "", "")).await,
        "no host is called `web1`; did you mean web-1?"
    );
    assert_eq!(
        error(asked("", "alcie", "")).await,
        "no user is called `alcie`; did you mean alice?"
    );
    assert_eq!(
        error(asked("env=prod", "", "")).await,
        "no host has the labels env=prod"
    );
    assert!(
        error(asked("", "", "tcp/0"))
            .await
            .starts_with("port: `tcp/0` is not a port")
    );
    // Whom the policy names has not joined, and that is an answer.
    let bob = who_can(&fleet.context, &root(), asked("", "bob", ""), NOW)
        .await
        .unwrap();
    assert!(bob.access.is_empty());
    assert!(
        bob.warnings.contains(&"user bob had not joined".to_owned()),
        "{bob:?}"
    );
}

#[tokio::test]
async fn can_says_by_which_line_or_why_not() {
    let fleet = fleet().await;
    let can = |user, host, port, source: &'static str| {
        let asked = WhoCan {
            source: source.to_owned(),
            ..asked(host, user, port)
        };
        let context = &fleet.context;
        async move { can(context, &root(), asked, NOW).await }
    };

    let may = can("alice", "web-1", "tcp/22", "10.1.1.1").await.unwrap();
    let from_elsewhere = can("alice", "web-1", "tcp/22", "192.0.2.1").await.unwrap();
    let bob = can("bob", "web-1", "tcp/22", "").await.unwrap();

    assert_eq!(may.access.unwrap().terms.stanza, "ssh");
    assert!(from_elsewhere.access.is_none());
    assert_eq!(
        from_elsewhere.reasons,
        [
            "stanza ssh (policy:1): source 192.0.2.1 is not in SOURCE",
            "stanza web (policy:7): tcp/22 is not in OPEN_PORTS",
        ]
    );
    assert!(bob.access.is_none());
    assert!(can("alice", "web-1", "", "").await.is_err());
    assert!(can("alice", "nowhere", "tcp/22", "").await.is_err());
}

#[tokio::test]
async fn who_is_locked_or_has_left_may_open_nothing_and_is_said_to_be_left_out() {
    let fleet = fleet().await;
    fleet.join(Role::User, "bob").await;
    let user = |name: &str| Whom {
        role: Role::User,
        name: name.to_owned(),
        key: None,
    };
    fleet.act(Act::Lock, user("alice")).await.unwrap();
    fleet.lock_host("web-2").await;

    let listed = who_can(&fleet.context, &root(), WhoCan::default(), NOW)
        .await
        .unwrap();
    let alice = can(
        &fleet.context,
        &root(),
        asked("web-1", "alice", "tcp/22"),
        NOW,
    )
    .await
    .unwrap();
    let locked = can(
        &fleet.context,
        &root(),
        asked("web-2", "bob", "tcp/443"),
        NOW,
    )
    .await
    .unwrap();

    assert_eq!(
        shown(&listed),
        [
            "bob web-1 tcp/22 ssh policy:1",
            "bob web-1 tcp/443 web policy:7"
        ]
    );
    assert!(
        listed
            .warnings
            .iter()
            .any(|words| words.ends_with("not listed: web-2"))
    );
    assert!(
        listed
            .warnings
            .iter()
            .any(|words| words.ends_with("not listed: alice"))
    );
    assert_eq!(
        alice.reasons,
        ["user alice is locked, or has left: nothing opens for her"]
    );
    assert_eq!(locked.reasons, ["host web-2 is locked: it grants nothing"]);
    fleet.act(Act::Remove, user("bob")).await.unwrap();
    let left = who_can(&fleet.context, &root(), asked("", "", ""), NOW)
        .await
        .unwrap();
    assert!(left.access.is_empty(), "{left:?}");
}

#[tokio::test]
async fn an_older_generation_and_a_time_are_answered_by_the_text_that_was_in_force() {
    let fleet = fleet().await;
    let base = (1, "later".to_owned());
    let later = after_secs(3_600);
    let text = "NAME late\nSOURCE ANY\nOPEN_PORTS tcp/80\n";
    let new = Draft {
        file: "fleet.conf".to_owned(),
        ..draft(text)
    };
    let public = Public::Allowed;
    crate::app::policy::apply(&fleet.context, &root(), new, base, public, later)
        .await
        .unwrap();
    let at = |generation, at_ms| WhoCan {
        when: When { generation, at_ms },
        ..asked("web-2", "", "")
    };
    let now = after_secs(7_200);

    let current = who_can(&fleet.context, &root(), at(0, 0), now)
        .await
        .unwrap();
    let first = who_can(&fleet.context, &root(), at(1, 0), now)
        .await
        .unwrap();
    let then = who_can(&fleet.context, &root(), at(0, NOW.ms() + 5), now)
        .await
        .unwrap();
    let before = who_can(&fleet.context, &root(), at(0, NOW.ms() - 5), now).await;
    let both = who_can(&fleet.context, &root(), at(1, 5), now).await;

    assert_eq!(shown(&current), ["alice web-2 tcp/80 late fleet.conf:1"]);
    assert_eq!(shown(&first), ["alice web-2 tcp/443 web generation 1:7"]);
    assert_eq!(shown(&then), shown(&first));
    assert_eq!((then.generation, then.at.ms()), (1, NOW.ms() + 5));
    assert!(
        then.warnings
            .iter()
            .any(|words| words.contains("labels of hosts are those of now"))
    );
    // No host was there then.
    assert!(before.is_err(), "{before:?}");
    assert!(matches!(both, Err(Error::Invalid { .. })));
    assert!(matches!(
        who_can(&fleet.context, &root(), at(0, now.ms() + 1), now).await,
        Err(Error::Invalid { .. })
    ));
}

#[tokio::test]
async fn who_left_since_is_named_in_an_answer_about_the_past() {
    let fleet = fleet().await;
    fleet.join(Role::Host, "web-3").await;
    remove_host(&fleet, "web-3", after_secs(5)).await;
    let when = When {
        generation: 0,
        at_ms: NOW.ms(),
    };

    let estate = estate(&fleet.context, &Scope::default(), when, after_secs(9))
        .await
        .unwrap();

    let left = "left since, so that what they could open then is not listed: host web-3";
    assert!(
        estate.warnings.contains(&left.to_owned()),
        "{:?}",
        estate.warnings
    );
}

fn event(kind: EventKind, secs: u64, port: &str, reason: &str) -> Event {
    let mut event = Event::new(kind, after_secs(secs).ms());
    event.user = "alice".to_owned();
    event.source = "10.1.1.1".to_owned();
    event.reason = reason.to_owned();
    event.set_user_identity(UserIdentity::Proven);
    if kind == EventKind::GrantOpened {
        event.ports = vec![port.to_owned()];
        event.set_outcome(Outcome::Success);
    } else {
        event.set_outcome(Outcome::Denied);
    }
    event
}

#[tokio::test]
async fn what_if_judges_grants_and_refusals_of_the_past_by_another_text() {
    let fleet = fleet().await;
    let host = fleet.context.roster.find(Role::Host, "web-1").unwrap();
    let events = [
        event(EventKind::GrantOpened, 1, "tcp/22", ""),
        event(EventKind::GrantOpened, 2, "tcp/443", ""),
        event(EventKind::GrantOpened, 3, "tcp/22", "refreshed"),
        event(EventKind::Refused, 4, "", "tcp/80 is not in OPEN_PORTS"),
        event(
            EventKind::Refused,
            5,
            "",
            "the message is 200 s old; at most 120 s are allowed",
        ),
        event(
            EventKind::Refused,
            6,
            "",
            "user `alice` is not in REQUIRE_USERNAME",
        ),
    ];
    let mut records: Vec<EventRecord> = Vec::new();
    for (seq, event) in (0..).zip(events) {
        let chain = records
            .last()
            .map_or_else(|| vec![0; 32], |last| last.chain.clone());
        let chain: [u8; 32] = chain.try_into().unwrap();
        records.push(EventRecord::after(seq, &chain, event));
    }
    let host = caller(&host);
    let pushed = push(&fleet.context, &host, "0".repeat(32), records, NOW);
    assert_eq!(pushed.await.unwrap().acknowledged_seq, 6);
    let text = "%test deny alice web-1 tcp/80\nNAME web\nSOURCE ANY\nOPEN_PORTS tcp/443, tcp/80\n";
    let asked = WhatIf {
        draft: draft(text),
        since_ms: 0,
        until_ms: 0,
    };

    let replayed = what_if(&fleet.context, &root(), asked, after_secs(100))
        .await
        .unwrap();

    assert_eq!(
        (replayed.judged, replayed.same, replayed.unknown),
        (5, 2, 1)
    );
    let [refused, granted] = replayed.changes.as_slice() else {
        panic!("{replayed:?}");
    };
    assert!(refused.what.refused);
    assert_eq!((refused.count, refused.last_at_ms), (2, after_secs(3).ms()));
    assert_eq!(
        refused.what.reason,
        "stanza web: tcp/22 is not in OPEN_PORTS"
    );
    assert!(!granted.what.refused);
    assert_eq!(granted.what.ports, ["tcp/80"]);
    assert_eq!(granted.what.reason, "stanza web (policy:2)");
    assert_eq!(replayed.tests.len(), 1);
}

async fn who_could(fleet: &Fleet, (host, user): (&str, &str), at: Timestamp) -> Listed {
    let asked = WhoCan {
        when: When {
            generation: 0,
            at_ms: at.ms(),
        },
        ..asked(host, user, "tcp/22")
    };
    let now = after_secs(100_000);
    who_can(&fleet.context, &root(), asked, now).await.unwrap()
}

const ALICE_COULD: [&str; 1] = ["alice web-1 tcp/22 ssh generation 1:1"];

#[tokio::test]
async fn who_was_replaced_or_removed_since_could_then_what_she_could() {
    let whole = (Role::User, "alice", "");
    let key = (Role::User, "alice", "default");
    let host = (Role::Host, "web-1", "");
    for (role, name, key) in [whole, key, host] {
        let fleet = fleet().await;
        let before = who_could(&fleet, ("web-1", "alice"), after_secs(5)).await;
        replace(&fleet, (role, name, key), after_secs(3_600)).await;
        replace(&fleet, (role, name, key), after_secs(7_200)).await;

        for secs in [5, 3_605, 7_205] {
            let after = who_could(&fleet, ("web-1", "alice"), after_secs(secs)).await;
            assert_eq!(shown(&after), ALICE_COULD, "{name} {key} {secs}");
        }
        assert_eq!(shown(&before), ALICE_COULD);
        let too_early = WhoCan {
            when: When {
                generation: 0,
                at_ms: NOW.ms() - 5,
            },
            ..asked("", "", "")
        };
        let early = who_can(&fleet.context, &root(), too_early, after_secs(9_000)).await;
        assert!(early.unwrap().access.is_empty());
    }
    let fleet = fleet().await;
    act_at(&fleet, Act::Remove, "alice", after_secs(3_600)).await;
    let after = who_could(&fleet, ("web-1", "alice"), after_secs(5)).await;
    assert_eq!(shown(&after), ALICE_COULD);
}

#[tokio::test]
async fn who_was_locked_when_she_was_replaced_could_nothing_while_she_was_locked() {
    let fleet = fleet().await;
    act_at(&fleet, Act::Lock, "alice", after_secs(100)).await;
    act_at(&fleet, Act::Unlock, "alice", after_secs(200)).await;
    act_at(&fleet, Act::Lock, "alice", after_secs(300)).await;
    replace(&fleet, (Role::User, "alice", ""), after_secs(3_600)).await;

    for (secs, could) in [
        (5, true),
        (150, false),
        (250, true),
        (350, false),
        (3_700, true),
    ] {
        let then = who_could(&fleet, ("web-1", ""), after_secs(secs)).await;
        assert_eq!(shown(&then) == ALICE_COULD, could, "{secs}: {then:?}");
        assert_eq!(then.access.is_empty(), !could);
    }
}

#[tokio::test]
async fn a_host_is_asked_about_the_past_by_its_name_of_then_and_by_that_of_now() {
    let fleet = fleet().await;
    rename(&fleet, "web-1", "www", after_secs(3_600)).await;
    rename(&fleet, "web-2", "web-1", after_secs(7_200)).await;

    let by_then = who_could(&fleet, ("web-1", ""), after_secs(5)).await;
    let by_now = who_could(&fleet, ("www", ""), after_secs(5)).await;
    let between = who_could(&fleet, ("www", ""), after_secs(3_605)).await;
    let asked = WhoCan {
        when: When {
            generation: 0,
            at_ms: after_secs(5).ms(),
        },
        ..asked("www", "alice", "tcp/22")
    };
    let verdict = can(&fleet.context, &root(), asked, after_secs(9_000)).await;

    assert_eq!(shown(&by_then), ALICE_COULD);
    assert_eq!(shown(&by_now), ALICE_COULD);
    assert!(verdict.unwrap().access.is_some());
    assert!(
        between.access.is_empty(),
        "web-1 was nobody then: {between:?}"
    );
    let said = "hosts are called what they were called then: web-1 was web-2, www was web-1";
    assert!(by_now.warnings.contains(&said.to_owned()), "{by_now:?}");
    replace(&fleet, (Role::Host, "www", ""), after_secs(9_000)).await;
    for name in ["web-1", "www"] {
        let replaced = who_could(&fleet, (name, ""), after_secs(5)).await;
        assert_eq!(shown(&replaced), ALICE_COULD, "{name}");
    }
}

/// Pushes one grant of the host that has this name now, as the next of its journal.
async fn grant(fleet: &Fleet, name: &str, journal: &mut Vec<EventRecord>, epoch: &str) {
    let last = journal.last();
    let (seq, chain) = last.map_or((0, [0; 32]), |last| {
        (last.seq, last.chain.as_slice().try_into().unwrap())
    });
    let granted = event(EventKind::GrantOpened, seq + 1, "tcp/22", "");
    journal.push(EventRecord::after(seq, &chain, granted));
    let host = fleet.context.roster.find(Role::Host, name).unwrap();
    let epoch = epoch.repeat(32);
    let pushed = push(&fleet.context, &caller(&host), epoch, journal.clone(), NOW).await;
    assert_eq!(pushed.unwrap().acknowledged_seq, seq + 1);
}

#[tokio::test]
async fn events_are_found_and_judged_as_those_of_the_machine_whatever_it_was_called_then() {
    let fleet = fleet().await;
    let (mut one, mut other) = (Vec::new(), Vec::new());
    grant(&fleet, "web-1", &mut one, "1").await;
    grant(&fleet, "web-2", &mut other, "2").await;
    rename(&fleet, "web-1", "www", NOW).await;
    grant(&fleet, "www", &mut one, "1").await;
    rename(&fleet, "web-2", "web-1", NOW).await;
    rename(&fleet, "www", "web-9", NOW).await;
    let text = "NAME ssh\nHOSTS name=web-9\nSOURCE ANY\nOPEN_PORTS tcp/22\n";
    let asked = WhatIf {
        draft: draft(text),
        since_ms: 0,
        until_ms: 0,
    };

    let replayed = what_if(&fleet.context, &root(), asked, after_secs(100)).await;

    let replayed = replayed.unwrap();
    assert_eq!((replayed.same, replayed.unknown), (2, 0), "{replayed:?}");
    let hosts: Vec<_> = replayed.changes.iter().map(|it| &it.what.host).collect();
    assert_eq!(hosts, ["web-1"], "of the machine that is called so now");
    let found = async |host: &str| {
        let filter = EventFilter {
            hosts: vec![host.to_owned()],
            ..EventFilter::default()
        };
        let page = fleet.context.store.newest(filter, 100).await;
        let rows = page.unwrap().rows.into_iter();
        rows.map(|row| (row.host, row.epoch.starts_with('1')))
            .collect::<Vec<_>>()
    };
    let row = |name: &str, is_one| (name.to_owned(), is_one);
    assert_eq!(found("web-9").await, [row("www", true), row("web-1", true)]);
    // The name of then finds them still.
    assert_eq!(
        found("web-1").await,
        [row("web-2", false), row("web-1", true)]
    );
}

#[tokio::test]
async fn who_was_locked_then_and_is_not_now_could_nothing_then() {
    let fleet = fleet().await;
    act_at(&fleet, Act::Lock, "alice", after_secs(100)).await;
    act_at(&fleet, Act::Unlock, "alice", after_secs(200)).await;
    act_at(&fleet, Act::Ban, "alice", after_secs(300)).await;
    act_at(&fleet, Act::Unlock, "alice", after_secs(400)).await;

    for (secs, could) in [
        (5, true),
        (150, false),
        (250, true),
        (350, false),
        (450, true),
    ] {
        let then = who_could(&fleet, ("web-1", ""), after_secs(secs)).await;
        assert_eq!(shown(&then) == ALICE_COULD, could, "{secs}: {then:?}");
    }
}

#[tokio::test]
async fn a_former_name_is_answered_with_the_name_of_now_and_a_host_that_is_gone_with_when() {
    let fleet = fleet().await;
    rename(&fleet, "web-1", "www", after_secs(10)).await;
    fleet.join(Role::Host, "db-1").await;
    remove_host(&fleet, "db-1", after_secs(20)).await;
    let error = async |host: &str, at_ms| {
        let asked = WhoCan {
            when: When {
                generation: 0,
                at_ms,
            },
            ..asked(host, "", "")
        };
        let answer = who_can(&fleet.context, &root(), asked, after_secs(30)).await;
        answer.unwrap_err().to_string()
    };

    assert_eq!(
        error("web-1", 0).await,
        "no host is called `web-1`; it is called www now"
    );
    let gone = error("db-1", after_secs(15).ms()).await;
    assert_eq!(
        gone,
        format!(
            "no answer about host db-1: it was removed {}, and which labels it had is not kept",
            after_secs(20)
        )
    );
}

#[tokio::test]
async fn to_whoever_may_not_read_the_audit_a_text_says_how_many_and_not_who() {
    let fleet = fleet().await;
    let (mut one, mut other) = (Vec::new(), Vec::new());
    grant(&fleet, "web-1", &mut one, "1").await;
    grant(&fleet, "web-1", &mut one, "1").await;
    grant(&fleet, "web-2", &mut other, "2").await;
    let validator = caller(&fleet.join(Role::Validator, "ci").await);
    let asked = || WhatIf {
        draft: draft("PROTECT tcp/22\n"),
        since_ms: 0,
        until_ms: 0,
    };

    let counted = what_if(&fleet.context, &validator, asked(), after_secs(100)).await;
    let whole = what_if(&fleet.context, &root(), asked(), after_secs(100)).await;

    let counted = counted.unwrap();
    let [all] = counted.changes.as_slice() else {
        panic!("{counted:?}");
    };
    assert!(all.what.refused);
    assert_eq!((all.count, all.last_at_ms, counted.judged), (3, 0, 3));
    let shown = format!("{counted:?}");
    for name in ["alice", "web-1", "10.1.1.1", "tcp/22"] {
        assert!(!shown.contains(name), "{shown}");
    }
    assert_eq!(whole.unwrap().changes.len(), 2);
}
