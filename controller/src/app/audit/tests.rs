use fleet::Role;

use super::*;
use crate::app::fixture::Fleet;

/// The whole answer, and how many pages it took.
async fn read(fleet: &Fleet, mut listing: Listing) -> (Vec<LogRow>, usize) {
    let (mut records, mut pages) = (Vec::new(), 0);
    loop {
        let page = listing.next(&fleet.context).await.unwrap();
        if page.is_empty() {
            return (records, pages);
        }
        records.extend(page);
        pages += 1;
    }
}

#[tokio::test]
async fn an_answer_ends_at_its_limit_and_the_usual_one_is_a_hundred() {
    let fleet = Fleet::new().await;
    for _ in 0..LIMIT_DEFAULT + 20 {
        fleet.token(Role::Host, "").await;
    }

    let (usual, _) = read(&fleet, Listing::new(EventFilter::default(), 0)).await;
    let (few, _) = read(&fleet, Listing::new(EventFilter::default(), 3)).await;
    let (all, pages) = read(&fleet, Listing::new(EventFilter::default(), u32::MAX)).await;

    assert_eq!((usual.len(), few.len()), (LIMIT_DEFAULT, 3));
    assert_eq!((all.len(), pages), (LIMIT_DEFAULT + 20, 2));
    let newest_first = all.is_sorted_by(|newer, older| newer.event.seq > older.event.seq);
    assert!(newest_first, "without loss or repetition");
}
