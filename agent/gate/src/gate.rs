//! The gate itself: all checks, from a datagram to a decision.

mod sequences;

use std::iter;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use policy::{HostSettings, OsSignatures, OwnAddresses, Permit, SpaPort};
use spa::{Message, SEALED_LEN_MAX, Signer};

use crate::addressees::Addressees;
use crate::authenticate::{Authenticated, Endpoints};
use crate::authorize::{Asked, Authorized, Proof, Sender, first_permit};
use crate::budget::Budgets;
use crate::compiled::{CompiledPolicy, KeyIndex, SPAN_SECS, Tags};
use crate::copies::{Arrived, Known, RecentTexts};
use crate::counters::Counters;
use crate::datagram::{Datagram, Fragment, LinkType, NotForUs, Packet, Transport};
use crate::decision::{Decision, Grant, Reason, Refusal, Route};
use crate::fragments::Fragments;
use crate::fresh::{Fresh, ReplayLog, Window};
use crate::matching::{Matching, Recents};
use crate::now::Now;
use crate::parse::Parsed;
use crate::recorded::Recorded;
use crate::sequences::Sequences;
use crate::settings::Settings;
use crate::syns::{self, Syns};

/// Decides who gets in. Performs no I/O: it is told what arrived and when.
#[derive(Debug)]
pub struct Gate {
    settings: Settings,
    compiled: Arc<CompiledPolicy>,
    addressees: Addressees,
    own: OwnAddresses,
    tags: Tags,
    recents: Recents,
    budgets: Budgets,
    recent_texts: RecentTexts,
    fragments: Fragments,
    syns: Syns,
    sequences: Sequences,
    counters: Counters,
}

/// Tags made ahead with each packet: under flood the next minute is ready long before it is needed,
/// and no packet is kept waiting for it.
const TAGS_PER_PACKET: usize = 4;
/// Tags made ahead by one call of [`Gate::precompute`], about 0.1 ms.
const TAGS_PER_CALL: usize = 256;

// === impl Gate ===

impl Gate {
    /// Makes a gate for a policy.
    #[must_use]
    pub fn new(settings: Settings, compiled: Arc<CompiledPolicy>) -> Self {
        Self {
            tags: Tags::new(&compiled),
            recents: Recents::new(),
            budgets: Budgets::new(settings.budget, compiled.scan_units()),
            recent_texts: RecentTexts::new(),
            fragments: Fragments::default(),
            syns: Syns::new(compiled.policy()),
            sequences: Sequences::new(&compiled),
            counters: Counters::default(),
            addressees: Addressees::Everyone,
            own: OwnAddresses::NONE,
            settings,
            compiled,
        }
    }

    /// Enforces another policy from the next packet on. What is known of sources stays; the texts of
    /// recent packets go, because what was authentic may no longer be.
    pub fn replace(&mut self, compiled: Arc<CompiledPolicy>) {
        self.tags = Tags::new(&compiled);
        self.budgets.set_scan_units(compiled.scan_units());
        self.recent_texts = RecentTexts::new();
        self.syns.follow(compiled.policy());
        self.sequences = Sequences::new(&compiled);
        self.compiled = compiled;
    }

    /// Judges packets off a wire at these destinations from now on.
    pub fn set_addressees(&mut self, addressees: Addressees) {
        self.addressees = addressees;
    }

    /// Takes these for the host's own from now on, whatever is judged.
    pub fn set_own_addresses(&mut self, own: OwnAddresses) {
        self.own = own;
    }

    /// Compares SYNs with these signatures from now on.
    pub fn set_os_signatures(&mut self, signatures: Arc<OsSignatures>) {
        self.syns.set_signatures(signatures);
    }

    /// Whether a stanza in force says REQUIRE_OS, so that [`note_syn`](Self::note_syn) has a use.
    #[must_use]
    pub fn wants_syns(&self) -> bool {
        self.syns.are_wanted()
    }

    /// Takes a frame that was seen on a wire, and is a SYN to this host or to whom a stanza names.
    /// Anything else changes nothing.
    pub fn note_syn(&mut self, frame: &[u8], link: LinkType, now: Now) {
        let Some(seen) = syns::read(frame, link) else {
            return;
        };
        let destination = seen.destination;
        if self.addressees.include(destination) || self.compiled.names(destination) {
            let kept = self.syns.keep(&seen, now.steady);
            self.counters.syns += u64::from(kept);
        }
    }

    /// Returns the policy in force.
    #[must_use]
    pub fn compiled(&self) -> &Arc<CompiledPolicy> {
        &self.compiled
    }

