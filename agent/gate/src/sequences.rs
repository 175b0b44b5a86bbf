//! Knock sequences while they arrive: who has begun one, and which of its packets are there.
//!
//! Anybody can knock at any port, from any address. So nothing is kept of a packet unless its source has
//! begun a sequence, and one begins only at the port of the minute of some key: who has not seen that
//! key's packets in these minutes must guess it, one in 32,768. What has begun is kept for each key by
//! itself, so that packets of one key push out nothing of another's; of one key the oldest goes that has
//! brought nothing since, and of one address there are never more than four.
//!
//! The packets of a sequence may come in any order and more than once. Those from the port that began
//! it count before those from others, which only a NAT that changes ports makes necessary: whoever
//! forges the address and cannot see the packets spoils nothing.

use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashMap;
use policy::Policy;
use spa::{OpenedSequence, SEQUENCE_PARTS, SEQUENCE_PORT_MIN, SequenceKey, bucket, sequence_part};

use crate::compiled::{CompiledPolicy, KeyIndex};

/// How long a sequence may take. A client takes half a second.
pub(crate) const WITHIN: Duration = Duration::from_secs(10);
/// Sequences of all keys together, about 2 MB; and of one key.
const OPEN_MAX: usize = 16_384;
const OPEN_OF_KEY_MAX: usize = 64;
const OPEN_OF_KEY_MIN: usize = 8;
/// Different keys behind one address.
const OPEN_OF_SOURCE_MAX: usize = 4;
/// How often one sequence is tried: once when it is whole, and again when a packet says otherwise. Where
/// packets of other ports are taken for some of it, those do not use up the tries of its own.
const TRIALS_MAX: u8 = 16;
const TRIALS_WITH_OTHERS_MAX: u8 = 8;
/// Ports that a sequence can begin with.
const PORTS: usize = 1 << 15;

/// One packet, as far as it may belong to a sequence: an empty datagram, or a SYN.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Knock {
    /// In its plain form.
    pub(crate) source: IpAddr,
    pub(crate) source_port: u16,
    pub(crate) port: u16,
}

/// What is under way. Empty while no stanza asks for it.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    /// The keys of stanzas with KNOCK_SEQUENCE.
    keys: Vec<(KeyIndex, SequenceKey)>,
    begins: Begins,
    open: HashMap<IpAddr, Vec<Open>>,
    /// Where sequences of a key are under way, the oldest first.
    of_key: HashMap<KeyIndex, Vec<IpAddr>>,
}

/// Where a sequence may begin now.
#[derive(Debug, Default)]
struct Begins {
    /// The minute for which this was made.
    bucket: Option<u64>,
    /// A bit for each port, so that what begins nothing costs no more than looking at that.
    any: Vec<u64>,
    /// Positions of keys.
    by_port: HashMap<u16, Vec<usize>>,
}

/// A sequence that has begun.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Position of its key.
    key: usize,
    since: Duration,
    begin: u16,
    source_port: u16,
    own: Parts,
    others: Parts,
    trials: u8,
    trials_with_others: u8,
}

/// Which packets are there.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    values: [u16; SEQUENCE_PARTS],
    there: u16,
}

/// What a packet has led to.
#[derive(Debug)]
pub(crate) enum Led {
    /// Nothing that anybody must be told.
    Nowhere,
    /// A sequence has begun.
    Begun,
    /// All of one is there, and it is none.
    Failed,
    /// All of one is there, and authentic under this key.
    Whole(KeyIndex, Box<OpenedSequence>),
}

// === impl Sequences ===

impl Sequences {
    /// For the stanzas of a policy that say KNOCK_SEQUENCE.
    pub(crate) fn new(compiled: &CompiledPolicy) -> Self {
        let wanted = |policy: &Policy| policy.stanzas.iter().any(|stanza| stanza.knock_sequence);
        if !wanted(compiled.policy()) {
            return Self::default();
        }
        let keys = compiled.sequence_keys();
        Self {
            keys: keys.map(|(index, key)| (index, key.clone())).collect(),
            ..Self::default()
        }
    }

