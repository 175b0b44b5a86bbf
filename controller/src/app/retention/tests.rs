use fleet::{Event, EventKind};

use super::*;
use crate::app::fixture::{Fleet, NOW};
use crate::store::fixture;
use crate::store::model::{Cursor, EventFilter};

const DAY_MS: u64 = 24 * 3_600_000;

fn after_days(days: u64) -> Timestamp {
    Timestamp::from_ms(NOW.ms() + days * DAY_MS)
}

/// Everything that is old enough by then.
async fn retain(fleet: &Fleet, days: u64) {
    for is_noise in [true, false] {
        while step(&fleet.context, is_noise, after_days(days))
            .await
            .unwrap()
            > 0
        {}
    }
}

async fn found(fleet: &Fleet, filter: EventFilter) -> Vec<Event> {
    let store = &fleet.context.store;
    let rows = store.search(filter, Cursor::NEWEST, 10_000).await.unwrap();
    rows.iter().map(|row| row.event()).collect()
}

fn of_kind(kind: EventKind) -> EventFilter {
    EventFilter {
        kinds: vec![kind.into()],
        ..EventFilter::default()
    }
}

/// 500 refusals and 5 grants, as the controller stores events of its own.
async fn fleet() -> Fleet {
    let fleet = Fleet::new().await;
    for number in 0..505_u64 {
        let kind = if number % 101 == 100 {
            EventKind::GrantOpened
        } else {
            EventKind::Refused
        };
        let mut event = fixture::event(kind, "not for her");
        event.user = "alice".to_owned();
        event.stanza = "sre".to_owned();
        event.grant_id = format!("{number:032x}");
        event.ports = vec!["tcp/22".to_owned()];
        event.opened = "192.0.2.0/24".to_owned();
        fleet.context.store.record(event).await.unwrap();
    }
    while fleet.context.store.index_some().await.unwrap() {}
    fleet
}

#[tokio::test]
async fn noise_goes_after_30_days_and_grants_after_400_and_the_rest_is_proven() {
    let fleet = fleet().await;
    let Context {
        checkpoints, store, ..
    } = &fleet.context;
    checkpoints.sign(store, NOW).await.unwrap();

    retain(&fleet, 29).await;
    assert_eq!(found(&fleet, of_kind(EventKind::Refused)).await.len(), 500);
    retain(&fleet, 31).await;
    assert_eq!(found(&fleet, of_kind(EventKind::Refused)).await.len(), 0);
    assert_eq!(
        found(&fleet, of_kind(EventKind::GrantOpened)).await.len(),
        5
    );
    let steps = found(&fleet, of_kind(EventKind::Retention)).await;
    let counted: u64 = steps.iter().map(|step| step.count).sum();
    assert_eq!((steps.len(), counted), (3, 500), "{steps:?}");

    let log = fleet.examined().log;
    assert_eq!((log.first(), log.pruned), (None, 500), "{log:?}");
    assert_eq!(log.proven.unwrap().size, 505);
    retain(&fleet, 401).await;
    assert_eq!(
        found(&fleet, of_kind(EventKind::GrantOpened)).await.len(),
        0
    );
    let log = fleet.examined().log;
    assert_eq!((log.first(), log.pruned), (None, 505), "{log:?}");
    let left = found(&fleet, EventFilter::default()).await;
    assert!(
        left.iter()
            .all(|event| event.kind() == EventKind::Retention)
    );
}

#[tokio::test]
async fn nothing_of_what_retention_has_emptied_is_found_by_anything() {
    let fleet = fleet().await;
    retain(&fleet, 500).await;

    let tables = ["event_words", "event_ids", "event_ports", "event_blocks"];
    let database = rusqlite::Connection::open(fleet.database()).unwrap();
    for table in tables {
        let sql = format!("SELECT count(*) FROM {table} WHERE event <= 505");
        let left: u32 = database.query_row(&sql, [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{table}");
    }
    let bodies = "SELECT max(length(body)), count(user) FROM events WHERE id <= 505";
    let left: (u32, u32) = database
        .query_row(bodies, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(left, (32, 0));
    let filter = EventFilter {
        stanza: Some("sre".to_owned()),
        ..EventFilter::default()
    };
    assert!(found(&fleet, filter).await.is_empty());
}

#[tokio::test]
async fn a_record_that_somebody_else_empties_is_found_beside_what_retention_has_emptied() {
    let fleet = fleet().await;
    retain(&fleet, 31).await;
    let database = rusqlite::Connection::open(fleet.database()).unwrap();
    database
        .execute(
            "UPDATE events SET pruned_by = 1, body = zeroblob(32), kind = 0, user = NULL WHERE id = 101",
            [],
        )
        .unwrap();

    let first = fleet.examined().log.first().cloned().unwrap();
    assert!(first.record == 1 || first.record == 101, "{first:?}");
}
