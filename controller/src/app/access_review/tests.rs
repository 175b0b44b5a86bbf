//! Who had what, by whose word, and when it was last used.

use fleet::{Event, EventKind, EventRecord, Outcome};

use super::*;
use crate::app::events::push;
use crate::app::fixture::past;
use crate::app::fixture::{Fleet, NOW, after_secs, caller, root};
use crate::app::members::Act;

const SSH: &str = "\
NAME ssh
HOSTS name=web-1
SOURCE ANY
OPEN_PORTS tcp/22
";
const SSH_AND_WEB: &str = "\
NAME ssh
HOSTS name=web-1
SOURCE ANY
OPEN_PORTS tcp/22

NAME web
SOURCE ANY
OPEN_PORTS tcp/443
";

/// Alice has ssh by the first generation and web by the second; she has used ssh twice.
async fn fleet() -> Fleet {
    let fleet = Fleet::new().await;
    let host = fleet.join(Role::Host, "web-1").await;
    fleet.join(Role::User, "alice").await;
    fleet.apply(0, SSH).await.unwrap();
    fleet.apply(1, SSH_AND_WEB).await.unwrap();
    let mut chain = [0; 32];
    let mut records = Vec::new();
    for seq in 1..=2 {
        let mut event = Event::new(EventKind::GrantOpened, after_secs(seq).ms());
        event.user = "alice".to_owned();
        event.stanza = "ssh".to_owned();
        event.set_outcome(Outcome::Success);
        let record = EventRecord::after(seq - 1, &chain, event);
        chain = record.chain.as_slice().try_into().unwrap();
        records.push(record);
    }
    let epoch = "00112233445566778899aabbccddeeff".to_owned();
    push(&fleet.context, &caller(&host), epoch, records, NOW)
        .await
        .unwrap();
    fleet
}

async fn reviewed(fleet: &Fleet, asked: Asked, secs: u64) -> Review {
    review(&fleet.context, &root(), asked, after_secs(secs))
        .await
        .unwrap()
}

fn shown(review: &Review) -> Vec<String> {
    let rows = review.rows.iter().map(|row| {
        let Row {
            host,
            right,
            terms,
            given,
            is_earlier: _,
            last_used_ms,
            uses,
            since_then,
        } = row;
        let Holder::User(user) = &right.holder else {
            panic!("a key");
        };
        let used = last_used_ms.saturating_sub(NOW.ms()) / 1000;
        format!(
            "{user} {host} {} {} since {} used {uses} last {used} {since_then}",
            terms.stanza, right.ports, given.generation
        )
    });
    rows.map(|row| row.trim_end().to_owned()).collect()
}

#[tokio::test]
async fn a_review_says_since_which_generation_and_when_it_was_last_used() {
    let fleet = fleet().await;

    let all = reviewed(&fleet, Asked::default(), 60).await;

    assert_eq!(
        shown(&all),
        [
            "alice web-1 ssh tcp/22 since 1 used 2 last 2",
            "alice web-1 web tcp/443 since 2 used 0 last 0",
        ]
    );
    assert_eq!((all.generation, all.days), (2, 90));
    assert_eq!(all.rows[0].given.author, all.rows[1].given.author);
    assert_eq!(all.log.chain.len(), 32);
    assert!(all.log.id > 0);
}

#[tokio::test]
async fn a_review_never_says_never_of_days_that_the_log_tells_no_more_of() {
    let fleet = fleet().await;
    let days = |days: u64| after_secs(days * DAY_MS / 1_000);
    let before = reviewed(&fleet, Asked::default(), 60).await;
    while crate::app::retention::step(&fleet.context, false, days(401))
        .await
        .unwrap()
        > 0
    {}

    let mut asked = Asked {
        as_of_ms: days(30).ms(),
        ..Asked::default()
    };
    let after = review(&fleet.context, &root(), asked.clone(), days(401))
        .await
        .unwrap();
    asked.as_of_ms = days(300).ms();
    let later = review(&fleet.context, &root(), asked, days(401)).await;

    let is_said = |review: &Review| review.warnings.iter().any(|it| it.contains("(retention)"));
    assert!(!is_said(&before), "{:?}", before.warnings);
    assert!(is_said(&after), "{:?}", after.warnings);
    assert!(after.rows.iter().all(|row| row.uses == 0));
    assert!(after.days <= 30, "{}", after.days);
    let later = later.unwrap();
    assert_eq!((is_said(&later), later.days), (false, 90));
}

