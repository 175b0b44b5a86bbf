use fleet::{Event, EventKind, Role};

use super::*;
use crate::app::fixture::{Fleet, NOW, caller};

#[tokio::test]
async fn a_journal_with_a_gap_is_the_controllers_finding_in_the_push_that_brought_it() {
    let fleet = Fleet::new().await;
    let host = caller(&fleet.join(Role::Host, "web-1").await);
    let event = Event::new(EventKind::Refused, NOW.ms() - 1);
    let records = vec![EventRecord::after(4, &[0; 32], event)];

    let epoch = "0".repeat(32);
    let pushed = push(&fleet.context, &host, epoch, records, NOW).await;

    assert_eq!(pushed.unwrap().acknowledged_seq, 5);
    let recorded = fleet.recorded().await.pop().unwrap();
    assert!(recorded.ends_with("missing before event 5"), "{recorded}");
    let by = ("controller".to_owned(), String::new());
    assert_eq!(fleet.newest_is_by().await, by);
}
