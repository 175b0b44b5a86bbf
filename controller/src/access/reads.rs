//! What is recorded of what is read, and of what was refused, so that whoever asks the same again and
//! again does not flood the log: the first time at once, and what follows within ten minutes as one event
//! with its number.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;

use super::caller::Caller;
use crate::store::model::Origin;

/// What follows on an event is counted for so long.
const FOLDED_MS: u64 = 600_000;
/// Questions that are remembered at most; what does not fit is an event of its own.
const KNOWN_MAX: usize = 4_096;

/// What was read, and refused, lately.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    known: Mutex<HashMap<(u64, String), Known>>,
}

#[derive(Debug)]
struct Known {
    since_ms: u64,
    /// Since it was recorded last.
    more: u32,
    latest: Read,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answered {
    Read,
    Refused,
    SignedIn,
}

/// Something that was read or refused, so often.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Read {
    pub(crate) user: String,
    pub(crate) origin: Origin,
    /// What, and by which filter: "audit list user=alice".
    pub(crate) what: String,
    pub(crate) at_ms: u64,
    pub(crate) count: u32,
    pub(crate) answered: Answered,
    /// Where from, of who signed in; else empty.
    pub(crate) source: String,
}

// === impl Reads ===

impl Reads {
    /// Notes that `caller` reads something: what is to be recorded now. `key` is what makes two
    /// questions the same; `what` may say more, as times that are other ones whenever it is asked.
    pub(crate) fn note(
        &self,
        caller: &Caller,
        key: &str,
        what: String,
        now_ms: u64,
    ) -> Option<Read> {
        self.note_as(Answered::Read, caller, (key, what, String::new()), now_ms)
    }

    /// The same of a call that was refused.
    pub(crate) fn note_refused(
        &self,
        caller: &Caller,
        key: &str,
        what: String,
        now_ms: u64,
    ) -> Option<Read> {
        let key = format!("refused {key}");
        self.note_as(
            Answered::Refused,
            caller,
            (&key, what, String::new()),
            now_ms,
        )
    }

    /// The same of a member who begins to speak to us from this address.
    pub(crate) fn note_sign_in(
        &self,
        caller: &Caller,
        address: IpAddr,
        now_ms: u64,
    ) -> Option<Read> {
        let source = address.to_string();
        let key = format!("sign-in {source}");
        let what = "a program of hers began to ask".to_owned();
        self.note_as(Answered::SignedIn, caller, (&key, what, source), now_ms)
    }

    fn note_as(
        &self,
        answered: Answered,
        caller: &Caller,
        (key, what, source): (&str, String, String),
        now_ms: u64,
    ) -> Option<Read> {
        let read = Read {
            user: caller.name.clone(),
            origin: caller.origin(),
            what,
            at_ms: now_ms,
            count: 1,
            answered,
            source,
        };
        let mut known = self.known.lock();
        let key = (caller.id, key.to_owned());
        if let Some(before) = known.get_mut(&key) {
            before.more = before.more.saturating_add(1);
            before.latest = read;
            if now_ms.abs_diff(before.since_ms) < FOLDED_MS {
                return None;
            }
            let folded = before.folded();
            before.since_ms = now_ms;
            before.more = 0;
            return folded;
        }
        if known.len() < KNOWN_MAX {
            let latest = read.clone();
            let new = Known {
                since_ms: now_ms,
                more: 0,
                latest,
            };
            known.insert(key, new);
        }
        Some(read)
    }

    /// What was counted and is to be recorded now: of all that is over, or of everything at the end.
    pub(crate) fn due(&self, now_ms: u64, is_end: bool) -> Vec<Read> {
        let mut due = Vec::new();
        self.known.lock().retain(|_, known| {
            if !is_end && now_ms.abs_diff(known.since_ms) < FOLDED_MS {
                return true;
            }
            due.extend(known.folded());
            // Whoever goes on asking is in the next ten minutes already.
            let goes_on = known.more > 0 && !is_end;
            known.since_ms = now_ms;
            known.more = 0;
            goes_on
        });
        due
    }
}

// === impl Known ===

impl Known {
    fn folded(&self) -> Option<Read> {
        (self.more > 0).then(|| Read {
            count: self.more,
            ..self.latest.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use fleet::Role;

    use super::*;
    use crate::access::caller::RequestId;
    use crate::store::model::Scope;

    fn auditor(id: u64) -> Caller {
        Caller {
            id,
            role: Role::Auditor,
            name: "eve".to_owned(),
            scope: Scope::default(),
            request: RequestId([0; 16]),
        }
    }

    fn count(read: Option<Read>) -> Option<u32> {
        read.map(|read| read.count)
    }

    #[test]
    fn a_poll_is_an_event_at_once_and_then_one_each_ten_minutes_with_the_number() {
        let reads = Reads::default();
        let ask = |at_ms| reads.note(&auditor(1), "hosts", format!("hosts at {at_ms}"), at_ms);

        assert_eq!(count(ask(0)), Some(1));
        let (mut events, mut counted) = (1, 1);
        for at_ms in (5_000..3_600_000).step_by(5_000) {
            let due: Vec<Read> = ask(at_ms)
                .into_iter()
                .chain(reads.due(at_ms, false))
                .collect();
            events += due.len();
            counted += due.iter().map(|read| read.count).sum::<u32>();
        }
        let last = reads.due(3_600_000, true);
        counted += last.iter().map(|read| read.count).sum::<u32>();

        assert_eq!(counted, 720, "every one is counted");
        assert_eq!(events, 6);
        assert!(reads.due(7_200_000, false).is_empty());
    }

    #[test]
    fn another_question_and_another_reader_are_events_of_their_own() {
        let reads = Reads::default();
        let ask = |id, key: &str| reads.note(&auditor(id), key, key.to_owned(), 0);

        assert_eq!(count(ask(1, "hosts")), Some(1));
        assert_eq!(count(ask(2, "hosts")), Some(1));
        assert_eq!(count(ask(1, "members")), Some(1));
        assert_eq!(ask(1, "members"), None);
    }

    #[test]
    fn what_is_not_remembered_for_want_of_room_is_recorded_each_time() {
        let reads = Reads::default();
        for key in 0..KNOWN_MAX {
            reads.note(&auditor(1), &key.to_string(), String::new(), 0);
        }
        for _ in 0..2 {
            let due = reads.note(&auditor(1), "one more", String::new(), 0);
            assert_eq!(count(due), Some(1));
        }
    }
}
