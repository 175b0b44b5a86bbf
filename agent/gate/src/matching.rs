//! The second check: which keys a packet is tried with, and whether it may be tried at all.
//!
//! In order of price: the tag in front names the key (one look-up); the keys last used from its
//! source (at most four trials); all keys that could have sealed it, if the budgets allow. A packet
//! whose shape fits no key is refused before any of it.

use std::array;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use policy::SpaPort;
use spa::{Envelope, Fingerprint, LANES, Sealed, Tag, Trial};

use crate::authenticate::{Authenticated, Endpoints, Unproven};
use crate::budget::{Budgets, Taken};
use crate::compiled::{CompiledPolicy, KeyIndex, Shape, Tags};
use crate::counters::Counters;
use crate::decision::{Reason, Route};
use crate::parse::Parsed;

/// The keys that worked for a source, newest first.
#[derive(Debug)]
pub(crate) struct Recents {
    keys: LruCache<IpAddr, [Option<Fingerprint>; KEYS_PER_SOURCE]>,
}

/// Some users behind one address; more of them are found by trying.
const KEYS_PER_SOURCE: usize = 4;
/// Sources remembered, about 1 MB. Only who proved a key gets in.
const SOURCES_MAX: NonZeroUsize = NonZeroUsize::new(8192).expect("not zero");
/// A usual packet with its HMAC; longer ones cost more.
const USUAL_LEN: usize = 320;

/// The check, with what it uses of the gate.
#[derive(Debug)]
pub(crate) struct Matching<'g> {
    pub(crate) compiled: &'g CompiledPolicy,
    pub(crate) tags: &'g Tags,
    pub(crate) recents: &'g mut Recents,
    pub(crate) budgets: &'g mut Budgets,
    pub(crate) counters: &'g mut Counters,
    /// Whether a packet of our form may be one although its tag is in no table.
    pub(crate) try_unknown_tags: bool,
    /// Whether only keys are tried that some stanza allows for this source and this port.
    pub(crate) narrow: bool,
    pub(crate) endpoints: &'g Endpoints,
    pub(crate) steady: Duration,
    /// Seconds since 1970.
    pub(crate) now_secs: u64,
}

/// A way to read the packet: fwknop's form, or ours.
#[derive(Clone, Copy, Debug)]
struct Form<'a> {
    sealed: Sealed<'a>,
    tag: Option<Tag>,
}

// === impl Recents ===

impl Recents {
    pub(crate) fn new() -> Self {
        Self {
            keys: LruCache::new(SOURCES_MAX),
        }
    }

    /// Remembers that a key was used from a source.
    pub(crate) fn remember(&mut self, source: IpAddr, key: Fingerprint) {
        let keys = self
            .keys
            .get_or_insert_mut(source, || [None; KEYS_PER_SOURCE]);
        let place = keys
            .iter()
            .position(|&known| known == Some(key))
            .unwrap_or(KEYS_PER_SOURCE - 1);
        if let Some(until) = keys.get_mut(..=place) {
            until.rotate_right(1);
        }
        if let Some(first) = keys.first_mut() {
            *first = Some(key);
        }
    }

    fn of(&mut self, source: IpAddr) -> Option<[Option<Fingerprint>; KEYS_PER_SOURCE]> {
        self.keys.get(&source).copied()
    }
}

// === impl Matching ===

impl<'g> Matching<'g> {
    /// Finds the key of a packet and opens it with that.
    ///
    /// # Errors
    ///
    /// The reason that says most: of a packet that verified but did not open, that.
    pub(crate) fn authenticate(mut self, parsed: &Parsed<'_>) -> Result<Authenticated, Reason> {
        let whole = Form {
            sealed: parsed.whole(),
            tag: None,
        };
        let tagged = parsed.tagged().map(|(tag, sealed)| Form {
            sealed,
            tag: Some(tag),
        });
        let tagged = tagged.filter(|form| self.fits(form));
        let forms = [Some(whole).filter(|form| self.fits(form)), tagged];
        let mut refused = Reason::NoCandidate;

        if let Some(found) = tagged.and_then(|form| self.by_tag(form, &mut refused)) {
            return Ok(found);
        }
        if forms.iter().all(Option::is_none) {
            return Err(refused);
        }
        self.by_trials(&forms, refused)
    }