    /// Returns what has happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Does work ahead of time while nothing else is to do: call it when idle, some times a second.
    /// Reports whether nothing is left for this minute.
    pub fn precompute(&mut self, now: Now) -> bool {
        self.tags
            .precompute(&self.compiled, now.wall_secs, TAGS_PER_CALL)
    }

    /// Decides one frame that was seen on a wire, and may have been sent to another machine.
    ///
    /// # Errors
    ///
    /// [`NotForUs`], counted, for a frame that can hold no packet for us.
    pub fn admit_seen_frame(
        &mut self,
        frame: &[u8],
        link: LinkType,
        now: Now,
        replays: &mut dyn ReplayLog,
    ) -> Result<Decision, NotForUs> {
        match self.parse(frame, link)? {
            Packet::Whole(datagram) => self.admit_seen(&datagram, now, replays),
            Packet::Fragment(fragment) => {
                // What is on its way to others takes none of our room.
                self.look_for_addressee(fragment.destination)?;
                self.admit_fragment(&fragment, now, |gate, datagram| {
                    gate.admit_seen(datagram, now, replays)
                })
            }
        }
    }

    /// Decides one datagram that was seen on a wire.
    ///
    /// # Errors
    ///
    /// [`NotForUs::Destination`], counted, if it was sent to another machine.
    pub fn admit_seen(
        &mut self,
        datagram: &Datagram<'_>,
        now: Now,
        replays: &mut dyn ReplayLog,
    ) -> Result<Decision, NotForUs> {
        let is_ours = self.look_for_addressee(datagram.destination)?;
        Ok(self.judge(datagram, is_ours, now, replays))
    }

    /// Decides one frame of a file, where every packet is ours: there is no host that it could have
    /// passed by.
    ///
    /// # Errors
    ///
    /// [`NotForUs`], counted, for a frame that can hold no packet for us.
    pub fn admit_frame(
        &mut self,
        frame: &[u8],
        link: LinkType,
        now: Now,
        replays: &mut dyn ReplayLog,
    ) -> Result<Decision, NotForUs> {
        match self.parse(frame, link)? {
            Packet::Whole(datagram) => Ok(self.admit(&datagram, now, replays)),
            Packet::Fragment(fragment) => self.admit_fragment(&fragment, now, |gate, datagram| {
                Ok(gate.admit(datagram, now, replays))
            }),
        }
    }

    /// Decides one datagram that was sent to this host, as a socket receives it.
    ///
    /// A message that is authentic and recent is put into `replays` before anything else is decided,
    /// and stays there also when it is then denied. Strangers' bytes leave counts and nothing else.
    pub fn admit(
        &mut self,
        datagram: &Datagram<'_>,
        now: Now,
        replays: &mut dyn ReplayLog,
    ) -> Decision {
        self.judge(datagram, true, now, replays)
    }

    /// Gives up fragments whose packets did not become whole in time.
    pub fn tidy(&mut self, now: Now) {
        let repeats_for = self.settings.duplicate_within;
        self.sequences.tidy(now.steady);
        self.fragments
            .tidy(now.steady, repeats_for, &mut self.counters);
    }