    /// Whether any stanza asks for them.
    pub(crate) fn are_wanted(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Takes one packet.
    pub(crate) fn take(&mut self, knock: Knock, wall_secs: u64, steady: Duration) -> Led {
        if self.keys.is_empty() || knock.port < SEQUENCE_PORT_MIN {
            return Led::Nowhere;
        }
        self.begins.follow(&self.keys, bucket(wall_secs));
        let led = self.continue_with(knock, steady);
        if matches!(led, Led::Nowhere) && self.begin(knock, steady) {
            return Led::Begun;
        }
        led
    }

    /// Adds the packet to what its source has begun.
    fn continue_with(&mut self, knock: Knock, steady: Duration) -> Led {
        let Some(open) = self.open.get_mut(&knock.source) else {
            return Led::Nowhere;
        };
        let mut led = Led::Nowhere;
        for sequence in open.iter_mut() {
            // What has waited for too long is tidied away elsewhere.
            if steady.saturating_sub(sequence.since) > WITHIN || !sequence.add(knock) {
                continue;
            }
            let Some((index, key)) = self.keys.get(sequence.key) else {
                continue;
            };
            match sequence.open(key, knock) {
                None => {}
                Some(None) => led = Led::Failed,
                Some(Some(opened)) => {
                    led = Led::Whole(*index, Box::new(opened));
                    break;
                }
            }
        }
        if let Led::Whole(index, _) = led {
            self.end(knock.source, index);
        }
        led
    }

    /// Begins a sequence where the packet went to the port of some key. One that its source has begun
    /// with the same key already goes on instead.
    fn begin(&mut self, knock: Knock, steady: Duration) -> bool {
        let keys = self.begins.keys(knock.port).to_vec();
        let mut has_begun = false;
        for position in keys {
            let Some(&(index, _)) = self.keys.get(position) else {
                continue;
            };
            let open = self.open.entry(knock.source).or_default();
            open.retain(|open| steady.saturating_sub(open.since) <= WITHIN);
            let is_begun = open.iter().any(|open| open.key == position);
            if is_begun || open.len() >= OPEN_OF_SOURCE_MAX {
                continue;
            }
            open.push(Open {
                key: position,
                since: steady,
                begin: knock.port,
                source_port: knock.source_port,
                own: Parts::default(),
                others: Parts::default(),
                trials: 0,
                trials_with_others: 0,
            });
            self.make_room(index, position, steady);
            let sources = self.of_key.entry(index).or_default();
            if !sources.contains(&knock.source) {
                sources.push(knock.source);
            }
            has_begun = true;
        }
        has_begun
    }

    /// Has one of a key's sequences go, where there are as many as there may be: the oldest that has
    /// brought nothing, else the oldest.
    fn make_room(&mut self, index: KeyIndex, position: usize, steady: Duration) {
        let most = (OPEN_MAX / self.keys.len()).clamp(OPEN_OF_KEY_MIN, OPEN_OF_KEY_MAX);
        let Some(sources) = self.of_key.get_mut(&index) else {
            return;
        };
        let open = &self.open;
        let of_key = |source: &IpAddr| {
            let all = open.get(source)?;
            all.iter().find(|open| open.key == position)
        };
        // Those that are over have no place any more.
        sources.retain(|source| {
            of_key(source).is_some_and(|open| steady.saturating_sub(open.since) <= WITHIN)
        });
        if sources.len() < most {
            return;
        }
        let silent = |source: &IpAddr| of_key(source).is_some_and(Open::is_silent);
        let place = sources.iter().position(silent).unwrap_or(0);
        if place < sources.len() {
            let source = sources.remove(place);
            self.forget(source, position);
        }
    }

    fn end(&mut self, source: IpAddr, index: KeyIndex) {
        let position = self.keys.iter().position(|(own, _)| *own == index);
        if let Some(sources) = self.of_key.get_mut(&index) {
            sources.retain(|other| *other != source);
        }
        if let Some(position) = position {
            self.forget(source, position);
        }
    }

    fn forget(&mut self, source: IpAddr, position: usize) {
        if let Some(open) = self.open.get_mut(&source) {
            open.retain(|open| open.key != position);
            if open.is_empty() {
                self.open.remove(&source);
            }
        }
    }

    /// Gives up what did not become whole in time.
    pub(crate) fn tidy(&mut self, steady: Duration) {
        if self.open.is_empty() {
            return;
        }
        self.open.retain(|_, open| {
            open.retain(|open| steady.saturating_sub(open.since) <= WITHIN);
            !open.is_empty()
        });
        let open = &self.open;
        self.of_key.retain(|_, sources| {
            sources.retain(|source| open.contains_key(source));
            !sources.is_empty()
        });
    }
}

// === impl Begins ===

impl Begins {
    /// Makes the ports of this minute and of those beside it, if they are not made yet.
    fn follow(&mut self, keys: &[(KeyIndex, SequenceKey)], now: u64) {
        if self.bucket == Some(now) {
            return;
        }
        self.bucket = Some(now);
        self.any.clear();
        self.any.resize(PORTS / 64, 0);
        self.by_port.clear();
        for (position, (_, key)) in keys.iter().enumerate() {
            for bucket in now.saturating_sub(1)..=now + 1 {
                let port = key.begin(bucket);
                if let Some(word) = self.any.get_mut(word(port)) {
                    *word |= bit(port);
                }
                self.by_port.entry(port).or_default().push(position);
            }
        }
    }

