//! A listing in pages: each is a question of its own, whose answer is taken whole before any of it is shown. So the
//! controller waits for no reader, and no reader for the controller.

use std::collections::BTreeSet;

use fleet::export::Record;
use fleet::wire::ListEventsRequest;

/// Events of a page; a few megabytes.
const PAGE: u32 = 5_000;

/// How far a listing is, newest first. Pure.
#[derive(Debug)]
pub(super) struct Pages {
    question: ListEventsRequest,
    /// The time of the event that came last, and those of that moment: the next page begins with them again.
    last_ms: Option<u64>,
    known: BTreeSet<u64>,
    size: u32,
}

// === impl Pages ===

impl Pages {
    /// Of the events that this asks for; of no more than `most` at once.
    pub(super) fn new(question: ListEventsRequest, most: u32) -> Self {
        Self {
            question,
            last_ms: None,
            known: BTreeSet::new(),
            size: PAGE.min(most.max(1)),
        }
    }

    /// The question for the next page.
    pub(super) fn question(&self) -> ListEventsRequest {
        let question = self.question.clone();
        let again = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        let limit = self.size.saturating_add(again);
        match self.last_ms {
            None => ListEventsRequest { limit, ..question },
            Some(last_ms) => ListEventsRequest {
                limit,
                until_ms: last_ms.saturating_add(1),
                ..question
            },
        }
    }

    /// What of a page is new, and whether others follow.
    pub(super) fn take(&mut self, page: Vec<Record>) -> (Vec<Record>, bool) {
        let asked = self.question().limit;
        let is_full = u32::try_from(page.len()).unwrap_or(u32::MAX) >= asked;
        let before = self.last_ms;
        let mut new = page;
        new.retain(|record| !self.known.contains(&record.id));
        if let Some(last) = new.last() {
            let last_ms = last.event.at_ms;
            if before != Some(last_ms) {
                self.known.clear();
            }
            let of_then = new.iter().filter(|record| record.event.at_ms == last_ms);
            self.known.extend(of_then.map(|record| record.id));
            self.last_ms = Some(last_ms);
        }
        let goes_on = is_full && !new.is_empty();
        (new, goes_on)
    }
}

#[cfg(test)]
mod tests {
    use fleet::Event;

    use super::*;

    /// What a controller answers of a log with these ids and times.
    fn answer(log: &[(u64, u64)], question: &ListEventsRequest) -> Vec<Record> {
        let mut found: Vec<_> = log
            .iter()
            .filter(|(_, at_ms)| question.until_ms == 0 || *at_ms < question.until_ms)
            .copied()
            .collect();
        found.sort_by_key(|(id, at_ms)| std::cmp::Reverse((*at_ms, *id)));
        found.truncate(usize::try_from(question.limit).unwrap());
        let record = |(id, at_ms)| {
            let event = Event {
                at_ms,
                ..Event::default()
            };
            Record {
                event,
                ..Record::new(fleet::wire::AuditRecord {
                    id,
                    ..Default::default()
                })
            }
        };
        found.into_iter().map(record).collect()
    }

    fn listed(log: &[(u64, u64)], most: u32) -> Vec<u64> {
        let mut pages = Pages::new(ListEventsRequest::default(), most);
        let mut all = Vec::new();
        loop {
            let (new, goes_on) = pages.take(answer(log, &pages.question()));
            all.extend(new.iter().map(|record| record.id));
            if !goes_on {
                return all;
            }
        }
    }

    #[test]
    fn pages_have_every_event_once_in_its_order_also_where_many_are_of_one_moment() {
        // Up to nine events of each moment.
        let log: Vec<_> = (1..=500_u64).map(|id| (id, 1_000 + id / 9)).collect();
        let newest_first: Vec<u64> = (1..=500).rev().collect();
        for most in [1, 2, 3, 8, 9, 10, 499, 500, 501, 10_000] {
            assert_eq!(listed(&log, most), newest_first, "pages of {most}");
        }
        let one_moment: Vec<_> = (1..=40).map(|id| (id, 7)).collect();
        assert_eq!(listed(&one_moment, 3).len(), 40);
        assert_eq!(listed(&[], 3), [0_u64; 0]);
    }

    #[test]
    fn an_event_that_comes_late_between_two_pages_breaks_nothing() {
        let mut log: Vec<_> = (1..=20_u64).map(|id| (id, id)).collect();
        let mut pages = Pages::new(ListEventsRequest::default(), 10);
        let (first, goes_on) = pages.take(answer(&log, &pages.question()));
        assert!(goes_on);
        log.push((21, 11));
        log.push((22, 30));

        let (second, _) = pages.take(answer(&log, &pages.question()));

        let ids: Vec<u64> = first.iter().chain(&second).map(|it| it.id).collect();
        let twice: BTreeSet<u64> = ids.iter().copied().collect();
        assert_eq!(ids.len(), twice.len());
        assert!((1..=20).all(|id| id < 2 || twice.contains(&id)), "{ids:?}");
    }
}
