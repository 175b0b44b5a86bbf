//! The gate itself: the corridor from a datagram to a decision.

use std::net::IpAddr;
use std::sync::Arc;

use policy::{HostSettings, SpaPort};
use spa::SEALED_LEN_MAX;

use crate::authenticate::{Arrival, Authenticated};
use crate::authorize::{Asked, Authorized, first_permit};
use crate::budget::Budgets;
use crate::counters::Counters;
use crate::datagram::Datagram;
use crate::decision::{Decision, Grant, Reason, Refusal};
use crate::estate::{Estate, SPAN_SECS, Tags};
use crate::fresh::{Fresh, ReplayLog, Window};
use crate::matching::{Matching, Recents};
use crate::now::Now;
use crate::parse::Parsed;
use crate::seen::Seen;
use crate::settings::Settings;

/// Decides who gets in. Performs no I/O: it is told what arrived and when.
#[derive(Debug)]
pub struct Gate {
    settings: Settings,
    estate: Arc<Estate>,
    tags: Tags,
    recents: Recents,
    budgets: Budgets,
    seen: Seen,
    counters: Counters,
}

/// Tags made ahead with each packet: under flood the next minute is ready long before it is needed,
/// and no packet is kept waiting for it.
const TAGS_PER_PACKET: usize = 4;
/// Tags made ahead by one call of [`Gate::tend`], about 0.1 ms.
const TAGS_PER_TEND: usize = 256;

// === impl Gate ===

impl Gate {
    /// Makes a gate for a policy.
    #[must_use]
    pub fn new(settings: Settings, estate: Arc<Estate>) -> Self {
        Self {
            tags: Tags::new(&estate),
            recents: Recents::new(),
            budgets: Budgets::new(settings.budget, estate.scan_units()),
            seen: Seen::new(),
            counters: Counters::default(),
            settings,
            estate,
        }
    }

    /// Enforces another policy from the next packet on. What is known of sources stays; the texts of
    /// recent packets go, because what was authentic may no longer be.
    pub fn replace(&mut self, estate: Arc<Estate>) {
        self.tags = Tags::new(&estate);
        self.budgets.set_scan_units(estate.scan_units());
        self.seen = Seen::new();
        self.estate = estate;
    }

    /// Returns the policy in force.
    #[must_use]
    pub fn estate(&self) -> &Arc<Estate> {
        &self.estate
    }

    /// Returns what has happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Does work ahead of time while nothing else is to do: call it when idle, some times a second.
    /// Reports whether nothing is left for this minute.
    pub fn tend(&mut self, now: Now) -> bool {
        self.tags.tend(&self.estate, now.wall_secs, TAGS_PER_TEND)
    }

    /// Decides one datagram.
    ///
    /// A message that is authentic and recent is put into `replays` before anything else is decided,
    /// and stays there also when it is then denied. Strangers' bytes leave counts and nothing else.
    pub fn admit(
        &mut self,
        datagram: &Datagram<'_>,
        now: Now,
        replays: &mut dyn ReplayLog,
    ) -> Decision {
        self.counters.received += 1;
        self.tags.tend(&self.estate, now.wall_secs, TAGS_PER_PACKET);
        let arrival = Arrival {
            source: datagram.source.to_canonical(),
            destination: datagram.destination.to_canonical(),
            port: self.estate.port(datagram.destination_port),
            transport: datagram.transport,
        };
        let decision = self
            .corridor(datagram, arrival, now, replays)
            .unwrap_or_else(Decision::Refused);
        self.counters.count(&decision);
        decision
    }

    /// Whether the policy in force would still give this grant, which it (or an older policy) gave
    /// before. Ages, replays and the port that the packet came to do not matter here; expiry dates do.
    #[must_use]
    pub fn upholds(&self, grant: &Grant, now: Now) -> bool {
        let identity = &*grant.identity;
        let Some(key) = self.estate.key_named(identity.key) else {
            return false;
        };
        let arrival = Arrival {
            source: identity.source,
            destination: identity.destination,
            port: SpaPort::Any,
            transport: identity.transport,
        };
        let asked = self.asked(&arrival, None, now);
        let message = identity.opened.message();
        first_permit(&self.estate, self.estate.stanzas_of(key), message, &asked).is_ok()
    }

    fn corridor(
        &mut self,
        datagram: &Datagram<'_>,
        arrival: Arrival,
        now: Now,
        replays: &mut dyn ReplayLog,
    ) -> Result<Decision, Refusal> {
        let source = arrival.source;
        let stranger = |reason| Refusal::of_stranger(reason, source);
        let mut scratch = [0; SEALED_LEN_MAX];
        let parsed =
            Parsed::read(datagram.payload, &self.settings, &mut scratch).map_err(stranger)?;
        let text = parsed.whole().text();
        self.refuse_copy(text, source, now)?;
        let authenticated = self
            .authenticate(&parsed, &arrival, now)
            .map_err(stranger)?;

        let key = authenticated.key();
        let identity = Arc::clone(authenticated.identity());
        let member = |reason| Refusal::of_member(reason, source, Arc::clone(&identity));
        let floor_secs = self.estate.floor_secs(key);
        let window = Window::new(&self.settings, floor_secs, now.wall_secs);
        let fresh = Fresh::establish(authenticated, window, replays);
        let remembered = matches!(
            fresh,
            Ok(_) | Err(Reason::Replayed | Reason::ReplayedElsewhere { .. })
        );
        self.seen
            .keep(text, Arc::clone(&identity), floor_secs, remembered);
        let fresh = fresh.map_err(member)?;
        self.recents.remember(source, self.estate.fingerprint(key));

        let asked = self.asked(&arrival, parsed.forwarded_for(), now);
        let authorized = Authorized::judge(fresh, &self.estate, &asked).map_err(member)?;
        Ok(authorized.conclude())
    }

    /// Turns away exact copies of packets that were authentic a moment ago.
    fn refuse_copy(&mut self, text: &[u8], source: IpAddr, now: Now) -> Result<(), Refusal> {
        let settings = &self.settings;
        let window = |floor_secs| Window::new(settings, floor_secs, now.wall_secs);
        match self.seen.refuse(text, window) {
            None => Ok(()),
            Some(copy) => Err(Refusal {
                copies: copy.number,
                ..Refusal::of_member(copy.reason, source, copy.identity)
            }),
        }
    }

    fn authenticate(
        &mut self,
        parsed: &Parsed<'_>,
        arrival: &Arrival,
        now: Now,
    ) -> Result<Authenticated, Reason> {
        let beyond_tags = self
            .settings
            .ageing
            .is_none_or(|age_max| age_max.as_secs() > SPAN_SECS);
        Matching {
            estate: &self.estate,
            tags: &self.tags,
            recents: &mut self.recents,
            budgets: &mut self.budgets,
            counters: &mut self.counters,
            try_unknown_tags: beyond_tags || self.settings.thorough,
            narrow: !self.settings.thorough,
            arrival,
            steady: now.steady,
        }
        .authenticate(parsed)
    }

    fn asked(&self, arrival: &Arrival, forwarded_for: Option<IpAddr>, now: Now) -> Asked {
        Asked {
            source: arrival.source,
            destination: arrival.destination,
            port: arrival.port,
            forwarded_for,
            now_secs: now.wall_secs,
            host: HostSettings {
                // Not offered by this version: such messages are refused by name.
                nat_forward: false,
                nat_local: false,
                commands: self.settings.commands,
            },
        }
    }
}