#[tokio::test]
async fn whoever_was_removed_or_locked_since_had_what_she_had_and_it_is_said() {
    let fleet = fleet().await;
    let as_of = Asked {
        as_of_ms: NOW.ms(),
        ..Asked::default()
    };
    past::act_at(&fleet, Act::Remove, "alice", after_secs(3)).await;

    let then = reviewed(&fleet, as_of, 60).await;
    let now = reviewed(&fleet, Asked::default(), 60).await;

    let rows = shown(&then);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(
        rows.iter().all(|row| row.contains("user removed")),
        "{rows:?}"
    );
    assert_eq!(shown(&now), [] as [&str; 0]);
}

#[tokio::test]
async fn a_user_or_host_that_nobody_knows_is_refused() {
    let fleet = fleet().await;
    let asked = Asked {
        host: "web-9".to_owned(),
        ..Asked::default()
    };

    let refused = review(&fleet.context, &root(), asked, NOW)
        .await
        .unwrap_err();

    assert!(
        refused.to_string().contains("did you mean web-1?"),
        "{refused}"
    );
}

/// As of a moment when alice had ssh on web-1 by the first generation and had used nothing yet.
fn as_of(secs: u64, host: &str) -> Asked {
    Asked {
        as_of_ms: after_secs(secs).ms(),
        host: host.to_owned(),
        ..Asked::default()
    }
}

#[tokio::test]
async fn whoever_was_replaced_since_had_what_she_had_and_it_is_said() {
    for (role, name) in [(Role::User, "alice"), (Role::Host, "web-1")] {
        let fleet = fleet().await;
        past::replace(&fleet, (role, name, ""), after_secs(3_600)).await;

        let then = reviewed(&fleet, as_of(60, ""), 7_200).await;

        let rows = shown(&then);
        let said = format!("used 2 last 2 {role} replaced {}", after_secs(3_600));
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert!(rows[0].ends_with(&said), "{rows:?}");
        let now = reviewed(&fleet, Asked::default(), 7_200).await;
        assert_eq!(
            shown(&now),
            [
                "alice web-1 ssh tcp/22 since 1 used 2 last 2",
                "alice web-1 web tcp/443 since 2 used 0 last 0",
            ],
            "the right is of the name"
        );
    }
}

#[tokio::test]
async fn uses_are_those_of_the_machine_whatever_it_was_called_and_whose_the_name_was() {
    let fleet = fleet().await;
    fleet.join(Role::Host, "web-2").await;
    past::rename(&fleet, "web-1", "www", after_secs(100)).await;
    past::rename(&fleet, "web-2", "web-1", after_secs(200)).await;
    let text = "NAME ssh\nHOSTS name=www\nHOSTS name=web-1\nOPEN_PORTS tcp/22\nSOURCE ANY\n";
    fleet.apply(2, text).await.unwrap();

    let now = reviewed(&fleet, Asked::default(), 300).await;
    let by_name = reviewed(&fleet, as_of(0, "www"), 300).await;
    let then = reviewed(&fleet, as_of(60, "www"), 300).await;

    let rows = shown(&now);
    let uses = |host: &str| {
        let row = rows.iter().find(|row| row.contains(host));
        row.unwrap().contains("used 2")
    };
    assert!(uses("www") && !uses("web-1"), "{rows:?}");
    // Policies of this fleet are all of one moment.
    assert!(!shown(&by_name).is_empty());
    let rows = shown(&then);
    assert!(
        rows.iter()
            .any(|row| row.contains("web-1 ssh") && row.contains("used 2")),
        "{rows:?}"
    );
    assert!(
        rows.iter()
            .all(|row| row.ends_with("host is called www now")),
        "{rows:?}"
    );
}
