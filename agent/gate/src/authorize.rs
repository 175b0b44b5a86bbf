//! The fifth room: the stanzas of the key, in the order of the text. One must permit.

use std::net::IpAddr;

use policy::{Ask, Denied, HostSettings, OnControllerLoss, Permit, Permitted, SpaPort, Stanza};
use spa::{Allow, Message};

use crate::decision::{Claimed, Decision, Grant, Pending, Reason};
use crate::estate::Estate;
use crate::fresh::Fresh;

/// Evidence: a fresh message that a stanza permits.
#[derive(Debug)]
pub(crate) struct Authorized {
    fresh: Fresh,
    permit: Permit,
    /// What to do when nobody can be asked about a key that other hosts have too; `None` for a key
    /// of this host alone.
    on_loss: Option<OnControllerLoss>,
}

/// What is known of a packet besides its message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// From the header, in its plain form.
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) port: SpaPort,
    pub(crate) forwarded_for: Option<IpAddr>,
    pub(crate) now_secs: u64,
    pub(crate) host: HostSettings,
}

// === impl Authorized ===

impl Authorized {
    /// Judges a fresh message by all stanzas of its key.
    ///
    /// # Errors
    ///
    /// What the first stanza says, if no stanza permits it.
    pub(crate) fn judge(fresh: Fresh, estate: &Estate, asked: &Asked) -> Result<Self, Reason> {
        let key = fresh.authenticated().key();
        let message = fresh.authenticated().message();
        let (permit, stanza) = first_permit(estate, estate.stanzas_of(key), message, asked)?;
        Ok(Self {
            permit,
            on_loss: estate.is_shared(key).then_some(stanza.on_controller_loss),
            fresh,
        })
    }

    /// Grants, or says what must be claimed first.
    pub(crate) fn conclude(self) -> Decision {
        let Self {
            fresh,
            permit,
            on_loss,
        } = self;
        let identity = fresh.authenticated().identity().clone();
        match on_loss {
            None => Decision::Grant(Grant {
                permit,
                identity,
                claim: Claimed::NotNeeded,
            }),
            Some(on_loss) => Decision::Claim(Pending::new(
                permit,
                identity,
                fresh.forget_after_secs(),
                on_loss,
            )),
        }
    }
}

/// Returns the permit of the first stanza that gives one.
///
/// # Errors
///
/// What the first stanza says, if none does.
pub(crate) fn first_permit<'e>(
    estate: &Estate,
    stanzas: impl Iterator<Item = &'e Stanza>,
    message: &Message,
    asked: &Asked,
) -> Result<(Permit, &'e Stanza), Reason> {
    if estate.is_past_its_date(asked.now_secs) {
        return Err(Reason::PolicyExpired);
    }
    let ask = Ask {
        source: asked.source,
        destination: asked.destination,
        port: asked.port,
        message,
        now_secs: asked.now_secs,
        host: &asked.host,
    };
    let mut first: Option<Denied> = None;
    for stanza in stanzas {
        match stanza.judge(&ask) {
            Ok(permit) => return Ok((behind_proxy(permit, message, asked), stanza)),
            Err(denied) => {
                first.get_or_insert(denied);
            }
        }
    }
    // Every key has a stanza; if one had none, nothing would permit it.
    Err(first.map_or(Reason::NoCandidate, Reason::Denied))
}

/// A request for "the source" that came through a trusted proxy means the proxy's client. SOURCE
/// has been judged by the header, since a stranger can write any address into a request.
fn behind_proxy(permit: Permit, message: &Message, asked: &Asked) -> Permit {
    match (asked.forwarded_for, message.request.allow(), &permit.what) {
        (Some(address), Allow::Source, Permitted::Ports(_)) => Permit { address, ..permit },
        _ => permit,
    }
}
