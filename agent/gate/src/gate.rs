//! The gate itself: the corridor from a datagram to a decision.

use std::net::IpAddr;
use std::sync::Arc;

use policy::HostSettings;
use spa::SEALED_LEN_MAX;

use crate::authenticate::Authenticated;
use crate::authorize::{Asked, Authorized, first_permit};
use crate::budget::Budgets;
use crate::counters::Counters;
use crate::datagram::Datagram;
use crate::decision::{Claimed, Decision, Grant, Identity, Pending, Reason, Refusal, Route};
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

    /// Enforces another policy from the next packet on. What is known of sources and of recent
    /// packets stays.
    pub fn replace(&mut self, estate: Arc<Estate>) {
        self.tags = Tags::new(&estate);
        self.budgets.set_scan_units(estate.scan_units());
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
        let source = datagram.source.to_canonical();
        let decision = self
            .corridor(datagram, source, now, replays)
            .unwrap_or_else(Decision::Refused);
        self.counters.count(&decision);
        decision
    }

    /// Whether the policy in force would still give this grant, which it (or an older policy) gave
    /// before. Ages and replays do not matter here; expiry dates do.
    #[must_use]
    pub fn upholds(&self, grant: &Grant, now: Now) -> bool {
        let identity = &*grant.identity;
        let Some(key) = self.estate.key_named(identity.key) else {
            return false;
        };
        let asked = self.asked(identity.source, identity.destination, None, now);
        first_permit(
            self.estate.stanzas_of(key),
            identity.opened.message(),
            &asked,
        )
        .is_ok()
            && !self.estate.is_past_its_date(now.wall_secs)
    }

    fn corridor(
        &mut self,
        datagram: &Datagram<'_>,
        source: IpAddr,
        now: Now,
        replays: &mut dyn ReplayLog,
    ) -> Result<Decision, Refusal> {
        let stranger = |reason| Refusal::of_stranger(reason, source);
        let mut scratch = [0; SEALED_LEN_MAX];
        let parsed =
            Parsed::read(datagram.payload, &self.settings, &mut scratch).map_err(stranger)?;
        self.refuse_copy(&parsed, source, now)?;
        let (authenticated, route) = self.authenticate(&parsed, source, now).map_err(stranger)?;

        let key = authenticated.key();
        let estate = Arc::clone(&self.estate);
        let floor_secs = estate.floor_secs(key);
        let identify = |authenticated| identify(&estate, authenticated, route, datagram, source);
        let text = parsed.whole().text();

        let window = Window::new(&self.settings, floor_secs, now.wall_secs);
        let fresh = match Fresh::establish(authenticated, window, replays) {
            Ok(fresh) => fresh,
            Err((authenticated, reason)) => {
                let identity = identify(authenticated);
                let remembered = reason == Reason::Replayed;
                self.seen
                    .keep(text, Arc::clone(&identity), floor_secs, remembered);
                return Err(Refusal::of_member(reason, source, identity));
            }
        };
        self.recents.remember(source, estate.fingerprint(key));

        let asked = self.asked(source, datagram.destination, parsed.forwarded_for(), now);
        let (authenticated, verdict) = Authorized::judge(fresh, &estate, &asked);
        let identity = identify(authenticated);
        self.seen
            .keep(text, Arc::clone(&identity), floor_secs, true);
        let (authorized, stanza) =
            verdict.map_err(|reason| Refusal::of_member(reason, source, Arc::clone(&identity)))?;

        if estate.is_shared(key) {
            let pending = Pending::new(authorized, identity, stanza.on_controller_loss);
            return Ok(Decision::Claim(pending));
        }
        let (permit, _) = authorized.into_parts();
        Ok(Decision::Grant(Grant::new(
            permit,
            identity,
            Claimed::NotNeeded,
        )))
    }

    /// Turns away exact copies of packets that were authentic a moment ago.
    fn refuse_copy(
        &mut self,
        parsed: &Parsed<'_>,
        source: IpAddr,
        now: Now,
    ) -> Result<(), Refusal> {
        let settings = &self.settings;
        let window = |floor_secs| Window::new(settings, floor_secs, now.wall_secs);
        match self.seen.refuse(parsed.whole().text(), window) {
            None => Ok(()),
            Some(copy) => Err(Refusal {
                check: copy.reason.check(),
                reason: copy.reason,
                source,
                authentic: Some(copy.identity),
                copies: copy.number,
            }),
        }
    }

    fn authenticate(
        &mut self,
        parsed: &Parsed<'_>,
        source: IpAddr,
        now: Now,
    ) -> Result<(Authenticated, Route), Reason> {
        let tags_reach_all = self
            .settings
            .ageing
            .is_some_and(|age_max| age_max.as_secs() <= SPAN_SECS);
        Matching {
            estate: &self.estate,
            tags: &self.tags,
            recents: &mut self.recents,
            budgets: &mut self.budgets,
            counters: &mut self.counters,
            tags_reach_all,
            narrow_by_source: self.settings.narrow_by_source,
            source,
            steady: now.steady,
        }
        .authenticate(parsed)
    }

    fn asked(
        &self,
        source: IpAddr,
        destination: IpAddr,
        forwarded_for: Option<IpAddr>,
        now: Now,
    ) -> Asked {
        Asked {
            source,
            destination: destination.to_canonical(),
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

/// Writes down who sent an authentic message.
fn identify(
    estate: &Estate,
    authenticated: Authenticated,
    route: Route,
    datagram: &Datagram<'_>,
    source: IpAddr,
) -> Arc<Identity> {
    let key = authenticated.key();
    let first = estate.stanzas_of(key).next();
    let opened = authenticated.into_opened();
    let owner = first.and_then(|stanza| match &stanza.key {
        policy::StanzaKey::User { user, .. } => Some(String::from(&**user)),
        policy::StanzaKey::Static(_) | policy::StanzaKey::Pairwise => None,
    });
    Arc::new(Identity {
        key: estate.fingerprint(key),
        domain: estate.domain(key),
        user: owner.unwrap_or_else(|| opened.message().username.clone()),
        stanza: first.map_or(0, |stanza| stanza.number),
        stanza_name: first.and_then(|stanza| stanza.name.clone()),
        generation: estate.generation(),
        source,
        destination: datagram.destination.to_canonical(),
        transport: datagram.transport,
        route,
        opened,
    })
}

// === impl Refusal ===

impl Refusal {
    fn of_stranger(reason: Reason, source: IpAddr) -> Self {
        Self {
            check: reason.check(),
            reason,
            source,
            authentic: None,
            copies: 0,
        }
    }

    fn of_member(reason: Reason, source: IpAddr, identity: Arc<Identity>) -> Self {
        Self {
            authentic: Some(identity),
            ..Self::of_stranger(reason, source)
        }
    }
}
