//! One packet, many keys.

use crate::keys::OpeningKey;
use crate::sealed::Sealed;

/// A packet prepared once for being tried with many keys.
#[derive(Debug)]
pub struct Trial<'a> {
    sealed: Sealed<'a>,
}

// === impl Trial ===

impl<'a> Trial<'a> {
    /// Prepares `sealed`.
    #[must_use]
    pub fn new(sealed: Sealed<'a>) -> Self {
        Self { sealed }
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
        let _ = key;
        unimplemented!()
    }
}
