//! The fifth room: the stanzas of the key, in the order of the text. One must permit.

use std::net::IpAddr;

use policy::{Ask, Denied, HostSettings, Permit, Permitted, Stanza};
use spa::{Allow, Message};

use crate::authenticate::Authenticated;
use crate::decision::Reason;
use crate::estate::Estate;
use crate::fresh::Fresh;

/// Evidence: a fresh message that a stanza permits.
#[derive(Debug)]
pub(crate) struct Authorized {
    permit: Permit,
    forget_after_secs: Option<u64>,
}

/// What is known of a packet besides its message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// From the header, in its plain form.
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) forwarded_for: Option<IpAddr>,
    pub(crate) now_secs: u64,
    pub(crate) host: HostSettings,
}

// === impl Authorized ===

impl Authorized {
    /// Judges a fresh message by all stanzas of its key.
    ///
    /// Gives the message back either way, for the audit; with the reason of the first stanza if no
    /// stanza permits it.
    pub(crate) fn judge<'e>(
        fresh: Fresh,
        estate: &'e Estate,
        asked: &Asked,
    ) -> (Authenticated, Result<(Self, &'e Stanza), Reason>) {
        let (authenticated, forget_after_secs) = fresh.into_parts();
        if estate.is_past_its_date(asked.now_secs) {
            return (authenticated, Err(Reason::PolicyExpired));
        }
        let stanzas = estate.stanzas_of(authenticated.key());
        let verdict = first_permit(stanzas, authenticated.message(), asked)
            .map(|(permit, stanza)| {
                let authorized = Self {
                    permit,
                    forget_after_secs,
                };
                (authorized, stanza)
            })
            .map_err(|denied| denied.map_or(Reason::NoCandidate, Reason::Denied));
        (authenticated, verdict)
    }

    pub(crate) fn into_parts(self) -> (Permit, Option<u64>) {
        (self.permit, self.forget_after_secs)
    }
}

/// Returns the permit of the first stanza that gives one, or what the first stanza said; `None` if
/// there are no stanzas, which a key always has.
pub(crate) fn first_permit<'e>(
    stanzas: impl Iterator<Item = &'e Stanza>,
    message: &Message,
    asked: &Asked,
) -> Result<(Permit, &'e Stanza), Option<Denied>> {
    let ask = Ask {
        source: asked.source,
        destination: asked.destination,
        message,
        now_secs: asked.now_secs,
        host: &asked.host,
    };
    let mut first = None;
    for stanza in stanzas {
        match stanza.judge(&ask) {
            Ok(permit) => return Ok((behind_proxy(permit, message, asked), stanza)),
            Err(denied) => {
                first.get_or_insert(denied);
            }
        }
    }
    Err(first)
}

/// A request for "the source" that came through a trusted proxy means the proxy's client. SOURCE
/// has been judged by the header, since a stranger can write any address into a request.
fn behind_proxy(permit: Permit, message: &Message, asked: &Asked) -> Permit {
    match (asked.forwarded_for, message.request.allow(), &permit.what) {
        (Some(address), Allow::Source, Permitted::Ports(_)) => Permit { address, ..permit },
        _ => permit,
    }
}
