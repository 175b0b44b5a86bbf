//! Who had what, by whose word, and when it was last used.

use fleet::{Event, EventRecord, Outcome};

use super::*;
use crate::app::events::push;
use crate::app::fixture::{Fleet, NOW, after_secs, caller, root};
use crate::app::members::Act;
use crate::store::model::Whom;

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
async fn whoever_was_removed_or_locked_since_had_what_she_had_and_it_is_said() {
    let fleet = fleet().await;
    let as_of = Asked {
        as_of_ms: NOW.ms(),
        ..Asked::default()
    };
    let whom = Whom {
        role: Role::User,
        name: "alice".to_owned(),
        key: None,
    };
    fleet.act(Act::Remove, whom).await.unwrap();

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
