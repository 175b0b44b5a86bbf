//! Who is connected to any controller of the fleet: each says so in the database, again and again, and believes the
//! others for as long as they do. What one says is another text each time, so that clocks need not agree.

use std::collections::{BTreeMap, HashSet};

use crate::context::Context;
use crate::error::Error;
use crate::timestamp::Timestamp;

/// Unchanged as long as this, it is said no more: three times as long as between two.
const STALE_MS: u64 = 15_000;
/// Unchanged itself, it is said again after this.
const AGAIN_MS: u64 = 5_000;

/// What was said and heard.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    /// By us, and when.
    said: Option<(Vec<String>, u64)>,
    /// By the others, and since when it is that.
    heard: BTreeMap<String, (String, u64)>,
}

// === impl Presence ===

impl Presence {
    /// Says who is here, where that is due, and hears who is elsewhere.
    pub(crate) async fn exchange(
        &mut self,
        context: &Context,
        now: Timestamp,
    ) -> Result<(), Error> {
        let here = context.sessions.connected();
        let is_said = self.said.as_ref().is_some_and(|(said, at_ms)| {
            *said == here && now.ms().saturating_sub(*at_ms) < AGAIN_MS
        });
        if !is_said {
            context.store.say_present(here.clone(), now.ms()).await?;
            self.said = Some((here, now.ms()));
        }
        let heard = context.store.present_elsewhere().await?;
        context.sessions.set_elsewhere(self.hear(heard, now.ms()));
        Ok(())
    }

    /// Who is connected to others, by what these say now.
    fn hear(&mut self, heard: BTreeMap<String, String>, now_ms: u64) -> HashSet<String> {
        let before = std::mem::take(&mut self.heard);
        for (controller, said) in heard {
            let since_ms = match before.get(&controller) {
                Some((same, since_ms)) if *same == said => *since_ms,
                Some(_) | None => now_ms,
            };
            self.heard.insert(controller, (said, since_ms));
        }
        let fresh = self.heard.values();
        let fresh = fresh.filter(|(_, since_ms)| now_ms.saturating_sub(*since_ms) < STALE_MS);
        // The first word is when.
        let hosts = fresh.flat_map(|(said, _)| said.split_whitespace().skip(1));
        hosts.map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_connected_elsewhere_for_as_long_as_a_controller_goes_on_saying_so() {
        let mut presence = Presence::default();
        let mut hear = |said: &str, now_ms: u64| {
            let said = BTreeMap::from([("b".to_owned(), said.to_owned())]);
            presence.hear(said, now_ms).into_iter().collect::<Vec<_>>()
        };

        // However far its clock is off.
        assert_eq!(hear("99000000 web-1", 1_000), ["web-1"]);
        assert_eq!(hear("99000000 web-1", 15_999), ["web-1"]);
        assert!(hear("99000000 web-1", 16_000).is_empty());
        assert_eq!(hear("99016000 web-1", 16_001), ["web-1"]);
        assert!(hear("99017000 ", 17_000).is_empty());
    }
}
