//! One packet, many keys.

use std::fmt;

use subtle::ConstantTimeEq as _;

use crate::digest::DigestType;
use crate::envelope::rijndael::Head;
use crate::envelope::{Envelope, Prefixed};
use crate::hmac::{HmacState, PaddedText};
use crate::keys::OpeningKey;
use crate::lanes::{self, LANES, LanesTrial};
use crate::sealed::Sealed;
use crate::text;

/// A packet prepared once for being tried with many keys.
///
/// Against a key with an HMAC-SHA256 a trial is a handful of compressions, and against one without
/// an HMAC three MD5 compressions and one block of AES; the shape of the packet rules the others out
/// first.
pub struct Trial<'a> {
    sealed: Sealed<'a>,
    sha256: Option<Sha256Trial>,
    plain: Option<Head>,
    /// What many keys with HMAC-SHA256 are tried on; made when there are many.
    lanes: Option<LanesTrial>,
}

/// What a key with HMAC-SHA256 is tried on.
struct Sha256Trial {
    text: PaddedText,
    mac: [u8; 32],
}

// === impl Trial ===

impl<'a> Trial<'a> {
    /// Prepares `sealed`.
    #[must_use]
    pub fn new(sealed: Sealed<'a>) -> Self {
        Self {
            sealed,
            sha256: Sha256Trial::new(sealed),
            plain: head(sealed),
            lanes: None,
        }
    }

    /// Returns the packet.
    #[must_use]
    pub fn sealed(&self) -> Sealed<'a> {
        self.sealed
    }

    /// Reports whether `key` sealed the packet: with an HMAC key whether the HMAC verifies, without
    /// one whether the message begins with digits.
    ///
    /// A hint only. What follows is [`Sealed::authenticate`].
    #[must_use]
    pub fn matches(&self, key: &OpeningKey) -> bool {
        let Some(rijndael) = key.rijndael() else {
            return self.sealed.authenticate(key).is_ok();
        };
        match key.hmac() {
            HmacState::Sha256(state) => self.sha256.as_ref().is_some_and(|trial| {
                let mac = state.mac_of(&trial.text);
                mac.ct_eq(&trial.mac).into()
            }),
            HmacState::None => self
                .plain
                .as_ref()
                .is_some_and(|head| rijndael.matches(head)),
            HmacState::Other(_) => self.sealed.authenticate(key).is_ok(),
        }
    }

    /// Reports of each of `keys`, in order, what [`Self::matches`] reports of it; `false` where there
    /// is none.
    ///
    /// Keys with HMAC-SHA256 are tried at once if they are many enough for that to be faster. The
    /// others are tried one by one, and only as far as the answers are taken.
    pub fn matching(&mut self, keys: &[Option<&OpeningKey>; LANES]) -> impl Iterator<Item = bool> {
        let states = keys.map(|key| key?.sha256());
        let many = lanes::are_worth_it(states.iter().flatten().count());
        let at_once = match &self.sha256 {
            Some(trial) if many => self
                .lanes
                .get_or_insert_with(|| LanesTrial::new(&trial.text, &trial.mac))
                .matching(&states),
            Some(_) | None => [None; LANES],
        };
        let one_by_one = &*self;
        at_once.into_iter().zip(keys).map(move |(matches, key)| {
            matches.unwrap_or_else(|| key.is_some_and(|key| one_by_one.matches(key)))
        })
    }
}

impl fmt::Debug for Trial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial")
            .field("sealed", &self.sealed)
            .finish_non_exhaustive()
    }
}

// === impl Sha256Trial ===

impl Sha256Trial {
    fn new(sealed: Sealed<'_>) -> Option<Self> {
        let hmac = Some(DigestType::Sha256);
        if !sealed.could_be(hmac) {
            return None;
        }
        let (body, mac_text) = sealed.split(hmac)?;
        // The decoder asks for whole groups of three bytes.
        let mut mac = [0; 33];
        let mac = text::decode_into(mac_text, &mut mac)?;
        Some(Self {
            text: PaddedText::new(Prefixed::new(Envelope::Rijndael, body).as_bytes()),
            mac: <[u8; 32]>::try_from(&*mac).ok()?,
        })
    }
}

/// What a key without HMAC is tried on.
fn head(sealed: Sealed<'_>) -> Option<Head> {
    if !sealed.could_be(None) {
        return None;
    }
    Head::read(Prefixed::new(Envelope::Rijndael, sealed.text()).as_bytes())
}