    fn keys(&self, port: u16) -> &[usize] {
        let is_any = self
            .any
            .get(word(port))
            .is_some_and(|word| word & bit(port) != 0);
        if !is_any {
            return &[];
        }
        self.by_port
            .get(&port)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
}

fn word(port: u16) -> usize {
    usize::from(port & !SEQUENCE_PORT_MIN) / 64
}

const fn bit(port: u16) -> u64 {
    1 << (port % 64)
}

// === impl Open ===

impl Open {
    /// Adds a packet; reports whether that changed anything.
    fn add(&mut self, knock: Knock) -> bool {
        // The first one once more; no other goes there.
        if knock.port == self.begin {
            return false;
        }
        let Some((number, value)) = sequence_part(knock.port) else {
            return false;
        };
        let is_own = knock.source_port == self.source_port;
        let parts = if is_own {
            &mut self.own
        } else {
            &mut self.others
        };
        parts.set(number, value)
    }

    /// Tries it, if all of it is there and this packet may be what was missing; `None` otherwise.
    fn open(&mut self, key: &SequenceKey, knock: Knock) -> Option<Option<OpenedSequence>> {
        let whole = self.own.over(&self.others)?;
        let (trials, most) = if !self.own.is_whole() {
            (&mut self.trials_with_others, TRIALS_WITH_OTHERS_MAX)
        } else if knock.source_port == self.source_port {
            (&mut self.trials, TRIALS_MAX)
        } else {
            return None;
        };
        if *trials >= most {
            return None;
        }
        *trials += 1;
        Some(key.open(&whole, knock.source, self.begin))
    }

    fn is_silent(&self) -> bool {
        self.own.there | self.others.there == 0
    }
}

// === impl Parts ===

impl Parts {
    fn set(&mut self, number: usize, value: u16) -> bool {
        let Some(place) = self.values.get_mut(number) else {
            return false;
        };
        let is_new = self.there & 1 << number == 0 || *place != value;
        *place = value;
        self.there |= 1 << number;
        is_new
    }

    fn is_whole(&self) -> bool {
        self.there == u16::MAX
    }

    /// These, and of those that are missing the others'; `None` if some are missing there, too.
    fn over(&self, others: &Self) -> Option<[u16; SEQUENCE_PARTS]> {
        if self.there | others.there != u16::MAX {
            return None;
        }
        let mut whole = others.values;
        for (number, (to, own)) in whole.iter_mut().zip(self.values).enumerate() {
            if self.there & 1 << number != 0 {
                *to = own;
            }
        }
        Some(whole)
    }
}
