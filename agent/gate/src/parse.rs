//! From a payload to a sealed packet: form only, no cryptography.

use std::net::IpAddr;

use spa::{Sealed, Tag};

use crate::decision::Reason;
use crate::http::{self, Scratch};
use crate::settings::Settings;

/// Evidence: a payload with the length and the alphabet of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parsed<'a> {
    whole: Sealed<'a>,
    forwarded_for: Option<IpAddr>,
}

// === impl Parsed ===

impl<'a> Parsed<'a> {
    /// Reads a payload. `scratch` holds the text of an HTTP request in its own alphabet.
    pub(crate) fn read(
        payload: &'a [u8],
        settings: &Settings,
        scratch: &'a mut Scratch,
    ) -> Result<Self, Reason> {
        // No packet has a blank, so nothing is taken for a request that could be a packet.
        let is_request = settings.spa_over_http && payload.starts_with(b"GET ");
        let (text, forwarded_for) = if is_request {
            let unwrapped =
                http::unwrap(payload, settings.any_user_agent, scratch).ok_or(Reason::NotHttp)?;
            let forwarded_for = unwrapped.forwarded_for.filter(|_| settings.x_forwarded_for);
            (unwrapped.text, forwarded_for)
        } else {
            (payload, None)
        };
        Ok(Self {
            whole: Sealed::parse(text).map_err(Reason::Malformed)?,
            forwarded_for,
        })
    }

    /// Returns the text, as one of fwknop's form.
    pub(crate) fn whole(&self) -> Sealed<'a> {
        self.whole
    }

    /// Returns the tag in front and the packet behind it, if it is long enough to be of our form.
    pub(crate) fn tagged(&self) -> Option<(Tag, Sealed<'a>)> {
        self.whole.tag()
    }

    /// Returns the address that a trusted proxy gives for the sender.
    pub(crate) fn forwarded_for(&self) -> Option<IpAddr> {
        self.forwarded_for
    }
}
