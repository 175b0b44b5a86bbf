//! Knock sequences through the same checks as packets: authenticity, age, replays, policy.

use std::sync::Arc;

use super::Gate;
use crate::authenticate::{Authenticated, Endpoints};
use crate::compiled::KeyIndex;
use crate::datagram::{Datagram, LinkType, Transport};
use crate::decision::{Decision, Refusal};
use crate::fresh::{Fresh, ReplayLog, Window};
use crate::now::Now;
use crate::sequences::{Knock, Led};
use crate::syns;
use policy::SpaPort;
use spa::OpenedSequence;

// === impl Gate ===

impl Gate {
    /// Whether a stanza in force says KNOCK_SEQUENCE, so that [`admit_knock`](Self::admit_knock) has a
    /// use.
    #[must_use]
    pub fn wants_knocks(&self) -> bool {
        self.sequences.are_wanted()
    }

    /// Takes a frame that was seen on a wire and may belong to a knock sequence to this host: an empty
    /// datagram, or a SYN. Decides once a sequence is there as a whole.
    pub fn admit_knock(
        &mut self,
        frame: &[u8],
        link: LinkType,
        now: Now,
        replays: &mut dyn ReplayLog,
    ) -> Option<Decision> {
        if !self.sequences.are_wanted() {
            return None;
        }
        let datagram = knock_of(frame, link)?;
        let (source, destination) = (
            datagram.source.to_canonical(),
            datagram.destination.to_canonical(),
        );
        let is_ours = self.addressees.include(destination);
        if !is_ours && !self.compiled.names(destination) {
            return None;
        }
        let knock = Knock {
            source,
            source_port: datagram.source_port,
            port: datagram.destination_port,
        };
        let (key, opened) = match self.sequences.take(knock, now.wall_secs, now.steady) {
            Led::Nowhere => return None,
            Led::Begun => {
                self.counters.sequences_begun += 1;
                return None;
            }
            Led::Failed => {
                self.counters.sequences_failed += 1;
                return None;
            }
            Led::Whole(key, opened) => (key, opened),
        };
        let endpoints = Endpoints {
            source,
            destination,
            is_ours,
            port: SpaPort::Any,
            transport: datagram.transport,
        };
        let decision = self
            .judge_sequence((key, *opened), endpoints, now, replays)
            .unwrap_or_else(Decision::Refused);
        self.counters.by_sequence += 1;
        self.counters.count(&decision);
        Some(decision)
    }

    fn judge_sequence(
        &mut self,
        (key, opened): (KeyIndex, OpenedSequence),
        endpoints: Endpoints,
        now: Now,
        replays: &mut dyn ReplayLog,
    ) -> Result<Decision, Refusal> {
        let authenticated = Authenticated::of_sequence(opened, &self.compiled, key, &endpoints);
        let identity = Arc::clone(authenticated.identity());
        let floor_secs = self.compiled.floor_secs(key);
        let window = Window::new(&self.settings, floor_secs, now.wall_secs);
        let fresh = Fresh::establish(authenticated, window, replays)
            .map_err(|reason| Refusal::of_member(reason, endpoints.source, identity))?;
        self.judge_fresh(fresh, &endpoints, None, now)
    }
}

/// What a sequence is made of: packets that carry nothing but their ports.
fn knock_of(frame: &[u8], link: LinkType) -> Option<Datagram<'_>> {
    let datagram = Datagram::parse(frame, link).ok()?;
    let is_knock = match datagram.transport {
        Transport::Udp => datagram.payload.is_empty(),
        Transport::Tcp => syns::read(frame, link).is_some(),
        Transport::Gre | Transport::Icmp | Transport::Other(_) => false,
    };
    is_knock.then_some(datagram)
}