    /// Reads the packet in a frame; counts what holds none for us.
    fn parse<'frame>(
        &mut self,
        frame: &'frame [u8],
        link: LinkType,
    ) -> Result<Packet<'frame>, NotForUs> {
        Packet::parse(frame, link)
            .inspect_err(|not_for_us| self.counters.count_not_for_us(*not_for_us))
    }

    /// Whether the host itself has this address; an error, counted, if nobody here is meant by it.
    fn look_for_addressee(&mut self, destination: IpAddr) -> Result<bool, NotForUs> {
        let destination = destination.to_canonical();
        let is_ours = self.addressees.include(destination);
        if is_ours || self.compiled.names(destination) {
            return Ok(is_ours);
        }
        self.counters.count_not_for_us(NotForUs::Destination);
        Err(NotForUs::Destination)
    }

    /// Has the packet judged that is whole with this fragment.
    fn admit_fragment(
        &mut self,
        fragment: &Fragment<'_>,
        now: Now,
        judge: impl FnOnce(&mut Self, &Datagram<'_>) -> Result<Decision, NotForUs>,
    ) -> Result<Decision, NotForUs> {
        // The packet lies in there while it is judged.
        let mut fragments = std::mem::take(&mut self.fragments);
        let repeats_for = self.settings.duplicate_within;
        let whole = fragments.add(fragment, now.steady, repeats_for, &mut self.counters);
        let decided = match whole {
            Ok(datagram) => judge(self, &datagram),
            Err(NotForUs::Fragment) => Err(NotForUs::Fragment),
            Err(not_for_us) => {
                self.counters.count_not_for_us(not_for_us);
                Err(not_for_us)
            }
        };
        self.fragments = fragments;
        decided
    }

    fn judge(
        &mut self,
        datagram: &Datagram<'_>,
        is_ours: bool,
        now: Now,
        replays: &mut dyn ReplayLog,
    ) -> Decision {
        self.counters.received += 1;
        self.tags
            .precompute(&self.compiled, now.wall_secs, TAGS_PER_PACKET);
        let endpoints = Endpoints {
            source: datagram.source.to_canonical(),
            destination: datagram.destination.to_canonical(),
            is_ours,
            port: self.compiled.port(datagram.destination_port),
            transport: datagram.transport,
        };
        let decision = self
            .run_checks(datagram, endpoints, now, replays)
            .unwrap_or_else(Decision::Refused);
        self.counters.count(&decision);
        decision
    }

    /// Whether this is an address of the host, as far as that is known.
    #[must_use]
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.own.contain(address)
    }

    /// Whether the policy in force would still give this grant, which it (or an older policy) gave
    /// before. Ages, replays and the port that the packet came to do not matter here; expiry dates do.
    #[must_use]
    pub fn upholds(&self, grant: &Grant, now: Now) -> bool {
        self.upholds_as(grant, now, &|_| true)
    }

    /// The same, where what it would give is what `is_it` says: what a message opens may depend on
    /// the policy, too.
    #[must_use]
    pub fn upholds_as(&self, grant: &Grant, now: Now, is_it: &dyn Fn(&Permit) -> bool) -> bool {
        let identity = &**grant.identity();
        let Some(key) = self.compiled.key_named(identity.opening_key) else {
            return false;
        };
        let endpoints = endpoints(identity.source, (identity.destination, identity.is_ours));
        let asked = Asked {
            proof: self.proof(key, identity.signer()),
            ..self.asked(&endpoints, None, now)
        };
        let opens = grant.permit().opens();
        self.would_give(key, identity.opened.message(), opens, &asked, is_it)
    }

    /// The same for a grant of which only this is known any more.
    #[must_use]
    pub fn upholds_recorded(
        &self,
        recorded: Recorded,
        now: Now,
        is_it: &dyn Fn(&Permit) -> bool,
    ) -> bool {
        let name = recorded.key;
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let destination = recorded.destination.unwrap_or(unknown);
        let endpoints = endpoints(recorded.source, (destination, true));
        let asked = self.asked(&endpoints, None, now);
        let asked = match recorded.same_generation_secs {
            Some(now_secs) => Asked {
                is_any_destination: recorded.destination.is_none(),
                now_secs,
                ..asked
            },
            None => asked,
        };
        let opens = recorded.opens.clone();
        let messages = recorded.messages(now);
        let mut messages = messages.iter();
        messages.any(|message| {
            self.compiled.keys_recorded(name).any(|key| {
                let signer = self.compiled.signer_named(key, name);
                let asked = Asked {
                    proof: self.proof(key, signer),
                    ..asked
                };
                self.would_give(key, message, &opens, &asked, is_it)
            })
        })
    }

    fn would_give(
        &self,
        key: KeyIndex,
        message: &Message,
        opens: &[IpNet],
        asked: &Asked<'_>,
        is_it: &dyn Fn(&Permit) -> bool,
    ) -> bool {
        let compiled = &self.compiled;
        compiled.stanzas_of(key).any(|stanza| {
            let permit = first_permit(compiled, iter::once(stanza), message, asked);
            permit.is_ok_and(|(permit, stanza)| stanza.gives(opens) && is_it(&permit))
        })
    }

    fn run_checks(
        &mut self,
        datagram: &Datagram<'_>,
        endpoints: Endpoints,
        now: Now,
        replays: &mut dyn ReplayLog,
    ) -> Result<Decision, Refusal> {
        let source = endpoints.source;
        let stranger = |reason| Refusal::of_stranger(reason, source);
        let mut scratch = [0; SEALED_LEN_MAX];
        let parsed =
            Parsed::read(datagram.payload, &self.settings, &mut scratch).map_err(stranger)?;
        let text = parsed.whole().text();
        let arrived = Arrived {
            source: (source, datagram.source_port),
            steady: now.steady,
        };
        match self.known(text, arrived, now, replays) {
            None => {}
            Some(Known::Duplicate) => return Ok(Decision::Duplicate),
            Some(Known::Copy(copy)) => {
                return Err(Refusal {
                    copies: copy.number,
                    ..Refusal::of_member(copy.reason, source, copy.identity)
                });
            }
        }
        let authenticated = self
            .authenticate(&parsed, &endpoints, now)
            .map_err(stranger)?;

        let key = authenticated.key();
        let identity = Arc::clone(authenticated.identity());
        let member = |reason| Refusal::of_member(reason, source, Arc::clone(&identity));
        if self.settings.seen_texts.contains(text) {
            return Err(member(Reason::Replayed));
        }
        let floor_secs = self.compiled.floor_secs(key);
        let window = Window::new(&self.settings, floor_secs, now.wall_secs);
        let fresh = Fresh::establish(authenticated, window, replays);
        let remembered = matches!(
            fresh,
            Ok(_) | Err(Reason::Replayed | Reason::ReplayedElsewhere { .. })
        );
        self.recent_texts
            .keep(text, Arc::clone(&identity), arrived, floor_secs, remembered);
        let fresh = fresh.map_err(member)?;
        self.judge_fresh(fresh, &endpoints, parsed.forwarded_for(), now)
    }

    /// The last check, however the message came.
    fn judge_fresh(
        &mut self,
        fresh: Fresh,
        endpoints: &Endpoints,
        forwarded_for: Option<IpAddr>,
        now: Now,
    ) -> Result<Decision, Refusal> {
        let source = endpoints.source;
        let key = fresh.authenticated().key();
        let identity = Arc::clone(fresh.authenticated().identity());
        self.recents
            .remember(source, self.compiled.fingerprint(key));
        self.syns.prove(source);
        let asked = Asked {
            proof: self.proof(key, identity.signer()),
            sender: Sender::Of(&self.syns, now.steady),
            is_sequence: identity.route() == Route::Sequence,
            ..self.asked(endpoints, forwarded_for, now)
        };
        let authorized = Authorized::judge(fresh, &self.compiled, &asked)
            .map_err(|reason| Refusal::of_member(reason, source, identity))?;
        Ok(authorized.conclude())
    }

    /// Looks whether a text is that of a packet that was authentic a moment ago.
    fn known(
        &mut self,
        text: &[u8],
        arrived: Arrived,
        now: Now,
        replays: &dyn ReplayLog,
    ) -> Option<Known> {
        let settings = &self.settings;
        let refuses = |dated_secs, floor_secs| {
            let window = Window::new(settings, floor_secs, now.wall_secs);
            let floor = || replays.floor_over(dated_secs);
            let below = |floor_secs| Reason::BeforeFloor { floor_secs };
            window
                .check(dated_secs)
                .err()
                .or_else(|| floor().map(below))
        };
        self.recent_texts
            .find(text, arrived, settings.duplicate_within, refuses)
    }

    fn authenticate(
        &mut self,
        parsed: &Parsed<'_>,
        endpoints: &Endpoints,
        now: Now,
    ) -> Result<Authenticated, Reason> {
        let furthest = |age_max: Duration| age_max.max(self.settings.max_future);
        let beyond_tags = self
            .settings
            .ageing
            .is_none_or(|age_max| furthest(age_max).as_secs() > SPAN_SECS);
        Matching {
            compiled: &self.compiled,
            tags: &self.tags,
            recents: &mut self.recents,
            budgets: &mut self.budgets,
            counters: &mut self.counters,
            try_unknown_tags: beyond_tags || self.settings.thorough,
            narrow: !self.settings.thorough,
            endpoints,
            now_secs: now.wall_secs,
            steady: now.steady,
        }
        .authenticate(parsed)
    }

    fn asked(&self, endpoints: &Endpoints, forwarded_for: Option<IpAddr>, now: Now) -> Asked<'_> {
        Asked {
            source: endpoints.source,
            destination: endpoints.destination,
            is_ours: endpoints.is_ours,
            is_any_destination: false,
            port: endpoints.port,
            forwarded_for,
            now_secs: now.wall_secs,
            host: HostSettings {
                nat: self.settings.nat,
                commands: self.settings.commands,
            },
            own: &self.own,
            proof: Proof::Key,
            sender: Sender::Any,
            is_sequence: false,
        }
    }

    /// What shows that a message of this key is for its stanzas.
    fn proof<'s>(&self, key: KeyIndex, signer: Option<&'s Signer>) -> Proof<'s> {
        match self.compiled.decryptor(key) {
            None => Proof::Key,
            Some(_) => Proof::Signature(signer),
        }
    }
}

/// Where a packet of which only this is known came from, and where it was sent.
fn endpoints(source: IpAddr, (destination, is_ours): (IpAddr, bool)) -> Endpoints {
    Endpoints {
        source,
        destination,
        is_ours,
        port: SpaPort::Any,
        transport: Transport::Udp,
    }
}
