//! How long an event may be. Nothing that reads events refuses one for its length, because an event
//! that is refused holds up all that follow; so each is made to fit where it becomes bytes.

use prost::Message as _;

use crate::wire::Event;

/// The longest body of an event that this version makes, in bytes. A push of 256 events stays far
/// below gRPC's 4 MiB.
pub const BODY_BYTES_MAX: usize = 8 * 1024;

/// What a text is cut to at the most when an event is too long, in bytes; the reason gets the rest.
const TEXT_BYTES_MAX: usize = 256;
/// Ports that are named in an event that is too long, and what is kept of each: one that is longer
/// than this is none.
const PORTS_MAX: usize = 64;
const PORT_BYTES_MAX: usize = 40;
/// For the note that says how much was cut.
const NOTE_BYTES_MAX: usize = 40;

// === impl Event ===

impl Event {
    /// Shortens what is too long, and says so in its place. Does nothing to an event that fits.
    pub(super) fn limit(&mut self) {
        if self.encoded_len() <= BODY_BYTES_MAX {
            return;
        }
        let texts = [
            &mut self.user,
            &mut self.key,
            &mut self.stanza,
            &mut self.source,
            &mut self.opened,
            &mut self.replay_digest,
            &mut self.grant_id,
            &mut self.request_id,
            &mut self.actor,
        ];
        for text in texts {
            cut(text, TEXT_BYTES_MAX);
        }
        let more = self.ports.len().saturating_sub(PORTS_MAX);
        if more > 0 {
            self.ports.truncate(PORTS_MAX);
            self.reason.insert_str(0, &format!("[{more} more ports] "));
        }
        for port in &mut self.ports {
            cut(port, PORT_BYTES_MAX);
        }
        let excess = self.encoded_len().saturating_sub(BODY_BYTES_MAX);
        if excess > 0 {
            let keep = self.reason.len().saturating_sub(excess + NOTE_BYTES_MAX);
            cut(&mut self.reason, keep);
        }
    }
}

/// Cuts a text to at most `keep` bytes, and appends how many are gone.
fn cut(text: &mut String, keep: usize) {
    if text.len() <= keep {
        return;
    }
    let at = text.floor_char_boundary(keep);
    let gone = text.len() - at;
    text.truncate(at);
    text.push_str(&format!("… [{gone} bytes cut]"));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{EventKind, EventRecord};

    #[test]
    fn a_reason_of_300_mistakes_is_cut_and_says_how_much() {
        let mut event = Event::new(EventKind::PolicyRejected, 5);
        event.reason = "access.conf, line 7: KEY is missing\n".repeat(500);

        let record = EventRecord::after(0, &[0; 32], event);

        assert!(record.body.len() <= BODY_BYTES_MAX);
        let reason = record.event().unwrap().reason;
        assert!(reason.starts_with("access.conf, line 7: KEY is missing\n"));
        assert!(reason.ends_with(" bytes cut]"), "{reason}");
        assert!(reason.len() > BODY_BYTES_MAX - 200);
    }

    #[test]
    fn an_event_that_fits_is_left_alone() {
        let mut event = Event::new(EventKind::PolicyRejected, 5);
        event.reason = "x".repeat(8_000);
        let mut limited = event.clone();
        limited.limit();

        assert_eq!(limited, event);
    }

    proptest! {
        #[test]
        fn no_event_is_longer_than_the_limit(
            texts in prop::collection::vec(".{0,4000}", 10),
            ports in prop::collection::vec("[a-z]{1,60}", 0..300),
            numbers in any::<[u64; 4]>(),
            times in 1_usize..40,
        ) {
            let [at_ms, generation, until_ms, count] = numbers;
            let text = |at: usize| texts[at].repeat(times);
            let event = Event {
                at_ms,
                generation,
                until_ms,
                count,
                user: text(0),
                key: text(1),
                stanza: text(2),
                source: text(3),
                opened: text(4),
                replay_digest: text(5),
                reason: text(6),
                grant_id: text(7),
                request_id: text(8),
                actor: text(9),
                ports,
                clock_offset_ms: Some(i64::MIN),
                ..Event::new(EventKind::Refused, 0)
            };

            let record = EventRecord::after(u64::MAX - 1, &[0; 32], event);

            prop_assert!(record.body.len() <= BODY_BYTES_MAX, "{}", record.body.len());
            prop_assert!(record.event().is_ok());
        }
    }
}