    /// Whether any key could have sealed a packet of this shape. Costs a few comparisons, and is all
    /// that most junk costs.
    fn fits(&self, form: &Form<'_>) -> bool {
        self.shapes().any(|shape| match shape.envelope {
            Envelope::Rijndael => form.could_have(shape),
            // What is for another recipient is refused by looking at its beginning.
            Envelope::OpenPgp => {
                form.could_have(shape) && self.candidates(shape, form).next().is_some()
            }
        })
    }

    /// At most one HMAC for a packet, and only if the tag is a current one: whoever has seen one
    /// can cause that much, and is then slower than the capture.
    fn by_tag(&mut self, form: Form<'_>, refused: &mut Reason) -> Option<Authenticated> {
        let tags = self.tags;
        tags.find(form.tag?)
            .find_map(|key| self.attempt(form, key, Route::Tag, refused))
    }

    fn by_trials(
        &mut self,
        forms: &[Option<Form<'_>>; 2],
        mut refused: Reason,
    ) -> Result<Authenticated, Reason> {
        let [whole, tagged] = *forms;
        let source = self.endpoints.source;
        let recents = self.recents.of(source);
        let for_recents = match recents {
            // A forged source costs its owner this allowance, and no more than that.
            Some(_) => Some(self.take(true, KEYS_PER_SOURCE as u64)?),
            None => None,
        };
        let mut found = recents.and_then(|keys| self.by_source(forms, keys, &mut refused));
        let mut for_scan = None;
        if found.is_none() {
            let forms = [whole, tagged.filter(|_| self.try_unknown_tags)];
            let units = self.price(&forms);
            if units == 0 {
                return Err(refused);
            }
            for_scan = Some(self.take(recents.is_some(), units)?);
            found = self.by_every_key(&forms, &mut refused);
        }
        if found.is_some() {
            for taken in [for_recents, for_scan].into_iter().flatten() {
                self.budgets.give_back(taken);
            }
        }
        found.ok_or(refused)
    }

    fn take(&mut self, is_known: bool, units: u64) -> Result<Taken, Reason> {
        self.budgets
            .take(self.endpoints.source, is_known, units, self.steady)
            .map_err(Reason::Budget)
    }

    /// Tries the keys last used from this source, also behind a tag that is not current: a user whose
    /// clock is wrong should be told so in the audit.
    fn by_source(
        &mut self,
        forms: &[Option<Form<'_>>],
        recents: [Option<Fingerprint>; KEYS_PER_SOURCE],
        refused: &mut Reason,
    ) -> Option<Authenticated> {
        let compiled = self.compiled;
        recents
            .into_iter()
            .flatten()
            .filter_map(|key| compiled.key_named(key))
            .filter(|&key| !compiled.is_costly(key))
            .find_map(|key| {
                forms
                    .iter()
                    .flatten()
                    .find_map(|form| self.attempt(*form, key, Route::Source, refused))
            })
    }

    fn by_every_key(
        &mut self,
        forms: &[Option<Form<'_>>],
        refused: &mut Reason,
    ) -> Option<Authenticated> {
        if matches!(refused, Reason::NoCandidate | Reason::Budget(_)) {
            *refused = Reason::NotAuthentic;
        }
        for form in forms.iter().flatten() {
            let mut trial = Trial::new(form.sealed);
            for shape in self.shapes().filter(|shape| form.could_have(shape)) {
                let candidates = self.candidates(shape, form);
                let found = self.by_candidates(*form, &mut trial, candidates, refused);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// Tries keys of one shape, some at once. The first one that opens the packet is it.
    fn by_candidates(
        &mut self,
        form: Form<'_>,
        trial: &mut Trial<'_>,
        candidates: impl Iterator<Item = KeyIndex>,
        refused: &mut Reason,
    ) -> Option<Authenticated> {
        let compiled = self.compiled;
        let mut candidates = candidates.fuse();
        loop {
            let batch: [Option<KeyIndex>; LANES] = array::from_fn(|_| candidates.next());
            let keys = batch.map(|key| Some(compiled.opening_key(key?)));
            for (key, matches) in batch.into_iter().zip(trial.matching(&keys)) {
                // The last batch ends early.
                let key = key?;
                self.counters.trials += 1;
                if !matches {
                    continue;
                }
                let found = self.attempt(form, key, Route::Trial, refused);
                if found.is_some() {
                    return found;
                }
            }
        }
    }

    /// Verifies and opens with one key; says why not if that is news.
    fn attempt(
        &mut self,
        form: Form<'_>,
        key: KeyIndex,
        route: Route,
        refused: &mut Reason,
    ) -> Option<Authenticated> {
        if !is_for(self.compiled, key, self.endpoints) {
            return None;
        }
        let packet = (form.tag, form.sealed);
        let how = (route, self.now_secs);
        match Authenticated::establish(packet, self.compiled, key, self.endpoints, how) {
            Ok(found) => {
                self.counters.count_route(route);
                return Some(found);
            }
            Err(Unproven::Opening(error)) if self.compiled.has_hmac(key) => {
                *refused = Reason::NotOpened(error);
            }
            Err(Unproven::Tag) => *refused = Reason::ForeignTag,
            Err(Unproven::Hmac | Unproven::Opening(_)) => {
                if matches!(refused, Reason::NoCandidate) {
                    *refused = Reason::NotAuthentic;
                }
            }
        }
        None
    }

    /// Returns the price of trying every key that could have sealed one of the forms.
    fn price(&self, forms: &[Option<Form<'_>>]) -> u64 {
        let of_form = |form: &Form<'_>| -> u64 {
            let long = 1 + (form.sealed.text().len() / USUAL_LEN) as u64;
            self.shapes()
                .filter(|shape| form.could_have(shape))
                .map(|shape| {
                    let keys = self.candidates(shape, form);
                    match shape.units {
                        Some(units) => long * units * keys.count() as u64,
                        None => keys.map(|key| self.compiled.decryption_units(key)).sum(),
                    }
                })
                .sum()
        };
        forms.iter().flatten().map(of_form).sum()
    }

    /// The keys that may be looked for at this port.
    fn shapes(&self) -> impl Iterator<Item = &'g Shape> + use<'g> {
        let port = if self.narrow {
            self.endpoints.port
        } else {
            SpaPort::Any
        };
        self.compiled.shapes_at(port)
    }

    /// The keys of one shape to try.
    fn candidates(
        &self,
        shape: &'g Shape,
        form: &Form<'_>,
    ) -> impl Iterator<Item = KeyIndex> + use<'g> {
        let recipient = match shape.envelope {
            Envelope::Rijndael => None,
            Envelope::OpenPgp => form.sealed.recipient(shape.hmac),
        };
        let Self {
            compiled,
            endpoints,
            ..
        } = *self;
        let candidates = compiled.candidates(shape, self.narrowing());
        candidates.filter(move |&key| {
            let is_for_it = recipient.is_none_or(|recipient| {
                let decryptor = compiled.decryptor(key);
                decryptor.is_some_and(|decryptor| decryptor.has_key(recipient))
            });
            is_for_it && is_for(compiled, key, endpoints)
        })
    }

    fn narrowing(&self) -> Option<IpAddr> {
        Some(self.endpoints.source).filter(|_| self.narrow)
    }
}

/// Whether a stanza of this key can be for what is sent where this packet was sent.
fn is_for(compiled: &CompiledPolicy, key: KeyIndex, endpoints: &Endpoints) -> bool {
    endpoints.is_ours || compiled.key_names(key, endpoints.destination)
}

// === impl Form ===

impl Form<'_> {
    /// Whether a key of this shape could have sealed it. Tags come only with an HMAC.
    fn could_have(&self, shape: &Shape) -> bool {
        match shape.envelope {
            Envelope::Rijndael => {
                (self.tag.is_none() || shape.hmac.is_some()) && self.sealed.could_be(shape.hmac)
            }
            Envelope::OpenPgp => self.tag.is_none() && self.sealed.recipient(shape.hmac).is_some(),
        }
    }
}
